//! What a recovery does on this machine: addresses, sockets, and the local servers that go on with them.

use super::course::Candidate;
use super::pull::Found;
use crate::config::ServiceConfig;
use backdoors_continuation_box::connection::{streams, tcp_state};
use backdoors_continuation_box::resume::Resumption;
use backdoors_continuation_box::service::{Adopter, Offered};
use backdoors_continuation_box::snapshot::{BoxView, Export};
use backdoors_continuation_box::tcp::{
    Announced, Prefixed, Rebuilder, Rebuilt, Resumed, SilentAddresses, TcpState,
};
use backdoors_sensor_box::session::Received;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// An announcement can be lost, and nobody acknowledges one. Pauses before the next ones.
const AGAIN: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];

/// This machine's side of a recovery.
#[derive(Default)]
pub struct Takeover {
    adopters: Vec<Adopter>,
    silent: Vec<SilentAddresses>,
    rebuilder: Rebuilder,
    sessions: Vec<Session>,
}

/// A session on its way.
enum Session {
    /// Nothing can be done with it.
    Lost,
    /// It can be rebuilt, for the service of this number.
    Planned { service: usize, plan: Resumption, state: Box<TcpState>, boxed: BoxView },
    /// It is a silent socket, and was offered to the local agent.
    Rebuilt { service: usize, rebuilt: Box<Rebuilt> },
    /// The local agent holds it.
    Held { service: usize, rebuilt: Box<Rebuilt>, offered: Offered },
    /// It speaks, and nobody serves it yet.
    Speaking { service: usize, resumed: Resumed, offered: Offered },
}

impl Takeover {
    /// Reaches the local servers, and makes the addresses local without a word.
    ///
    /// # Errors
    /// Why not; nothing has changed then that dropping it does not undo.
    pub fn prepare(&mut self, services: &[ServiceConfig]) -> Result<(), String> {
        for service in services {
            let adopter = Adopter::connect(&service.local, &service.name)
                .map_err(|error| format!("service `{}`: {error}", service.name))?;
            self.adopters.push(adopter);
        }
        let mut by_interface: BTreeMap<&str, Vec<Prefixed>> = BTreeMap::new();
        for service in services {
            let addresses = by_interface.entry(&service.interface).or_default();
            for address in service.addresses.iter().map(|address| address.0) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        for (interface, addresses) in by_interface {
            let taken = SilentAddresses::take(interface, &addresses).map_err(|error| error.to_string())?;
            self.silent.push(taken);
        }
        Ok(())
    }

    /// Plans each session that was found of a service. `clock` is the target's monotonic clock now or ahead of it,
    /// nanoseconds.
    pub fn plan(&mut self, service: usize, found: Vec<Found>, clock: u64) -> Vec<Candidate> {
        let mut ends = HashSet::new();
        found
            .into_iter()
            .map(|found| {
                let (local, remote) = (found.session.local, found.session.remote);
                let planned = if ends.insert((local, remote)) {
                    plan(service, found, clock)
                } else {
                    Err("another record is of the same connection, and nobody knows which is right"
                        .to_owned())
                };
                let (session, lost) = match planned {
                    Ok(session) => (session, None),
                    Err(reason) => (Session::Lost, Some(reason)),
                };
                self.sessions.push(session);
                Candidate { local, remote, lost }
            })
            .collect()
    }

    /// Forgets what was planned, for a new reading.
    pub fn forget(&mut self) {
        self.sessions.clear();
    }

    fn take(&mut self, index: usize) -> Session {
        self.sessions.get_mut(index).map_or(Session::Lost, |slot| std::mem::replace(slot, Session::Lost))
    }

    fn put(&mut self, index: usize, session: Session) {
        if let Some(slot) = self.sessions.get_mut(index) {
            *slot = session;
        }
    }

    fn adopter(&mut self, service: usize) -> Result<&mut Adopter, String> {
        Ok(self.adopters.get_mut(service).ok_or("its local server is not reached")?)
    }

    /// Rebuilds a session silently, and offers it to the local server's agent.
    ///
    /// # Errors
    /// Why it is lost.
    pub fn rebuild(&mut self, index: usize) -> Result<(), String> {
        let Session::Planned { service, plan, state, boxed } = self.take(index) else {
            return Err("it was not planned".to_owned());
        };
        let rebuilt = self.rebuilder.rebuild(*state).map_err(|error| error.to_string())?;
        let cookie = rustix::net::sockopt::socket_cookie(&rebuilt)
            .map_err(|error| format!("asking for a socket's cookie failed: {error}"))?;
        self.adopter(service)?
            .offer(&boxed.to_old_box(), &plan, cookie, &rebuilt)
            .map_err(|error| error.to_string())?;
        self.put(index, Session::Rebuilt { service, rebuilt: Box::new(rebuilt) });
        Ok(())
    }

    /// Whether the local server's agent holds a session. To be asked of each that was rebuilt, in their order.
    ///
    /// # Errors
    /// Why it is lost.
    pub fn hold(&mut self, index: usize) -> Result<(), String> {
        let Session::Rebuilt { service, rebuilt } = self.take(index) else {
            return Err("it was not rebuilt".to_owned());
        };
        let offered = self.adopter(service)?.offered().map_err(|error| error.to_string())?;
        self.put(index, Session::Held { service, rebuilt, offered });
        Ok(())
    }

    /// Tells the network where the addresses are now, and again over some seconds.
    ///
    /// # Errors
    /// Why not. The addresses are this machine's no more then.
    pub fn announce(&mut self, services: &[ServiceConfig]) -> Result<(), String> {
        let announced: Result<Vec<Announced>, _> =
            std::mem::take(&mut self.silent).into_iter().map(SilentAddresses::announce).collect();
        let announced = announced.map_err(|error| error.to_string())?;
        for service in services {
            run(&service.announce)?;
        }
        let repeat = std::thread::Builder::new().name("announce".into()).spawn(move || {
            for pause in AGAIN {
                std::thread::sleep(pause);
                for announced in &announced {
                    if let Err(error) = announced.repeat() {
                        tracing::warn!(%error, "an announcement was not repeated");
                    }
                }
            }
        });
        if let Err(error) = repeat {
            tracing::warn!(%error, "no announcement is repeated: there is no thread for it");
        }
        Ok(())
    }

    /// Has a session speak.
    ///
    /// # Errors
    /// Why it is lost.
    pub fn resume(&mut self, index: usize) -> Result<(), String> {
        let Session::Held { service, rebuilt, offered } = self.take(index) else {
            return Err("the local agent does not hold it".to_owned());
        };
        let resumed = rebuilt.resume().map_err(|error| error.to_string())?;
        self.put(index, Session::Speaking { service, resumed, offered });
        Ok(())
    }

    /// Gives a session that speaks to the local server.
    ///
    /// # Errors
    /// Why it is lost.
    pub fn begin(&mut self, index: usize) -> Result<(), String> {
        let Session::Speaking { service, resumed, offered } = self.take(index) else {
            return Err("it does not speak".to_owned());
        };
        self.adopter(service)?.begin(offered, resumed.written as u64).map_err(|error| error.to_string())
    }
}

/// Whether a session could go on, as it was found.
///
/// # Errors
/// Why it is lost.
pub(super) fn check(found: Found, clock: u64) -> Result<(), String> {
    plan(0, found, clock).map(drop)
}

fn plan(service: usize, found: Found, clock: u64) -> Result<Session, String> {
    let received = found.received?;
    let boxed = match found.boxed {
        Some(boxed) => boxed.map_err(|error| format!("its box cannot be read: {error}"))?,
        None => fresh(&found.session, &received)?,
    };
    let streams = streams(&found.session, &received);
    let plan = Resumption::plan(&streams, &boxed).map_err(|lost| lost.to_string())?;
    let state =
        tcp_state(&found.session, &received, &boxed, &plan, clock).map_err(|error| error.to_string())?;
    Ok(Session::Planned { service, plan, state: Box::new(state), boxed })
}

/// The box of a connection that its server had not accepted yet: it begins at the beginning.
fn fresh(
    session: &backdoors_sensor_box::session::SessionView,
    received: &Received,
) -> Result<BoxView, String> {
    let streams = streams(session, received);
    if session.read_position() > 0 || streams.sent > 0 {
        return Err("its application keeps no box for it".to_owned());
    }
    Ok(BoxView {
        cookie: session.cookie,
        newest: Export::default(),
        read: 0,
        written: 0,
        is_ended: false,
        ring: None,
    })
}

/// Runs the command that tells whoever routes to the addresses, if there is one.
fn run(command: &[String]) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let failed = |why: String| format!("`{}` failed: {why}", command.join(" "));
    let status = std::process::Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .status()
        .map_err(|error| failed(error.to_string()))?;
    if status.success() { Ok(()) } else { Err(failed(status.to_string())) }
}
