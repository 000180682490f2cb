//! The monitor's side, without its daemon: a session, a stop watch, and the sensor box.

use anyhow::{Context, Result, bail};
use backdoors_healers::{Case, Culprit, Diagnosis, Limits, Users};
use backdoors_rdma::handshake::{Certificate, Identity};
use backdoors_rdma::{AccessError, Operation, Provider, RemoteRange, Session, SessionConfig, realtime};
use backdoors_sensor_box::layout::RegionKind;
use backdoors_sensor_box::{
    AcknowledgementView, Command, CommandKey, CommandState, EncodedCommand, LeaseView, LeaseWord, Opcode,
    ProcessView, Seal, SensorFetcher, SensorKind, Token, fetch_acknowledgement, fetch_processes,
};
use backdoors_tests::host::Host;
use rustix::time::{ClockId, clock_gettime};
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

const FOLDER: &str = "/run/backdoors";
const DEADLINE: Duration = Duration::from_secs(5);
const PATIENCE: f64 = 60_000.0;
/// Between two readings: often enough for times of many milliseconds, and no load worth mentioning.
const PAUSE: Duration = Duration::from_micros(500);
/// It stands for a machine of its own, which the target's load cannot slow down.
const PRIORITY: i32 = 10;

/// Times of one repair, milliseconds. Hosts on one machine share a monotonic clock.
pub struct Repair {
    /// To fetch the process table, as a diagnosis would.
    pub fetch: f64,
    /// For `forkbomb` to name the culprit by it.
    pub diagnosis: f64,
    /// From the WRITE to its acceptance.
    pub accepted: f64,
    /// From acceptance to the last death, as the acknowledgement tells it.
    pub killing: f64,
    /// From the WRITE until the sensor box counts no process.
    pub gone: f64,
}

impl Repair {
    /// From the decision to look to the last death.
    pub fn in_all(&self) -> f64 {
        self.fetch + self.diagnosis + self.accepted + self.killing
    }
}

/// A session with the target.
pub struct Watcher {
    session: Session,
    fetcher: SensorFetcher,
}

fn now(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// Runs `work` before all ordinary threads; what it starts would be, too.
fn first<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let thread = move || {
        realtime::schedule_first(PRIORITY).context("scheduling the watcher first")?;
        work()
    };
    let joined = std::thread::scope(|scope| scope.spawn(thread).join());
    joined.unwrap_or_else(|_| bail!("the watcher's thread panicked"))
}

impl Watcher {
    pub fn connect(target: &Host, monitor: &Host) -> Result<Watcher> {
        let keys = monitor.path(FOLDER);
        let config = SessionConfig {
            address: (target.address(), 7801).into(),
            target_certificate: Certificate::load(&keys.join("target.crt"))?,
            identity: Identity::load(&keys, "monitor")?,
            provider: Provider::Emulated,
            connections: 1,
            deadline: DEADLINE,
        };
        let open = || {
            monitor.enter_network()?;
            Ok(Session::open(&config)?)
        };
        Ok(Watcher { session: first(open)?, fetcher: SensorFetcher::default() })
    }

    fn range(&self, kind: u32) -> Result<RemoteRange> {
        Ok(self.session.region(kind).with_context(|| format!("no region of kind {kind}"))?.range)
    }

    fn read(&mut self, range: RemoteRange, offset: u64, into: &mut [u8]) -> Result<(), AccessError> {
        let from = range.slice(offset, into.len() as u64);
        self.session.read(from.ok_or(AccessError::Invalid("outside the region"))?, into)
    }

    /// What the sensor box says that a user has.
    pub fn processes_of(&mut self, user: u32) -> Result<u64> {
        let range = self.range(RegionKind::SENSORS)?;
        let Watcher { session, fetcher } = self;
        let view = fetcher.fetch(range.length, |offset, into: &mut [u8]| {
            let from = range.slice(offset, into.len() as u64);
            session.read(from.ok_or(AccessError::Invalid("outside the box"))?, into)
        })?;
        // A user without processes loses the sensor after a while.
        Ok(view.sensor(SensorKind::USER_PROCESSES, user).map_or(0, |reading| reading.value))
    }

    /// Waits until the user has none; returns when that was seen, by `clock`.
    fn gone(&mut self, user: u32, clock: ClockId) -> Result<f64> {
        let begun = now(clock);
        loop {
            let left = self.processes_of(user)?;
            let seen = now(clock);
            if left == 0 {
                return Ok(seen);
            }
            if seen - begun > PATIENCE {
                bail!("{left} processes are left");
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn acknowledgement(&mut self) -> Result<AcknowledgementView> {
        let (range, slot) = (self.range(RegionKind::ACKNOWLEDGEMENTS)?, self.session.slot());
        Ok(fetch_acknowledgement(slot, |offset, into| self.read(range, offset, into))?)
    }

    /// The lease, taken if it is not this monitor's yet: there is no other.
    fn lease(&mut self) -> Result<Token> {
        let (range, slot) = (self.range(RegionKind::LEASE)?, self.session.slot());
        let mut bytes = [0; LeaseView::BYTES];
        self.read(range, 0, &mut bytes)?;
        let mut lease = LeaseView::decode(&bytes)?.lease;
        if lease.holder() != Some(slot) {
            let at = range.slice(LeaseView::LEASE_OFFSET, 8).context("a lease table too small")?;
            let (expected, new, mut found) = (lease.word(), lease.taken_by(slot).word(), 0);
            self.session.submit(&mut [Operation::CompareAndSwap { at, expected, new, found: &mut found }])?;
            if found != expected {
                bail!("somebody else takes the lease");
            }
            lease = LeaseWord::from_word(new);
        }
        lease.token().context("nobody's lease")
    }

    /// Has the kernel half kill a user's processes.
    pub fn repair(&mut self, user: u32) -> Result<Repair> {
        first(|| self.command(user))
    }

    /// Has the healer look at the table, as the monitor would; it must come to this user.
    fn diagnose(&self, user: u32, table: &ProcessView) -> Result<()> {
        let mut healer = backdoors_healers::build("forkbomb", Default::default(), &Users::new())?;
        let mut limits = Limits::default();
        limits.set("user.processes", 50)?;
        let diagnosis = healer.examine(&Case {
            now: Duration::ZERO,
            target: "target",
            events: &[],
            sensors: self.fetcher.view(),
            processes: table,
            limits: &limits,
            stuck: &[],
        });
        match diagnosis {
            Diagnosis::Culprit { culprit: Culprit::User { user: blamed }, .. } if blamed == user => Ok(()),
            other => bail!("user {user} was to be blamed: {other:?}"),
        }
    }

    fn command(&mut self, user: u32) -> Result<Repair> {
        let clock = ClockId::Monotonic;
        let range = self.range(RegionKind::PROCESSES)?;
        let begun = now(clock);
        let table = fetch_processes(range.length, |offset, into| self.read(range, offset, into))?;
        let fetch = now(clock) - begun;
        let begun = now(clock);
        self.diagnose(user, &table)?;
        let diagnosis = now(clock) - begun;
        let culprits = table.processes.iter().filter(|process| process.user == user).count();

        let sequence = self.acknowledgement()?.accepted + 1;
        let command = Command::new(Opcode::KillUser, u64::from(user));
        let token = self.lease()?;
        let region = self.session.region(RegionKind::COMMAND).context("no command slot")?;
        let key = CommandKey::from_bytes(self.session.secret().bytes());
        let seal = Seal { key, slot: self.session.slot(), generation: region.generation };
        let command = command.encode(sequence, token, &seal, "");
        let slot = region.range;
        let part = |offset, length: usize| slot.slice(offset, length as u64).context("a slot too small");
        let mut batch = [
            Operation::Write { to: part(0, command.body.len())?, from: &command.body },
            Operation::Write {
                to: part(EncodedCommand::SEQUENCE_OFFSET, command.sequence.len())?,
                from: &command.sequence,
            },
        ];
        let written = now(clock);
        self.session.submit(&mut batch)?;
        let gone = self.gone(user, clock)? - written;
        let acknowledgement = loop {
            let acknowledgement = self.acknowledgement()?;
            match acknowledgement.state {
                CommandState::Done if acknowledgement.command == sequence => break acknowledgement,
                CommandState::Refused | CommandState::GaveUp => bail!("not obeyed: {acknowledgement:?}"),
                _ if now(clock) - written > PATIENCE => bail!("not done: {acknowledgement:?}"),
                _ => std::thread::sleep(PAUSE),
            }
        };
        if (acknowledgement.matched as usize) < culprits {
            bail!("{culprits} culprits, but {acknowledgement:?}");
        }
        let accepted = acknowledgement.accepted_at as f64 / 1e6;
        Ok(Repair {
            fetch,
            diagnosis,
            accepted: accepted - written,
            killing: acknowledgement.last_death_at as f64 / 1e6 - accepted,
            gone,
        })
    }

    /// Has `pkill` kill a user's processes, on the target; returns the milliseconds from its start until none was
    /// left.
    pub fn pkill(&mut self, target: &Host, user: u32) -> Result<f64> {
        // The shell is there before, and tells when it becomes `pkill`: its own start under load is not counted.
        let mut shell = target
            .command("bash")
            .args(["-c", &format!("read -r _; echo $EPOCHREALTIME; exec pkill -KILL -U {user}")])
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (mut start, mut output) = (shell.stdin.take().context("no stdin")?, shell.stdout.take());
        let gone = first(|| {
            start.write_all(b"\n")?;
            self.gone(user, ClockId::Realtime)
        })?;
        let mut text = String::new();
        output.as_mut().context("no stdout")?.read_to_string(&mut text)?;
        if !shell.wait()?.success() {
            bail!("pkill failed");
        }
        let started: f64 = text.trim().parse().with_context(|| format!("no time: {text}"))?;
        Ok(gone - started * 1e3)
    }
}
