//! An agent that does nothing but attach applications, and shows what a monitor would read of them.

use backdoors_rdma::owner::Listener;
use backdoors_sensor_box::ApplicationView;
use backdoors_sensor_box::application::{Answer, HookResult, Request};
use backdoors_sensor_box::layout::RegionKind;
use backdoors_target_agent::applications::listen::{Registry, bind, serve};
use backdoors_target_agent::applications::{Applications, CallError, Caller, ConnectionId, HookCall};
use backdoors_target_agent::keep::Keep;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Longer than anything takes on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Agent {
    pub path: PathBuf,
    applications: Arc<Mutex<Applications>>,
    caller: Caller,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

struct Desk(Arc<Mutex<Applications>>);

impl Registry for Desk {
    fn attach(
        &mut self,
        request: &Request<'_>,
        pid: u32,
        connection: ConnectionId,
    ) -> (Answer, Option<OwnedFd>) {
        match self.0.lock().unwrap().attach(request, pid, connection, Instant::now()) {
            Ok(attached) => (attached.answer(), attached.memory),
            Err(error) => (error.answer(), None),
        }
    }
    fn leave(&mut self, connection: ConnectionId) {
        self.0.lock().unwrap().leave(connection);
    }
    fn lose(&mut self, connection: ConnectionId) {
        self.0.lock().unwrap().lose(connection);
    }
    fn callee(&mut self, call: &HookCall) -> Result<ConnectionId, CallError> {
        self.0.lock().unwrap().callee(call)
    }
    fn called(&mut self, connection: ConnectionId, hook: u32, word: u64) {
        self.0.lock().unwrap().called(connection, hook, word);
    }
    fn answered(&mut self, connection: ConnectionId, hook: u32, result: HookResult) {
        self.0.lock().unwrap().answered(connection, hook, result);
    }
}

impl Agent {
    pub fn start(folder: &Path) -> Agent {
        let path = folder.join("applications.sock");
        Agent::serving(bind(&path).unwrap(), path)
    }

    pub fn serving(listener: Listener, path: PathBuf) -> Agent {
        let applications = Arc::new(Mutex::new(Applications::take_up(Keep::Memfds, Instant::now())));
        let (stop, stopper) = UnixStream::pair().unwrap();
        let (caller, inbox) = Caller::new().unwrap();
        let mut desk = Desk(Arc::clone(&applications));
        let thread = thread::spawn(move || serve(&listener, &mut desk, &inbox, stop.as_fd()).unwrap());
        Agent { path, applications, caller, stop: Some(stopper), thread: Some(thread) }
    }

    /// What a monitor would read.
    pub fn views(&self) -> Vec<ApplicationView> {
        let applications = self.applications.lock().unwrap();
        let read = |memory: &backdoors_target_agent::memory::Region| {
            let mut bytes = vec![0; memory.len()];
            memory.words.memory().read_bytes(0, &mut bytes).unwrap();
            ApplicationView::decode(&bytes).unwrap()
        };
        applications.wanted().into_iter().map(|(_, memory)| read(memory)).collect()
    }

    /// A call of an application's hook as a monitor would want it, to be answered within `time`.
    pub fn want(&self, name: &str, hook: &str, word: u64, time: Duration) -> HookCall {
        let view = self.view(name);
        let place = self.views().iter().position(|view| view.name == name).unwrap();
        let kind = self.applications.lock().unwrap().wanted()[place].0.kind;
        HookCall {
            application: kind - RegionKind::APPLICATION_FIRST,
            generation: view.generation,
            hook: view.hook(hook).unwrap().0 as u32,
            word,
            deadline: Instant::now() + time,
        }
    }

    /// Wants a call. What is told of it arrives in what is returned.
    pub fn begin(&self, call: HookCall) -> Receiver<Result<(), CallError>> {
        let (tell, told) = channel();
        self.caller.call(call, move |what| {
            // Nobody may listen any more.
            let _ = tell.send(what);
        });
        told
    }

    /// Wants a call, and waits for what is told of it.
    pub fn call(&self, call: HookCall) -> Result<(), CallError> {
        self.begin(call).recv_timeout(PATIENCE).unwrap()
    }

    pub fn view(&self, name: &str) -> ApplicationView {
        self.views().into_iter().find(|view| view.name == name).unwrap()
    }

    pub fn value(&self, name: &str, sensor: &str) -> u64 {
        self.view(name).sensor(sensor).unwrap().value
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Waits until `look` finds something.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
