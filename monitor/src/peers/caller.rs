//! The thread that keeps a conversation with one peer, in which this monitor asks.

use super::backoff::Backoff;
use super::peer::{Peer, Task};
use super::protocol::{MOST_BYTES, Reply};
use crate::clock::{Clock, SystemClock};
use backdoors_rdma::handshake::{Certificate, Framed, FramedError, Identity};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// Longest time to connect, and as long again to prove who one is.
const CONNECT_TIME: Duration = Duration::from_secs(1);
/// Longest wait for an answer. A peer that takes longer is of no use as a second view, and is called anew.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Starts the thread. It ends soon after [`Peer::end`].
pub(super) fn start(peer: Arc<Peer>, identity: Identity, certificate: Certificate) -> io::Result<()> {
    let name = format!("peer {}", peer.name());
    std::thread::Builder::new().name(name).spawn(move || run(&peer, &identity, &certificate)).map(drop)
}

fn now() -> Duration {
    SystemClock.monotonic()
}

fn run(peer: &Peer, identity: &Identity, certificate: &Certificate) {
    // Differs from process to process, which is all that is asked of it.
    let seed = RandomState::new().hash_one(peer.name());
    let mut backoff = Backoff::new(seed, now());
    while peer.wait_to_call(now, |now, wanted| backoff.due(now, wanted)) {
        backoff.calls(now());
        let Err(problem) = call(peer, identity, certificate) else { return };
        backoff.ended(now());
        if peer.failed(problem.clone()) {
            tracing::warn!(peer = peer.name(), "no second view: {problem}");
        }
    }
}

/// Calls the peer and asks it, for as long as it answers. Gives why that ended; nothing if everything is over.
fn call(peer: &Peer, identity: &Identity, certificate: &Certificate) -> Result<(), String> {
    let mut conversation = connect(peer.address(), identity, certificate)?;
    if !peer.connected(now()) {
        return Ok(());
    }
    let mut answer = Vec::new();
    loop {
        let question = match peer.task(now) {
            Task::Ask(question) => question,
            Task::SeeAgain => continue,
            Task::End => return Ok(()),
        };
        let sent = conversation.send(&question.encode(), ANSWER_TIME);
        // A peer that refuses the certificate says so before it closes, so look for its word even if sending failed.
        let received = conversation.receive(&mut answer, MOST_BYTES, ANSWER_TIME);
        match (sent, received) {
            (_, Err(error @ FramedError::Stranger)) => return Err(error.to_string()),
            (Err(error), _) | (Ok(()), Err(error)) => return Err(error.to_string()),
            (Ok(()), Ok(())) => {}
        }
        let at = now();
        let news = Reply::decode(&answer)
            .and_then(|reply| peer.answered(at, reply))
            .map_err(|error| error.to_string())?;
        if news.reached {
            tracing::info!(peer = peer.name(), "the peer gives its view");
        }
        if !news.unknown.is_empty() {
            let targets = news.unknown.join(", ");
            tracing::warn!(
                peer = peer.name(),
                targets,
                "the peer knows no targets of these names: names must match"
            );
        }
    }
}

/// Tries the peer's addresses one after the other.
fn connect(address: &str, identity: &Identity, certificate: &Certificate) -> Result<Framed, String> {
    let addresses: Vec<SocketAddr> =
        address.to_socket_addrs().map_err(|error| format!("cannot resolve {address}: {error}"))?.collect();
    let mut problem = format!("{address} has no address");
    for address in addresses {
        match Framed::connect(address, identity, certificate, CONNECT_TIME) {
            Ok(conversation) => return Ok(conversation),
            Err(error) => problem = error.to_string(),
        }
    }
    Err(problem)
}
