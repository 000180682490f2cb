//! Monitors of these tests, and what they know.

use super::super::*;
use crate::clock::{Clock, SystemClock};
use crate::verdict::State;
use backdoors_rdma::handshake::Framed;
use protocol::{MOST_BYTES, Question, Reply};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(10);

pub fn now() -> Duration {
    SystemClock.monotonic()
}

/// What a monitor of these tests knows, by target.
#[derive(Debug, Default)]
pub struct Known(Mutex<BTreeMap<String, Answered>>);

impl Known {
    pub fn set(&self, target: &str, answered: Answered) {
        self.0.lock().unwrap().insert(target.into(), answered);
    }
}

impl Knowledge for Known {
    fn about(&self, target: &str) -> Option<Answered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(target).copied()
    }
}

pub fn read_before(milliseconds: u64) -> Answered {
    let last_good_age = Some(Duration::from_millis(milliseconds));
    Answered { last_good_age, late: false, nic_answers: Some(true), kernel: Some(State::Healthy) }
}

/// Monitors that know each other, each with a socket of its own.
pub struct Lab {
    pub folder: tempfile::TempDir,
    pub monitors: Vec<(Identity, SocketAddr)>,
}

impl Lab {
    /// Names are `m0`, `m1`, ... Returns their sockets besides.
    pub fn of(count: usize) -> (Lab, Vec<TcpListener>) {
        let folder = tempfile::tempdir().unwrap();
        let sockets: Vec<_> =
            (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let make = |(number, socket): (usize, &TcpListener)| {
            let identity = Identity::generate(&format!("m{number}")).unwrap();
            identity.save(folder.path()).unwrap();
            (identity, socket.local_addr().unwrap())
        };
        let monitors = sockets.iter().enumerate().map(make).collect();
        (Lab { folder, monitors }, sockets)
    }

    pub fn peer(&self, number: usize) -> PeerConfig {
        let (identity, address) = &self.monitors[number];
        let certificate = self.folder.path().join(format!("{}.crt", identity.name()));
        PeerConfig { name: identity.name().into(), address: address.to_string(), certificate }
    }

    /// Starts a monitor whose peers are all others.
    pub fn start(
        &self,
        number: usize,
        socket: Option<TcpListener>,
        targets: &[&str],
        known: &Arc<Known>,
    ) -> Peers {
        let others: Vec<usize> = (0..self.monitors.len()).filter(|other| *other != number).collect();
        self.start_among(number, &others, socket, targets, known)
    }

    pub fn start_among(
        &self,
        number: usize,
        peers: &[usize],
        socket: Option<TcpListener>,
        targets: &[&str],
        known: &Arc<Known>,
    ) -> Peers {
        let peers: Vec<PeerConfig> = peers.iter().map(|peer| self.peer(*peer)).collect();
        let targets: Vec<String> = targets.iter().map(|target| (*target).to_owned()).collect();
        let known = Arc::clone(known) as Arc<dyn Knowledge>;
        Peers::start_on(&self.monitors[number].0, socket, &peers, &targets, known).unwrap()
    }

    /// Lets `speak` play monitor `number` towards the next `calls` of those who know it.
    pub fn play(
        &self,
        number: usize,
        socket: TcpListener,
        calls: usize,
        mut speak: impl FnMut(usize, Framed) + Send + 'static,
    ) -> JoinHandle<()> {
        let others: Vec<_> =
            self.monitors.iter().map(|(it, _)| (it.name().to_owned(), it.certificate().clone())).collect();
        let acceptor = Acceptor::new(&self.monitors[number].0, others).unwrap();
        std::thread::spawn(move || {
            for call in 0..calls {
                let (stream, _) = socket.accept().unwrap();
                let (_, conversation) = acceptor.accept_framed(stream).unwrap();
                speak(call, conversation);
            }
        })
    }

    /// Calls monitor `to` with the keys of monitor `from`.
    pub fn call(&self, from: usize, to: usize) -> Framed {
        let (identity, address) = &self.monitors[to];
        Framed::connect(*address, &self.monitors[from].0, identity.certificate(), PATIENCE).unwrap()
    }
}

pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn wait_for_opinion(opinions: &Opinions, target: &str, right: impl Fn(&Opinion) -> bool) -> Opinion {
    wait_for(&format!("an opinion about {target}: {:?}", opinions.standings()), || {
        opinions.about(target).into_iter().find(|opinion| right(opinion))
    })
}

pub fn wait_for_problem(opinions: &Opinions, part: &str) -> Standing {
    wait_for(&format!("`{part}` in {:?}", opinions.standings()), || {
        let standing = opinions.standings().into_iter().next().unwrap();
        standing.problem.as_ref().is_some_and(|problem| problem.contains(part)).then_some(standing)
    })
}

pub fn receive(conversation: &mut Framed) -> Option<Question> {
    let mut bytes = Vec::new();
    conversation.receive(&mut bytes, MOST_BYTES, PATIENCE).ok()?;
    Some(Question::decode(&bytes).unwrap())
}

pub fn send(conversation: &mut Framed, reply: &Reply) {
    conversation.send(&reply.encode(), PATIENCE).unwrap();
}
