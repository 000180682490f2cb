//! A target: its memory, and a kernel half behind it. It costs nothing while nobody looks: counters are brought up to date when
//! they are read.

use super::time::MILLISECOND;
use backdoors_sensor_box::layout::{
    Acknowledgement, COMMAND_SLOTS, Capabilities, CommandSlot, ProcessEntry, RegionKind, process_table_bytes,
};
use backdoors_sensor_box::writer::{Acknowledgements, CommandSlots, ProcessTable, Sensor, SensorBox, Shape};
use backdoors_sensor_box::{
    CommandKey, CommandState, LeaseView, LeaseWords, LocalWords, Opcode, Refusal, Seal, SensorKind,
};
use std::collections::BTreeMap;
use std::sync::Arc;

const PROCESSES: usize = 64;
pub const USER: u32 = 1000;
pub const USER_LIMIT: u64 = 20;
const SWEEP_EVERY: u64 = 20 * MILLISECOND;
const DEATHS_A_SWEEP: usize = 3;

type Words = Arc<LocalWords>;

/// The key of a slot's monitor.
pub fn key_of(slot: u32) -> [u8; 16] {
    [slot as u8 + 1; 16]
}

/// What can be wrong with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Gone with its NIC.
    HostDead,
    /// No CPU executes anything; the NIC lives.
    KernelHung,
    /// CPU 1 spins with interrupts off.
    CpuStuck,
    /// Nothing but the kernel gets to run.
    Starved,
    AgentKilled,
}

/// A command that was obeyed.
#[derive(Clone, Copy, Debug)]
pub struct Obeyed {
    pub generation: u64,
    pub token: u64,
    pub term: u32,
    pub begun: u64,
    pub ended: Option<u64>,
}

struct Running {
    command: CommandSlot,
    next_sweep: u64,
    obeyed: usize,
}

pub struct Target {
    pub generation: u64,
    pub regions: BTreeMap<u32, Words>,
    sensors: SensorBox<Words>,
    table: ProcessTable<Words>,
    slots: CommandSlots<Words>,
    acknowledgements: Acknowledgements<Words>,
    pub lease: LeaseWords<Words>,
    timer: Sensor,
    heartbeat: Sensor,
    alive: Sensor,
    processes: Sensor,
    users: Sensor,
    cpus: [[Sensor; 3]; 2],
    loaded: bool,
    pub trouble: Option<Trouble>,
    brought_up_to: u64,
    /// How long each has run: kernel, CPU 1, user half.
    kernel_ran: u64,
    other_cpu_ran: u64,
    agent_ran: u64,
    looked_at: [u64; COMMAND_SLOTS],
    running: BTreeMap<usize, Running>,
    pub obeyed: Vec<Obeyed>,
    /// Commands refused because their token was not the lease's.
    pub not_the_holder: u32,
}

impl Target {
    pub fn new(generation: u64, loaded: bool, timer_limit: u64, heartbeat_limit: u64) -> Target {
        let memory = |bytes| Arc::new(LocalWords::zeroed(bytes));
        let regions = BTreeMap::from([
            (RegionKind::SENSORS, memory(2048)),
            (RegionKind::PROCESSES, memory(process_table_bytes(PROCESSES))),
            (RegionKind::COMMAND, memory(size_of::<CommandSlot>() * COMMAND_SLOTS)),
            (RegionKind::ACKNOWLEDGEMENTS, memory(128 * COMMAND_SLOTS)),
            (RegionKind::LEASE, memory(LeaseView::BYTES)),
        ]);
        let region = |kind| Arc::clone(&regions[&kind]);
        let shape = Shape {
            generation,
            capabilities: Capabilities::KERNEL_HALF | Capabilities::KERNEL_KILLS_ALL,
            cpus: 2,
            tick_period: MILLISECOND,
        };
        let sensors = SensorBox::lay_out(region(RegionKind::SENSORS), &shape).unwrap();
        let none = u64::MAX;
        let sensor = |kind, instance, limit| sensors.new_sensor(kind, instance, limit).unwrap();
        let cpu = |cpu| {
            [SensorKind::CPU_TICKS, SensorKind::CPU_SWITCHES, SensorKind::CPU_BUSY]
                .map(|kind| sensor(kind, cpu, none))
        };
        let target = Target {
            generation,
            table: ProcessTable::lay_out(region(RegionKind::PROCESSES), generation).unwrap(),
            slots: CommandSlots::new(region(RegionKind::COMMAND)).unwrap(),
            acknowledgements: Acknowledgements::new(region(RegionKind::ACKNOWLEDGEMENTS)).unwrap(),
            lease: LeaseWords::new(region(RegionKind::LEASE)).unwrap(),
            timer: sensor(SensorKind::KERNEL_TIMER, 0, timer_limit),
            heartbeat: sensor(SensorKind::AGENT_HEARTBEAT, 0, heartbeat_limit),
            alive: sensor(SensorKind::AGENT_ALIVE, 0, 1),
            processes: sensor(SensorKind::PROCESSES, 0, 4096),
            users: sensor(SensorKind::USER_PROCESSES, USER, USER_LIMIT),
            cpus: [cpu(0), cpu(1)],
            loaded,
            sensors,
            regions,
            trouble: None,
            brought_up_to: 0,
            kernel_ran: 0,
            other_cpu_ran: 0,
            agent_ran: 0,
            looked_at: [0; COMMAND_SLOTS],
            running: BTreeMap::new(),
            obeyed: Vec::new(),
            not_the_holder: 0,
        };
        target.put(0, 1, 0);
        target.sensors.set(target.alive, 1);
        target
    }

    pub fn is_gone(&self) -> bool {
        self.trouble == Some(Trouble::HostDead)
    }

    /// Whether somebody shakes hands.
    pub fn agent_answers(&self) -> bool {
        matches!(self.trouble, None | Some(Trouble::CpuStuck))
    }

    fn kernel_runs(&self) -> bool {
        !matches!(self.trouble, Some(Trouble::HostDead | Trouble::KernelHung))
    }

    fn put(&self, index: usize, pid: u32, user: u32) {
        let entry = ProcessEntry {
            sequence: 0,
            pid,
            parent: u32::from(pid != 1),
            user,
            depth: 1,
            flags: 0,
            start: u64::from(pid) * 1000,
            rss: 4096,
            cpu_time: 5_000_000,
            command: *b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            ..ProcessEntry::default()
        };
        assert!(self.table.put(index, &entry));
    }

    /// A user starts too many processes.
    pub fn bomb(&mut self, now: u64) {
        self.bring_up_to(now);
        (1..40).for_each(|index| self.put(index, 100 + index as u32, USER));
        self.count();
    }

    fn culprits(&self) -> Vec<usize> {
        let used = self.table.header().high_water as usize;
        let is_users = |index: &usize| {
            let entry = self.table.get(*index).unwrap();
            entry.is_some_and(|entry| entry.user == USER)
        };
        (0..used.min(PROCESSES)).filter(is_users).collect()
    }

    pub fn users_processes(&self) -> usize {
        self.culprits().len()
    }

    fn count(&self) {
        let of_user = self.culprits().len() as u64;
        self.sensors.set(self.processes, of_user + 1);
        self.sensors.set(self.users, of_user);
    }

    /// Its memory goes, and the commands that run with it; what was obeyed is remembered.
    pub fn forget(&mut self, now: u64) -> Vec<Obeyed> {
        self.running.clear();
        let mut obeyed = std::mem::take(&mut self.obeyed);
        obeyed.iter_mut().for_each(|command| command.ended = command.ended.or(Some(now)));
        obeyed
    }

    /// Changes what is wrong with it.
    pub fn set_trouble(&mut self, now: u64, trouble: Option<Trouble>) {
        self.bring_up_to(now);
        self.trouble = trouble;
        let alive = trouble != Some(Trouble::AgentKilled);
        self.sensors.set(self.alive, u64::from(alive));
    }

    /// Lets the counters run until `now`.
    pub fn bring_up_to(&mut self, now: u64) {
        let passed = now.saturating_sub(self.brought_up_to);
        self.brought_up_to = self.brought_up_to.max(now);
        if !self.kernel_runs() || passed == 0 {
            return;
        }
        self.kernel_ran += passed;
        if self.trouble != Some(Trouble::CpuStuck) {
            self.other_cpu_ran += passed;
        }
        if self.agent_answers() {
            self.agent_ran += passed;
        }
        self.sensors.set(self.timer, self.kernel_ran / MILLISECOND);
        self.sensors.set_clock(self.kernel_ran);
        self.sensors.set(self.heartbeat, self.agent_ran / (100 * MILLISECOND));
        for (number, [ticks, switches, busy]) in self.cpus.into_iter().enumerate() {
            let ran = if number == 0 { self.kernel_ran } else { self.other_cpu_ran };
            let stuck = number == 1 && self.trouble == Some(Trouble::CpuStuck);
            let every = if self.loaded { [4, 12] } else { [900, 900] };
            self.sensors.set(ticks, ran / (every[0] * MILLISECOND));
            self.sensors.set(switches, ran / (every[1] * MILLISECOND));
            self.sensors.set(busy, u64::from(self.loaded || stuck));
        }
    }

    /// One tick of the kernel half. Returns when it has something to do again.
    pub fn tick(&mut self, now: u64) -> Option<u64> {
        self.bring_up_to(now);
        if !self.kernel_runs() {
            return (!self.running.is_empty()).then_some(now + 100 * MILLISECOND);
        }
        for slot in 0..COMMAND_SLOTS {
            if self.slots.sequence(slot) != self.looked_at[slot] {
                self.judge(now, slot);
            }
        }
        let due: Vec<usize> = self
            .running
            .iter()
            .filter(|(_, running)| running.next_sweep <= now)
            .map(|(&slot, _)| slot)
            .collect();
        due.into_iter().for_each(|slot| self.sweep(now, slot));
        self.running.values().map(|running| running.next_sweep).min()
    }

    fn judge(&mut self, now: u64, slot: usize) {
        let command = self.slots.get(slot).unwrap();
        let key = CommandKey::from_bytes(key_of(slot as u32));
        // Nobody here writes what is not his, and nothing is read half written.
        assert!(Seal { key, slot: slot as u32, generation: self.generation }.is_on(&command), "{command:?}");
        self.looked_at[slot] = command.sequence;
        let before = self.acknowledgements.get(slot).unwrap().unwrap();
        let mut answer = Acknowledgement {
            command: command.sequence,
            accepted: before.accepted,
            accepted_at: now,
            ..Acknowledgement::default()
        };
        let word = self.lease.word();
        let refusal = if command.sequence != before.accepted + 1 {
            Refusal::StaleSequence
        } else {
            answer.accepted = command.sequence;
            if !word.allows(slot, command.token) {
                self.not_the_holder += 1;
                Refusal::NotTheHolder
            } else if Opcode::from_number(command.opcode) != Some(Opcode::KillUser) {
                Refusal::UnknownOpcode
            } else {
                Refusal::None
            }
        };
        answer.reason = refusal as u32;
        if refusal == Refusal::None {
            answer.state = CommandState::Running as u32;
            self.obeyed.push(Obeyed {
                generation: self.generation,
                token: command.token,
                term: word.term(),
                begun: now,
                ended: None,
            });
            let obeyed = self.obeyed.len() - 1;
            if let Some(before) = self.running.insert(slot, Running { command, next_sweep: now, obeyed }) {
                self.obeyed[before.obeyed].ended = Some(now);
            }
        } else {
            answer.state = CommandState::Refused as u32;
        }
        self.acknowledgements.publish(slot, &answer);
    }

    fn sweep(&mut self, now: u64, slot: usize) {
        let Some(running) = self.running.get_mut(&slot) else { return };
        running.next_sweep = now + SWEEP_EVERY;
        let overtaken = !self.lease.word().allows(slot, running.command.token);
        let (command, obeyed) = (running.command, running.obeyed);
        let culprits = if overtaken { Vec::new() } else { self.culprits() };
        let dying = culprits.len().min(DEATHS_A_SWEEP);
        culprits[..dying].iter().for_each(|&index| self.table.clear(index));
        let remaining = culprits.len() - dying;
        let before = self.acknowledgements.get(slot).unwrap().unwrap();
        // A stale command may have been refused meanwhile, and said so.
        let mut answer = Acknowledgement {
            command: command.sequence,
            state: CommandState::Running as u32,
            reason: Refusal::None as u32,
            matched: before.matched.max(culprits.len() as u32),
            signalled: before.signalled + dying as u32,
            remaining: remaining as u32,
            sweeps: before.sweeps + 1,
            first_signal_at: if before.first_signal_at == 0 { now } else { before.first_signal_at },
            ..before
        };
        if overtaken || remaining == 0 {
            answer.state = if overtaken { CommandState::GaveUp } else { CommandState::Done } as u32;
            answer.reason = if overtaken { Refusal::NotTheHolder } else { Refusal::None } as u32;
            answer.finished_at = now;
            answer.last_death_at = if overtaken { 0 } else { now };
            self.running.remove(&slot);
            self.obeyed[obeyed].ended = Some(now);
        }
        self.acknowledgements.publish(slot, &answer);
        self.count();
    }
}
