//! A source for machines where the kernel half cannot be loaded: a thread of the agent reads `/proc`, fills the same
//! box and table, and obeys commands itself. A frozen agent means a frozen box and no obedience; the capability word
//! says so.

mod fill;
mod readings;

use crate::config::Config;
use crate::executor::{Agreement, Candidate, Executor, Policy, ProtectedProcess, Strike};
use crate::kernel::Scope;
use crate::limits::Limits;
use crate::memory::{
    ACKNOWLEDGEMENT_BYTES, AUDIT_BYTES, COMMAND_BYTES, LEASE_BYTES, Region, TargetMemory, new_generation,
};
use crate::seat::{Seat, Seats};
use crate::words::Words;
use backdoors_sensor_box::LeaseWords;
use backdoors_sensor_box::layout::{
    BoxHeader, COMMAND_SLOTS, Capabilities, SensorRecord, process_table_bytes,
};
use backdoors_sensor_box::variables::VARIABLES_BYTES;
use backdoors_sensor_box::writer::{
    Acknowledgements, AuditRing, CommandSlots, LayOutError, NewSensorError, ProcessTable, SensorBox, Shape,
};
use fill::Filler;
use readings::{Reader, Readings, now};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two looks at `/proc`.
const CALM: Duration = Duration::from_millis(100);
/// The same while a command is carried out.
const HUNTING: Duration = Duration::from_millis(5);
const GIVE_UP: Duration = Duration::from_secs(5);
/// Room for the machine's sensors and those of as many users as the kernel half serves.
const RECORDS: usize = 13 + 2 * 128;

/// The thread, and the memory it fills.
#[derive(Debug)]
pub struct ProcfsSource {
    memory: Arc<TargetMemory>,
    protected: Arc<Mutex<Vec<u32>>>,
    seats: Arc<Mutex<Seats>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Why there is none. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum ProcfsSourceError {
    /// The system refused memory or the thread.
    #[error("cannot sample /proc: {0}")]
    System(#[from] io::Error),
    /// The memory cannot be laid out.
    #[error(transparent)]
    LayOut(#[from] LayOutError),
    /// The box is too small.
    #[error(transparent)]
    Sensor(#[from] NewSensorError),
}

impl ProcfsSource {
    pub(super) fn bring_up(
        config: &Config,
        limits: Limits,
        protected: &[u32],
    ) -> Result<ProcfsSource, ProcfsSourceError> {
        let entries = config.process_table as usize;
        let memory = Arc::new(TargetMemory {
            sensors: Region::create("sensors", size_of::<BoxHeader>() + RECORDS * size_of::<SensorRecord>())?,
            processes: Region::create("processes", process_table_bytes(entries))?,
            commands: Region::create("commands", COMMAND_BYTES)?,
            acknowledgements: Region::create("acknowledgements", ACKNOWLEDGEMENT_BYTES)?,
            lease: Region::create("lease", LEASE_BYTES)?,
            variables: Region::create("variables", VARIABLES_BYTES)?,
            audit: Region::create("audit", AUDIT_BYTES)?,
            sessions: None,
            fence: None,
            generation: new_generation()?,
        });
        let scoped = if config.scope == Scope::PidNamespace { Capabilities::SCOPED } else { 0 };
        let agreement = if config.agreement.is_needed() { Capabilities::AGREEMENT } else { 0 };
        let shape = Shape {
            generation: memory.generation,
            capabilities: Capabilities::PROCFS | Capabilities::HELPER_KILLS | scoped | agreement,
            cpus: super::kernel::cpus(),
            tick_period: CALM.as_nanos() as u64,
        };
        let sensors = SensorBox::lay_out(memory.sensors.words.clone(), &shape)?;
        let table = ProcessTable::lay_out(memory.processes.words.clone(), memory.generation)?;
        let protected = Arc::new(Mutex::new(protected.to_vec()));
        let seats = Arc::new(Mutex::new([Seat::empty(); COMMAND_SLOTS]));
        let stop = Arc::new(AtomicBool::new(false));
        let mut rounds = Rounds {
            reader: Reader::new(),
            filler: Filler::new(sensors, table, limits)?,
            slots: CommandSlots::new(memory.commands.words.clone())?,
            answers: Acknowledgements::new(memory.acknowledgements.words.clone())?,
            lease: LeaseWords::new(memory.lease.words.clone())?,
            audit: AuditRing::lay_out(memory.audit.words.clone(), memory.generation)?,
            spared: config.spared_users.clone(),
            protected: Arc::clone(&protected),
            seats: Arc::clone(&seats),
            generation: memory.generation,
            agreement: config.agreement,
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("procfs".into()).spawn(move || rounds.run(&stopped))?;
        Ok(ProcfsSource { memory, protected, seats, stop, thread: Some(thread) })
    }

    pub(super) fn memory(&self) -> &Arc<TargetMemory> {
        &self.memory
    }

    pub(super) fn look_after(&self, protected: &[u32]) {
        *self.protected.lock().unwrap_or_else(PoisonError::into_inner) = protected.to_vec();
    }

    pub(super) fn change_seat(&self, slot: u32, change: impl FnOnce(Seat) -> Seat) -> io::Result<()> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let seat = seats.get_mut(slot as usize).ok_or(io::ErrorKind::NotFound)?;
        *seat = change(*seat);
        Ok(())
    }

    pub(super) fn take_down(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that sampled /proc had failed");
        }
    }
}

/// What the thread needs.
struct Rounds {
    reader: Reader,
    filler: Filler<Words>,
    slots: CommandSlots<Words>,
    answers: Acknowledgements<Words>,
    lease: LeaseWords<Words>,
    audit: AuditRing<Words>,
    spared: Vec<u32>,
    protected: Arc<Mutex<Vec<u32>>>,
    seats: Arc<Mutex<Seats>>,
    generation: u64,
    agreement: Agreement,
}

impl Rounds {
    fn run(&mut self, stop: &AtomicBool) {
        if let Err(error) = backdoors_rdma::realtime::schedule_first(10) {
            tracing::warn!(%error, "the sampling of /proc runs as an ordinary thread: a flood of processes delays it");
        }
        let (mut executor, interrupted) =
            Executor::new(self.policy(), now(), |slot| self.answers.get(slot), &|slot| self.slots.get(slot));
        self.publish(&interrupted);
        while !stop.load(Ordering::Acquire) {
            match self.reader.read() {
                Ok(readings) => self.round(&mut executor, &readings),
                Err(error) => tracing::error!(%error, "/proc cannot be read"),
            }
            std::thread::sleep(if executor.hunting() { HUNTING } else { CALM });
        }
    }

    fn policy(&self) -> Policy {
        let pids = self.protected.lock().unwrap_or_else(PoisonError::into_inner);
        let protected = pids.iter().map(|&pid| ProtectedProcess { pid, start: 0 }).collect();
        let seats = *self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let (spared, generation, agreement) = (self.spared.clone(), self.generation, self.agreement);
        Policy { init: 1, protected, spared, give_up: GIVE_UP, seats, generation, agreement }
    }

    fn round(&mut self, executor: &mut Executor, readings: &Readings) {
        executor.set_policy(self.policy());
        let policy = executor.policy();
        self.filler.fill(now(), readings, |seen| policy.protects(seen.pid, seen.start));
        let candidates: Vec<Candidate> = readings
            .processes
            .iter()
            .map(|seen| Candidate {
                pid: seen.pid,
                parent: seen.parent,
                user: seen.user,
                start: seen.start,
                kernel: seen.kernel,
            })
            .collect();
        let slots = &self.slots;
        let lease = || self.lease.word();
        let actions = executor.decide(now(), &lease, &|slot| slots.get(slot), &candidates);
        self.publish(&actions.acknowledgements);
        self.enter(executor);
        for strike in &actions.strikes {
            // Many signals take a while, in which another monitor may take the lease.
            let sent = lease().token() == actions.token && self.strike(strike);
            executor.struck(now(), strike, sent);
        }
        self.publish(&executor.settle(now()));
        self.enter(executor);
    }

    /// Signals a process by a descriptor that names it for good, if it still is the one that was chosen and its user's.
    fn strike(&self, strike: &Strike) -> bool {
        let Some(pid) = i32::try_from(strike.pid).ok().and_then(Pid::from_raw) else { return false };
        let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
        self.reader.identity(strike.pid) == Some((strike.start, strike.user))
            && Signal::from_named_raw(strike.signal as i32)
                .is_some_and(|signal| pidfd_send_signal(descriptor, signal).is_ok())
    }

    fn enter(&self, executor: &mut Executor) {
        let (records, left_out) = executor.take_records();
        for record in &records {
            self.audit.write(record);
        }
        self.audit.set_left_out(left_out);
    }

    fn publish(&self, answers: &[(usize, backdoors_sensor_box::layout::Acknowledgement)]) {
        for (slot, answer) in answers {
            self.answers.publish(*slot, answer);
        }
    }
}
