//! The NIC's thread: one loop accepts monitors and serves all their connections.
//!
//! One thread is enough, and cheaper than one for each connection: what is served at once costs one system call to learn
//! of, and the memory that is locked does not grow with the connections. Each turn serves one batch of each connection
//! that has one, so nobody is served twice before another is served once.

use crate::emulated::port::{Port, Scratch, Waits};
use crate::emulated::table::Shared;
use rustix::event::{Timespec, epoll};
use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Longest time a monitor may take over its hello.
const HELLO_TIME: Duration = Duration::from_secs(2);
/// Longest silence in the middle of a batch, and longest time an answer may wait for room.
const BATCH_TIME: Duration = Duration::from_secs(5);
/// Connections that have not shown a token yet. Above that, new ones are closed at once.
const STRANGERS: usize = 1024;
/// Monitors that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// Room on the thread's stack; all of it is locked in memory.
const STACK: usize = 128 * 1024;
/// How long no monitor is accepted after the system could not accept one, lest the thread spins.
const PAUSE: Duration = Duration::from_millis(100);
/// Events learnt of at once.
const EVENTS: usize = 128;
/// What the listener's events are marked with; no port has this number.
const LISTENER: u64 = u64::MAX;

/// Starts serving.
pub(crate) fn start(listener: Arc<TcpListener>, shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    rustix::net::listen(&listener, BACKLOG)?;
    let mut turns = Turns::new(listener, shared)?;
    thread::Builder::new().name("nic-serve".into()).stack_size(STACK).spawn(move || {
        if let Err(error) = turns.run() {
            tracing::error!(%error, "the NIC cannot learn of its connections any more and ends them all");
        }
    })
}

/// A port's place. Places are used again; numbers are not, so a late event finds nobody else.
#[derive(Debug)]
struct Place {
    port: Port,
    number: u64,
    waits: Waits,
    /// When its patience ends, if it has any.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Turns {
    watch: OwnedFd,
    listener: Arc<TcpListener>,
    /// Since when nobody is accepted, if so.
    paused: Option<Instant>,
    shared: Arc<Shared>,
    places: Vec<Option<Place>>,
    free: Vec<usize>,
    strangers: usize,
    /// Ports whose patience ends, soonest first. Those that wait for their next batch are not among them.
    due: BTreeSet<(Instant, usize)>,
    accepted: u64,
    scratch: Scratch,
}

impl Turns {
    fn new(listener: Arc<TcpListener>, shared: Arc<Shared>) -> io::Result<Turns> {
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&watch, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        Ok(Turns {
            watch,
            listener,
            paused: None,
            shared,
            places: Vec::new(),
            free: Vec::new(),
            strangers: 0,
            due: BTreeSet::new(),
            accepted: 0,
            scratch: Scratch::new(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        while !self.shared.is_stopping() {
            let timeout = self.next_due().map(|due| {
                let left = due.saturating_duration_since(Instant::now());
                Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
            });
            events.clear();
            let room = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.watch, room, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    mark => self.advance(mark),
                }
            }
            if timeout.is_some() {
                self.end_patience()?;
            }
        }
        Ok(())
    }

    fn next_due(&self) -> Option<Instant> {
        let paused = self.paused.map(|since| since + PAUSE);
        let port = self.due.first().map(|(due, _)| *due);
        paused.into_iter().chain(port).min()
    }

    fn accept(&mut self) -> io::Result<()> {
        let (stream, peer) = match self.listener.accept() {
            Ok(accepted) => accepted,
            // Whoever came has left again.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted) =>
            {
                return Ok(());
            }
            Err(_) if self.shared.is_stopping() => return Ok(()),
            Err(error) => {
                tracing::warn!(%error, "no monitor can be accepted");
                epoll::delete(&self.watch, &self.listener)?;
                self.paused = Some(Instant::now());
                return Ok(());
            }
        };
        if self.strangers >= STRANGERS {
            return Ok(());
        }
        let number = self.accepted;
        self.accepted += 1;
        let index = self.free.pop().unwrap_or(self.places.len());
        let admitted = Port::new(Arc::clone(&self.shared), stream, number).and_then(|port| {
            let data = epoll::EventData::new_u64(mark(index, number));
            epoll::add(&self.watch, port.stream(), data, epoll::EventFlags::IN)?;
            Ok(port)
        });
        match admitted {
            Ok(port) => {
                let due = Instant::now() + HELLO_TIME;
                let place = Some(Place { port, number, waits: Waits::ForHello, due: Some(due) });
                match self.places.get_mut(index) {
                    Some(free) => *free = place,
                    None => self.places.push(place),
                }
                self.strangers += 1;
                self.due.insert((due, index));
            }
            Err(error) => {
                tracing::debug!(%peer, %error, "connection closed");
                self.free.extend((index < self.places.len()).then_some(index));
            }
        }
        Ok(())
    }

    /// Serves the port of this mark, if it is still there.
    fn advance(&mut self, event: u64) {
        let index = index_of(event);
        let Some(Some(place)) = self.places.get_mut(index) else { return };
        if mark(index, place.number) != event {
            return;
        }
        let before = place.waits;
        // What one monitor's bytes bring about must not end the others' connections, not even a mistake in here.
        let scratch = &mut self.scratch;
        let result = catch_unwind(AssertUnwindSafe(|| place.port.advance(scratch)))
            .unwrap_or_else(|_| Err(io::Error::other("serving it panicked")));
        let waits = result.unwrap_or_else(|error| {
            tracing::debug!(connection = place.number, %error, "connection closed");
            Waits::Over
        });
        // The usual case: a batch came whole and its answer went whole.
        if waits != Waits::ForBatch || before != Waits::ForBatch {
            self.changed(index, before, waits);
        }
    }

    /// Takes note of what a port waits for now.
    fn changed(&mut self, index: usize, before: Waits, waits: Waits) {
        let Some(Some(place)) = self.places.get_mut(index) else { return };
        place.waits = waits;
        let due = match waits {
            Waits::ForHello => place.due,
            Waits::ForBatch | Waits::Over => None,
            Waits::ForRest | Waits::ToSend => Some(Instant::now() + BATCH_TIME),
        };
        let was_due = std::mem::replace(&mut place.due, due);
        let mut over = waits == Waits::Over;
        if (waits == Waits::ToSend) != (before == Waits::ToSend) && !over {
            let flags = if waits == Waits::ToSend { epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
            let data = epoll::EventData::new_u64(mark(index, place.number));
            over = epoll::modify(&self.watch, place.port.stream(), data, flags).is_err();
        }
        if let Some(was_due) = was_due {
            self.due.remove(&(was_due, index));
        }
        if let Some(due) = due {
            self.due.insert((due, index));
        }
        if before == Waits::ForHello && waits != Waits::ForHello {
            self.strangers -= 1;
        }
        if over {
            self.close(index);
        }
    }

    fn close(&mut self, index: usize) {
        let Some(place) = self.places.get_mut(index).and_then(Option::take) else { return };
        // The domain holds the socket too, until the port is dropped, and the kernel would go on telling of it.
        if let Err(error) = epoll::delete(&self.watch, place.port.stream()) {
            tracing::debug!(connection = place.number, %error, "a socket is still watched");
        }
        if let Some(due) = place.due {
            self.due.remove(&(due, index));
        }
        self.free.push(index);
    }

    /// Closes ports that kept others waiting too long, and accepts again after a pause.
    fn end_patience(&mut self) -> io::Result<()> {
        let now = Instant::now();
        while let Some((_, index)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.pop_first();
            if let Some(Some(place)) = self.places.get(index) {
                self.strangers -= usize::from(place.waits == Waits::ForHello);
                place.port.drop_unsent();
            }
            self.close(index);
        }
        if self.paused.is_some_and(|since| now >= since + PAUSE) {
            self.paused = None;
            let data = epoll::EventData::new_u64(LISTENER);
            epoll::add(&self.watch, &self.listener, data, epoll::EventFlags::IN)?;
        }
        Ok(())
    }
}

/// What the events of a port are marked with: its place, and of its number as much as there is room for.
fn mark(index: usize, number: u64) -> u64 {
    (number << 32) | (index as u64 & 0xffff_ffff)
}

fn index_of(mark: u64) -> usize {
    (mark & 0xffff_ffff) as usize
}
