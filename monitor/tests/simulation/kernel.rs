//! The simulated machine: its regions, and a kernel half that ticks.

use backdoors_sensor_box::layout::{
    Acknowledgement, COMMAND_SLOTS, Capabilities, CommandFlags, CommandSlot, ProcessEntry, RegionKind,
};
use backdoors_sensor_box::writer::{Acknowledgements, CommandSlots, ProcessTable, Sensor, SensorBox, Shape};
use backdoors_sensor_box::{
    CommandKey, CommandState, LeaseView, LeaseWords, LocalWords, Opcode, Refusal, Seal, SensorKind,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PROCESSES: usize = 1024;
const SLOT: usize = 3;

/// The regions of one generation, and the kernel half behind them.
pub struct Machine {
    generation: u64,
    regions: BTreeMap<u32, Arc<LocalWords>>,
    sensors: SensorBox<Arc<LocalWords>>,
    table: ProcessTable<Arc<LocalWords>>,
    slots: CommandSlots<Arc<LocalWords>>,
    acknowledgements: Acknowledgements<Arc<LocalWords>>,
    lease: LeaseWords<Arc<LocalWords>>,
    timer: Sensor,
    processes: Sensor,
    users: BTreeMap<u32, Sensor>,
    ticks: u64,
    looked_at: u64,
    forged: Option<CommandSlot>,
    running: Option<CommandSlot>,
    /// Commands that were obeyed, in order.
    pub obeyed: Vec<CommandSlot>,
    /// The kernel hangs: nothing ticks.
    pub hung: bool,
    /// The kernel half does not look at commands.
    pub deaf: bool,
    /// The key of this monitor, which the agent makes anew at each handshake.
    pub key: Arc<Mutex<[u8; 16]>>,
}

impl Machine {
    pub const SLOT: u32 = SLOT as u32;

    pub fn new(generation: u64) -> Machine {
        let memory = |bytes| Arc::new(LocalWords::zeroed(bytes));
        let regions = BTreeMap::from([
            (RegionKind::SENSORS, memory(8192)),
            (RegionKind::PROCESSES, memory(64 + 64 * PROCESSES)),
            (RegionKind::COMMAND, memory(64 * COMMAND_SLOTS)),
            (RegionKind::ACKNOWLEDGEMENTS, memory(128 * COMMAND_SLOTS)),
            (RegionKind::LEASE, memory(LeaseView::BYTES)),
        ]);
        let region = |kind| Arc::clone(&regions[&kind]);
        let shape = Shape {
            generation,
            capabilities: Capabilities::KERNEL_HALF | Capabilities::KERNEL_KILLS_ALL,
            cpus: 2,
            tick_period: 1_000_000,
        };
        let sensors = SensorBox::lay_out(region(RegionKind::SENSORS), &shape).unwrap();
        let timer = sensors.new_sensor(SensorKind::KERNEL_TIMER, 0, 500_000_000).unwrap();
        let processes = sensors.new_sensor(SensorKind::PROCESSES, 0, 4096).unwrap();
        let machine = Machine {
            generation,
            table: ProcessTable::lay_out(region(RegionKind::PROCESSES), generation).unwrap(),
            slots: CommandSlots::new(region(RegionKind::COMMAND)).unwrap(),
            acknowledgements: Acknowledgements::new(region(RegionKind::ACKNOWLEDGEMENTS)).unwrap(),
            lease: LeaseWords::new(region(RegionKind::LEASE)).unwrap(),
            regions,
            sensors,
            timer,
            processes,
            users: BTreeMap::new(),
            ticks: 0,
            looked_at: 0,
            forged: None,
            running: None,
            obeyed: Vec::new(),
            hung: false,
            deaf: false,
            key: Arc::default(),
        };
        machine.put(0, 1, 0, 0, 0, "init");
        machine
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Memory of a region, as the NIC knows it. Of the command slots only this monitor's.
    pub fn region(&self, kind: u32) -> (Arc<LocalWords>, usize, usize) {
        let words = Arc::clone(&self.regions[&kind]);
        let bytes = words.bytes().len();
        match kind {
            RegionKind::COMMAND => (words, SLOT * 64, 64),
            _ => (words, 0, bytes),
        }
    }

    pub fn kinds(&self) -> Vec<u32> {
        self.regions.keys().copied().collect()
    }

    /// What this monitor's commands must carry now.
    pub fn seal(&self) -> Seal {
        let key = CommandKey::from_bytes(*self.key.lock().unwrap());
        Seal { key, slot: Self::SLOT, generation: self.generation }
    }

    /// Bytes of this monitor's command slot.
    pub fn slot_bytes(&self) -> Vec<u8> {
        self.regions[&RegionKind::COMMAND].bytes()[SLOT * 64..(SLOT + 1) * 64].to_vec()
    }

    pub fn put(&self, index: usize, pid: u32, parent: u32, user: u32, depth: u32, name: &str) {
        let mut command = [0; 16];
        command[..name.len()].copy_from_slice(name.as_bytes());
        let start = u64::from(pid) * 1000;
        let entry = ProcessEntry {
            sequence: 0,
            pid,
            parent,
            user,
            depth,
            flags: 0,
            start,
            rss: 4096,
            cpu_time: 5_000_000,
            command,
        };
        assert!(self.table.put(index, &entry));
    }

    /// `count` processes of a user, from this index of the table on; the kernel counts them at once.
    pub fn crowd(&mut self, index: usize, user: u32, count: u32, limit: u64) {
        for number in 0..count {
            let pid = 100 + index as u32 + number;
            self.put(index + number as usize, pid, 1, user, 3, "sh");
        }
        if !self.users.contains_key(&user) {
            let sensor = self.sensors.new_sensor(SensorKind::USER_PROCESSES, user, limit).unwrap();
            self.users.insert(user, sensor);
        }
        self.count();
    }

    /// Processes of a user that are alive.
    pub fn alive(&self, user: u32) -> usize {
        self.entries().filter(|(_, entry)| entry.user == user).count()
    }

    fn entries(&self) -> impl Iterator<Item = (usize, ProcessEntry)> {
        let used = self.table.header().high_water as usize;
        (0..used.min(PROCESSES)).filter_map(|index| Some((index, self.table.get(index).unwrap()?)))
    }

    fn count(&self) {
        self.sensors.set(self.processes, self.entries().count() as u64);
        for (&user, &sensor) in &self.users {
            self.sensors.set(sensor, self.alive(user) as u64);
        }
    }

    /// Somebody else's command was accepted in this monitor's slot, up to this sequence.
    pub fn accept_up_to(&self, sequence: u64) {
        let acknowledgement = Acknowledgement {
            command: sequence,
            accepted: sequence,
            state: CommandState::Done as u32,
            ..self.acknowledgements.get(SLOT).unwrap().unwrap()
        };
        self.acknowledgements.publish(SLOT, &acknowledgement);
    }

    /// One millisecond of the kernel half.
    pub fn tick(&mut self, now: Duration) {
        if self.hung {
            return;
        }
        self.ticks += 1;
        self.sensors.set(self.timer, self.ticks);
        let now = now.as_nanos() as u64;
        self.sensors.set_clock(now);
        if let Some(command) = self.running.take() {
            self.sweep(now, &command);
        }
        if !self.deaf && self.slots.sequence(SLOT) != self.looked_at {
            self.judge(now);
        }
        self.count();
    }

    fn judge(&mut self, now: u64) {
        let command = self.slots.get(SLOT).unwrap();
        let authentic = self.seal().is_on(&command);
        if authentic {
            self.looked_at = command.sequence;
        } else if self.forged == Some(command) {
            return;
        }
        self.forged = (!authentic).then_some(command);
        let before = self.acknowledgements.get(SLOT).unwrap().unwrap();
        let mut answer = Acknowledgement {
            command: command.sequence,
            accepted: before.accepted,
            accepted_at: now,
            ..Acknowledgement::default()
        };
        let refusal = if !authentic {
            Refusal::NotAuthentic
        } else if command.sequence != before.accepted + 1 {
            Refusal::StaleSequence
        } else {
            answer.accepted = command.sequence;
            match Opcode::from_number(command.opcode) {
                _ if !self.lease.word().allows(SLOT, command.token) => Refusal::NotTheHolder,
                None => Refusal::UnknownOpcode,
                Some(Opcode::KillProcess | Opcode::KillTree) if command.subject == 1 => Refusal::InitProcess,
                Some(Opcode::KillUser) if command.subject == 0 => Refusal::SparedUser,
                Some(_) => Refusal::None,
            }
        };
        answer.reason = refusal as u32;
        if refusal == Refusal::None {
            answer.state = CommandState::Running as u32;
            self.obeyed.push(command);
            self.running = Some(command);
        } else {
            answer.state = CommandState::Refused as u32;
        }
        self.acknowledgements.publish(SLOT, &answer);
    }

    fn sweep(&mut self, now: u64, command: &CommandSlot) {
        let culprits: Vec<usize> = self
            .entries()
            .filter(|(_, entry)| match Opcode::from_number(command.opcode) {
                Some(Opcode::KillUser) => u64::from(entry.user) == command.subject,
                Some(Opcode::KillProcess) => {
                    u64::from(entry.pid) == command.subject && entry.start == command.start
                }
                _ => false,
            })
            .map(|(index, _)| index)
            .collect();
        let dry_run = command.flags & CommandFlags::DRY_RUN != 0;
        if !dry_run {
            culprits.iter().for_each(|&index| self.table.clear(index));
        }
        let count = culprits.len() as u32;
        let died = if dry_run || count == 0 { 0 } else { now };
        let answer = Acknowledgement {
            state: CommandState::Done as u32,
            matched: count,
            signalled: if dry_run { 0 } else { count },
            sweeps: 1,
            first_signal_at: died,
            last_death_at: died,
            finished_at: now,
            ..self.acknowledgements.get(SLOT).unwrap().unwrap()
        };
        self.acknowledgements.publish(SLOT, &answer);
    }
}
