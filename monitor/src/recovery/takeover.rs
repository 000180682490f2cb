//! What a recovery does on this machine: addresses, sockets, and the local servers that go on with them.

use super::claim::Claim;
use super::course::{Addresses, Candidate, Outcomes};
use super::pull::{Found, Unsent};
use super::side_by_side::side_by_side;
use crate::config::ServiceConfig;
use backdoors_continuation_box::connection::{streams, tcp_state};
use backdoors_continuation_box::resume::Resumption;
use backdoors_continuation_box::service::{Adopter, Offered};
use backdoors_continuation_box::snapshot::{BoxView, Export};
use backdoors_continuation_box::tcp::{
    Announced, Prefixed, Rebuilder, Rebuilt, Resumed, SilentAddresses, TcpState, is_open,
};
use backdoors_sensor_box::session::Received;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    /// Given up last: fields are dropped in their order.
    claims: Vec<Claim>,
}

/// A session on its way.
enum Session {
    /// Nothing can be done with it.
    Lost,
    /// It can be rebuilt, for the service of this number.
    Planned { plan: Resumption, state: Box<TcpState>, left: Left },
    /// It is a silent socket, which the local agent holds, too.
    Held { rebuilt: Box<Rebuilt>, offered: Offered, left: Left },
    /// It speaks, and nobody serves it yet.
    Speaking { resumed: Resumed, offered: Offered, left: Left },
}

/// What is left of a session at the target, beside its connection.
struct Left {
    /// The service of this number.
    service: usize,
    boxed: BoxView,
    /// What of the box is still to be fetched.
    unsent: Option<Unsent>,
}

impl Takeover {
    /// Reaches the local servers, and makes the addresses local without a word. Returns where they were before.
    ///
    /// # Errors
    /// Why not; nothing has changed then that dropping it does not undo.
    pub fn prepare(&mut self, services: &[ServiceConfig]) -> Result<Addresses, String> {
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
        let all: BTreeSet<IpAddr> = by_interface.values().flatten().map(|known| known.address).collect();
        self.claims = all.into_iter().map(Claim::take).collect::<Result<_, _>>()?;
        for (interface, addresses) in by_interface {
            let taken = SilentAddresses::take(interface, &addresses).map_err(|error| error.to_string())?;
            self.silent.push(taken);
        }
        let is_any = |is: fn(&SilentAddresses) -> bool| self.silent.iter().any(is);
        Ok(if is_any(|taken| !taken.had().is_empty()) {
            Addresses::Announced
        } else if is_any(SilentAddresses::were_left) {
            Addresses::LeftSilent
        } else {
            Addresses::Free
        })
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
                Candidate { local, remote, lost, is_here: false }
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

    /// Rebuilds sessions silently, and has the local servers' agent hold each.
    pub fn rebuild(&mut self, sessions: &[usize]) -> Outcomes {
        let planned = sessions.iter().map(|index| (*index, self.take(*index))).collect();
        let Takeover { adopters, rebuilder, .. } = self;
        // Offers are answered in their order.
        let offers = Mutex::new((adopters, Vec::new()));
        let rebuild = |session| {
            let Session::Planned { plan, state, left } = session else {
                return Err("it was not planned".to_owned());
            };
            let rebuilt = rebuilder.rebuild(*state).map_err(|error| error.to_string())?;
            let cookie = rustix::net::sockopt::socket_cookie(&rebuilt)
                .map_err(|error| format!("asking for a socket's cookie failed: {error}"))?;
            Ok((plan, rebuilt, left, cookie))
        };
        let failed = side_by_side(planned, |(index, session)| {
            let outcome = rebuild(session).and_then(|(plan, rebuilt, left, cookie)| {
                let (adopters, offered) = &mut *offers.lock().unwrap_or_else(PoisonError::into_inner);
                adopter(adopters, left.service)?
                    .offer(&left.boxed, &plan, cookie, &rebuilt)
                    .map_err(|error| error.to_string())?;
                offered.push((index, Box::new(rebuilt), left));
                Ok(())
            });
            outcome.err().map(|reason| (index, Err(reason)))
        });
        let (_, offered) = offers.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut outcomes: Outcomes = failed.into_iter().flatten().collect();
        for (index, rebuilt, left) in offered {
            let offered = adopter(&mut self.adopters, left.service)
                .and_then(|adopter| adopter.offered().map_err(|error| error.to_string()));
            let outcome = offered.map(|offered| self.put(index, Session::Held { rebuilt, offered, left }));
            outcomes.push((index, outcome));
        }
        outcomes
    }

    /// Tells the network where the addresses are now, and again over some seconds.
    ///
    /// # Errors
    /// Why not. The addresses are this machine's no more then, but for those that were when this began.
    pub fn announce(&mut self, services: &[ServiceConfig]) -> Result<(), String> {
        // Neighbours cannot be told otherwise afterwards, so what may fail comes first. The sockets are there by now.
        for service in services {
            run(&service.announce)?;
        }
        let mut announced: Vec<Announced> = Vec::new();
        for silent in std::mem::take(&mut self.silent) {
            match silent.announce() {
                Ok(told) => announced.push(told),
                Err(error) => {
                    announced.into_iter().for_each(Announced::withdraw);
                    return Err(error.to_string());
                }
            }
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

    /// Has sessions speak. Tells of each when that was.
    pub fn resume(&mut self, sessions: &[usize]) -> Vec<(usize, Instant, Result<(), String>)> {
        let held = sessions.iter().map(|index| (*index, self.take(*index))).collect();
        let spoken = side_by_side(held, |(index, session)| {
            let Session::Held { rebuilt, offered, left } = session else {
                return (index, Instant::now(), Err("the local agent does not hold it".to_owned()));
            };
            let resumed = rebuilt.resume().map_err(|error| error.to_string());
            let outcome = resumed.map(|resumed| Session::Speaking { resumed, offered, left });
            (index, Instant::now(), outcome)
        });
        let put = |(index, at, outcome): (usize, Instant, Result<Session, String>)| {
            (index, at, outcome.map(|session| self.put(index, session)))
        };
        spoken.into_iter().map(put).collect()
    }

    /// What is still to be fetched of sessions of a service, and which these are.
    pub fn unsent(&self, service: usize) -> (Vec<usize>, Vec<Unsent>) {
        let unsent = |session: &Session| match session {
            Session::Speaking { left, .. } if left.service == service => left.unsent,
            _ => None,
        };
        (0..).zip(&self.sessions).filter_map(|(index, session)| Some((index, unsent(session)?))).unzip()
    }

    /// Takes in what was fetched of a session.
    pub fn complete(&mut self, index: usize, bytes: &[u8]) {
        if let Some(Session::Speaking { left, .. }) = self.sessions.get_mut(index)
            && let Some(ring) = &mut left.boxed.ring
        {
            ring.bytes = [&ring.bytes, bytes].concat().into();
            left.unsent = None;
        }
    }

    /// Gives sessions that speak to the local servers, with all that is left of them. The clients of those that are lost are told so
    /// when this takeover ends.
    pub fn begin(&mut self, sessions: &[usize]) -> Outcomes {
        let mut outcomes = Outcomes::new();
        // Their sockets are kept until the answers are there: they would be the last ones if the agent had died.
        let mut begun = Vec::new();
        for &index in sessions {
            match self.begin_one(index) {
                Ok((service, resumed)) => begun.push((index, service, resumed)),
                Err(reason) => outcomes.push((index, Err(reason))),
            }
        }
        for (index, service, _resumed) in begun {
            let answer = adopter(&mut self.adopters, service)
                .and_then(|adopter| adopter.begun().map_err(|error| error.to_string()));
            outcomes.push((index, answer));
        }
        outcomes
    }

    fn begin_one(&mut self, index: usize) -> Result<(usize, Resumed), String> {
        let Session::Speaking { resumed, offered, left } = self.take(index) else {
            return Err("it does not speak".to_owned());
        };
        if left.unsent.is_some() {
            return Err("what was written and never sent could not be read any more".to_owned());
        }
        adopter(&mut self.adopters, left.service)?
            .begin(offered, resumed.written as u64, &left.boxed.to_old_box())
            .map_err(|error| error.to_string())?;
        Ok((left.service, resumed))
    }
}

/// Finds out which of the sessions are here, since an earlier recovery.
///
/// # Errors
/// If this machine's kernel does not tell.
pub fn find_here(candidates: &mut [Candidate]) -> Result<(), String> {
    for candidate in candidates {
        let is_here = is_open(candidate.local, candidate.remote);
        candidate.is_here =
            is_here.map_err(|error| format!("looking for its connections failed: {error}"))?;
    }
    Ok(())
}

fn adopter(adopters: &mut [Adopter], service: usize) -> Result<&mut Adopter, String> {
    adopters.get_mut(service).ok_or_else(|| "its local server is not reached".to_owned())
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
    let left = Left { service, boxed, unsent: found.unsent };
    Ok(Session::Planned { plan, state: Box::new(state), left })
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
