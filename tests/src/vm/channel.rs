//! The lab's side of the channel to the guest.

use std::{
    collections::HashMap,
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    VmError,
    protocol::{Action, Event, Reply, Request, receive, send},
};

type Answer = (Event, Vec<u8>);
/// `None` once the guest is gone.
type Waiting = Arc<Mutex<Option<HashMap<u64, Sender<Answer>>>>>;

/// Requests go out, and their answers come back in any order.
#[derive(Debug)]
pub(super) struct Channel {
    stream: Mutex<UnixStream>,
    reader: Mutex<Option<JoinHandle<()>>>,
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
        let (ready, waiting) = expect_ready();
        let waiting: Waiting = Arc::new(Mutex::new(Some(waiting)));
        let reader = Mutex::new(Some(listen(&stream, &waiting)?));
        let channel = Channel { stream: Mutex::new(stream), reader, waiting, next: AtomicU64::new(1) };
        Ok((channel, ready))
    }

    /// Begins anew on another connection; returns what will say that the guest is ready again, after it was reset. A guest whose
    /// kernel broke may have stopped within a message, so the connection of before is of no use.
    pub(super) fn reopen(
        &self,
        connect: impl FnOnce() -> Result<UnixStream, VmError>,
    ) -> Result<Answers, VmError> {
        // Fails only if it is closed already.
        let _ = lock(&self.stream).shutdown(Shutdown::Both);
        if let Some(reader) = lock(&self.reader).take() {
            let _ = reader.join();
        }
        let stream = connect()?;
        let (ready, waiting) = expect_ready();
        *lock(&self.waiting) = Some(waiting);
        *lock(&self.reader) = Some(listen(&stream, &self.waiting)?);
        *lock(&self.stream) = stream;
        Ok(ready)
    }

    pub(super) fn request(&self, action: Action, payload: &[u8]) -> Result<Answers, VmError> {
        let id = self.next.fetch_add(1, Relaxed);
        let (sender, receiver) = mpsc::channel();
        lock(&self.waiting).as_mut().ok_or(VmError::Gone)?.insert(id, sender);
        send(&mut *lock(&self.stream), &Request { id, action }, payload).map_err(|_| VmError::Gone)?;
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

fn expect_ready() -> (Answers, HashMap<u64, Sender<Answer>>) {
    let (sender, receiver) = mpsc::channel();
    (Answers { id: 0, receiver }, HashMap::from([(0, sender)]))
}

/// Hands out what comes, until the connection ends, at the latest with QEMU.
fn listen(stream: &UnixStream, waiting: &Waiting) -> Result<JoinHandle<()>, VmError> {
    let mut incoming = stream.try_clone().map_err(VmError::host("listen to a guest"))?;
    let addressees = Arc::clone(waiting);
    Ok(thread::spawn(move || {
        while let Ok((Reply { id, event }, payload)) = receive(&mut incoming) {
            if let Some(waiting) = lock(&addressees).as_ref()
                && let Some(sender) = waiting.get(&id)
            {
                let _ = sender.send((event, payload));
            }
        }
        *lock(&addressees) = None;
    }))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
