//! The owner's side of its socket.

use crate::owner::socket::{self, Listener, MAX_MESSAGE, Packet, Reply, Request};
use crate::owner::{MemoryOwner, OwnerError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Clients served at once. One more takes the place of the one that has been silent longest.
const CLIENTS: usize = 8;
/// How long no client is accepted after the system could not accept one, lest the owner spins.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Serves agents until `stop` becomes readable. Agents may come, go, stop and misbehave: what is registered stays.
///
/// # Errors
/// Only if the system cannot wait for events at all.
pub fn serve(listener: &Listener, owner: &mut dyn MemoryOwner, stop: BorrowedFd<'_>) -> io::Result<()> {
    // In order of their last message.
    let mut clients: VecDeque<OwnedFd> = VecDeque::with_capacity(CLIENTS + 1);
    let mut buffer = vec![0; MAX_MESSAGE];
    let mut paused = false;
    loop {
        let (stopped, waiting, ready) = wait(listener, &clients, stop, paused)?;
        if stopped {
            return Ok(());
        }
        // From the back, so that the indices still to come stay right.
        for index in ready.into_iter().rev() {
            if let Some(client) = clients.remove(index)
                && answer(client.as_fd(), owner, &mut buffer)
            {
                clients.push_back(client);
            }
        }
        paused = false;
        if waiting {
            match listener.accept() {
                Ok(client) => clients.push_back(client),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::warn!(%error, "no client can be accepted");
                    paused = true;
                }
            }
        }
        if clients.len() > CLIENTS {
            clients.pop_front();
        }
    }
}

/// Waits; tells whether to stop, whether a client waits to be accepted, and which clients have spoken.
fn wait(
    listener: &Listener,
    clients: &VecDeque<OwnedFd>,
    stop: BorrowedFd<'_>,
    paused: bool,
) -> io::Result<(bool, bool, Vec<usize>)> {
    let accepting = if paused { PollFlags::empty() } else { PollFlags::IN };
    let mut events = vec![PollFd::from_borrowed_fd(stop, PollFlags::IN), PollFd::new(listener, accepting)];
    events.extend(clients.iter().map(|client| PollFd::new(client, PollFlags::IN)));
    match poll(&mut events, paused.then_some(&PAUSE)) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok((false, false, Vec::new())),
        Err(error) => return Err(error.into()),
    }
    let happened = |event: &PollFd<'_>| !event.revents().is_empty();
    let ready = (0..clients.len()).filter(|index| events.get(index + 2).is_some_and(happened)).collect();
    Ok((events.first().is_some_and(happened), events.get(1).is_some_and(happened), ready))
}

/// Answers one message; `false` if the client is gone or must go.
fn answer(client: BorrowedFd<'_>, owner: &mut dyn MemoryOwner, buffer: &mut [u8]) -> bool {
    let reply = match socket::receive(client, buffer, RecvFlags::DONTWAIT) {
        Ok(Packet::Message(request, descriptors)) => execute(request, descriptors, owner),
        Ok(Packet::Malformed) => Reply::Failed(OwnerError::Invalid("the message makes no sense".into())),
        Ok(Packet::End) => return false,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
        Err(_) => return false,
    };
    if let Reply::Failed(error) = &reply {
        tracing::warn!(%error, "refused an agent's request");
    }
    // A client that does not take its answers must not keep the owner waiting.
    match socket::send(client, &reply, None, SendFlags::DONTWAIT) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "an agent does not take its answer; connection closed");
            false
        }
    }
}

fn execute(request: Request, mut descriptors: Vec<OwnedFd>, owner: &mut dyn MemoryOwner) -> Reply {
    let descriptor = descriptors.pop();
    let result = match (request, descriptor, descriptors.is_empty()) {
        (Request::Register(region), Some(memory), true) => {
            tracing::info!(?region, "register");
            owner.register(region, memory).map(Reply::Registered)
        }
        (Request::Register(_), _, _) => {
            Err(OwnerError::Invalid("a region is registered with one descriptor".into()))
        }
        (_, Some(_), _) => Err(OwnerError::Invalid("a descriptor that nothing was said about".into())),
        (Request::Retire(region), None, _) => {
            tracing::info!(?region, "retire");
            owner.retire(region).map(|()| Reply::Done)
        }
        (Request::Admit { monitor, slot, endpoints }, None, _) => {
            tracing::info!(monitor, slot, connections = endpoints.len(), "admit");
            owner.admit(&monitor, slot, &endpoints).map(Reply::Admitted)
        }
        (Request::Dismiss { monitor }, None, _) => {
            tracing::info!(monitor, "dismiss");
            owner.dismiss(&monitor).map(|()| Reply::Done)
        }
        (Request::Regions, None, _) => owner.regions().map(Reply::Regions),
        (Request::Monitors, None, _) => owner.monitors().map(Reply::Monitors),
    };
    result.unwrap_or_else(Reply::Failed)
}
