//! The NIC's sockets and threads: one thread accepts, and one serves each connection.

use crate::emulated::server::{Denied, Memory, Server};
use crate::emulated::table::{DomainId, Table};
use crate::emulated::wire::OperationHeader;
use rustix::net::sockopt;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Longest time a monitor may take over its hello.
const HELLO_TIME: Duration = Duration::from_secs(2);
/// Longest silence in the middle of a batch, and longest time an answer may wait to be taken.
const BATCH_TIME: Duration = Duration::from_secs(5);
/// Connections that have not shown a token yet. Above that, new ones are closed at once.
const STRANGERS: usize = 64;
/// Room on a serving thread's stack; all of it is locked in memory.
const STACK: usize = 128 * 1024;
/// How long no monitor is accepted after the system could not accept one, lest the thread spins.
const PAUSE: Duration = Duration::from_millis(100);
/// When a connection was silent for so long the kernel asks whether the monitor's host is still there, so often, so
/// many times.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(10), Duration::from_secs(5), 3);

/// What the NIC's threads share.
pub(crate) struct Shared {
    table: RwLock<Table>,
    stopping: AtomicBool,
    strangers: AtomicUsize,
    connections: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new() -> Shared {
        Shared {
            table: RwLock::new(Table::new()),
            stopping: AtomicBool::new(false),
            strangers: AtomicUsize::new(0),
            connections: AtomicU64::new(0),
        }
    }

    // The table is sound between any two of its statements, so a panic under the lock leaves nothing half done that
    // would be worse than no NIC at all.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

/// Starts accepting monitors.
pub(crate) fn start(listener: Arc<TcpListener>, shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name("nic-accept".into())
        .stack_size(STACK)
        .spawn(move || accept(&listener, &shared))
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if shared.stopping.load(Ordering::Acquire) {
            return;
        }
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no monitor can be accepted");
                thread::sleep(PAUSE);
                continue;
            }
        };
        if shared.strangers.fetch_add(1, Ordering::AcqRel) >= STRANGERS {
            shared.strangers.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let shared_there = Arc::clone(shared);
        let started = thread::Builder::new().name("nic-serve".into()).stack_size(STACK).spawn(move || {
            let mut port = Port::new(&shared_there, &stream);
            if let Err(error) = serve(&stream, &mut port) {
                tracing::debug!(%peer, %error, "connection closed");
            }
        });
        if let Err(error) = started {
            shared.strangers.fetch_sub(1, Ordering::AcqRel);
            tracing::warn!(%error, "no thread for a monitor's connection");
        }
    }
}

/// One connection's way to the table.
struct Port<'a> {
    shared: &'a Shared,
    stream: &'a TcpStream,
    connection: u64,
    domain: Option<DomainId>,
}

impl<'a> Port<'a> {
    fn new(shared: &'a Shared, stream: &'a TcpStream) -> Port<'a> {
        let connection = shared.connections.fetch_add(1, Ordering::Relaxed);
        Port { shared, stream, connection, domain: None }
    }
}

impl Drop for Port<'_> {
    fn drop(&mut self) {
        match self.domain {
            Some(domain) => self.shared.write().detach(domain, self.connection),
            None => {
                self.shared.strangers.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

impl Memory for Port<'_> {
    fn attach(&mut self, token: &[u8; 16]) -> bool {
        let Ok(stream) = self.stream.try_clone() else {
            return false;
        };
        self.domain = self.shared.write().attach(token, self.connection, stream);
        if self.domain.is_some() {
            self.shared.strangers.fetch_sub(1, Ordering::AcqRel);
        }
        self.domain.is_some()
    }

    fn execute(
        &mut self,
        operation: &OperationHeader,
        payload: &[u8],
        answer: &mut Vec<u8>,
    ) -> Result<(), Denied> {
        let domain = self.domain.ok_or(Denied)?;
        self.shared.read().execute(domain, operation, payload, answer)
    }
}

fn serve(mut stream: &TcpStream, port: &mut Port<'_>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(BATCH_TIME))?;
    stream.set_read_timeout(Some(HELLO_TIME))?;
    let mut server = Server::new();
    let mut attached = false;
    loop {
        match stream.read(server.space()) {
            Ok(0) => return Ok(()),
            Ok(count) => server.received(count, port).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && server.is_idle() => continue,
            Err(error) => return Err(error),
        }
        if !server.output().is_empty() {
            stream.write_all(server.output())?;
            server.sent();
        }
        if server.is_closing() {
            return Ok(());
        }
        if !attached && port.domain.is_some() {
            attached = true;
            stream.set_read_timeout(Some(BATCH_TIME))?;
            let (idle, interval, count) = KEEPALIVE;
            sockopt::set_socket_keepalive(stream, true)?;
            sockopt::set_tcp_keepidle(stream, idle)?;
            sockopt::set_tcp_keepintvl(stream, interval)?;
            sockopt::set_tcp_keepcnt(stream, count)?;
        }
    }
}
