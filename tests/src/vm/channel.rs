//! The lab's side of the channel to the guest.

use std::{
    collections::HashMap,
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use super::{
    VmError,
    protocol::{Action, Event, Reply, Request, receive, send},
};

/// What a guest says that it was not asked for answers this request.
const READY: u64 = 0;

type Answer = (Event, Vec<u8>);
/// `None` once the guest is gone.
type Waiting = Arc<Mutex<Option<HashMap<u64, Sender<Answer>>>>>;

/// Requests go out, and their answers come back in any order.
#[derive(Debug)]
pub(super) struct Channel {
    stream: Mutex<UnixStream>,
    waiting: Waiting,
    next: AtomicU64,
}

/// The answers to one request.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) id: u64,
    receiver: Receiver<Answer>,
}

impl Channel {
    /// The channel, and what will say that the guest is ready.
    pub(super) fn open(stream: UnixStream) -> Result<(Channel, Answers), VmError> {
        let mut incoming = stream.try_clone().map_err(VmError::host("listen to a guest"))?;
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let addressees = Arc::clone(&waiting);
        let channel = Channel { stream: Mutex::new(stream), waiting, next: AtomicU64::new(READY + 1) };
        let ready = channel.ready()?;
        // Ends with the connection, and that ends with QEMU.
        thread::spawn(move || {
            while let Ok((Reply { id, event }, payload)) = receive(&mut incoming) {
                if let Some(waiting) = lock(&addressees).as_ref()
                    && let Some(sender) = waiting.get(&id)
                {
                    let _ = sender.send((event, payload));
                }
            }
            *lock(&addressees) = None;
        });
        Ok((channel, ready))
    }

    /// What will say that the guest is ready, which it says after each boot.
    pub(super) fn ready(&self) -> Result<Answers, VmError> {
        self.answers(READY)
    }

    pub(super) fn request(&self, action: Action, payload: &[u8]) -> Result<Answers, VmError> {
        let answers = self.answers(self.next.fetch_add(1, Relaxed))?;
        let request = Request { id: answers.id, action };
        send(&mut *lock(&self.stream), &request, payload).map_err(|_| VmError::Gone)?;
        Ok(answers)
    }

    fn answers(&self, id: u64) -> Result<Answers, VmError> {
        let (sender, receiver) = mpsc::channel();
        lock(&self.waiting).as_mut().ok_or(VmError::Gone)?.insert(id, sender);
        Ok(Answers { id, receiver })
    }

    /// For requests with one answer.
    pub(super) fn ask(&self, action: Action, payload: &[u8], deadline: Duration) -> Result<Answer, VmError> {
        let answers = self.request(action, payload)?;
        let answer = answers.next(deadline);
        self.forget(&answers);
        answer?.ok_or(VmError::Silent(deadline))
    }

    /// No more answers are wanted.
    pub(super) fn forget(&self, answers: &Answers) {
        if let Some(waiting) = lock(&self.waiting).as_mut() {
            waiting.remove(&answers.id);
        }
    }
}

impl Answers {
    /// The next answer, or `None` when there is none in time.
    pub(super) fn next(&self, deadline: Duration) -> Result<Option<Answer>, VmError> {
        match self.receiver.recv_timeout(deadline) {
            Ok((Event::Refused { reason }, _)) => Err(VmError::Refused(reason)),
            Ok(answer) => Ok(Some(answer)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(VmError::Gone),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
