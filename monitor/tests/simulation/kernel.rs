//! The simulated machine: its regions, and a kernel half that ticks.

use backdoors_sensor_box::application::{ApplicationRegion, Attachment, Request, SensorSpec, region_bytes};
use backdoors_sensor_box::audit::layout::audit_bytes;
use backdoors_sensor_box::layout::{
    Acknowledgement, COMMAND_SLOTS, Capabilities, CommandFlags, CommandSlot, ProcessEntry, RegionKind,
    process_table_bytes,
};
use backdoors_sensor_box::variables::{VARIABLES_BYTES, Variable, Variables};
use backdoors_sensor_box::writer::{
    Acknowledgements, AuditRing, CommandSlots, ProcessTable, Sensor, SensorBox, Shape,
};
use backdoors_sensor_box::{
    CommandKey, CommandState, LeaseView, LeaseWords, LocalWords, Opcode, Refusal, Seal, SensorKind, Signal,
    Subject,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use zerocopy::{FromBytes, FromZeros};

const PROCESSES: usize = 1024;
const SLOT: usize = 3;

/// How long victims may take to die before a command is given up, nanoseconds.
const GIVE_UP: u64 = 50_000_000;
const SLOT_BYTES: usize = size_of::<CommandSlot>();

/// A command that is being obeyed.
struct Running {
    command: CommandSlot,
    struck: BTreeSet<u32>,
}

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
    applications: Vec<ApplicationRegion<Arc<LocalWords>>>,
    ticks: u64,
    looked_at: u64,
    forged: Option<CommandSlot>,
    running: Option<Running>,
    /// Processes that no signal kills.
    pub immortal: BTreeSet<u32>,
    /// Processes that SIGTERM does not end.
    pub stubborn: BTreeSet<u32>,
    /// What commands that touch no process fail with.
    pub failure: Option<u64>,
    /// Opcodes that the target refuses this monitor.
    pub forbidden: BTreeSet<u32>,
    /// Processes and users that no command is obeyed for.
    pub refused: BTreeSet<u64>,
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
            (RegionKind::PROCESSES, memory(process_table_bytes(PROCESSES))),
            (RegionKind::COMMAND, memory(SLOT_BYTES * COMMAND_SLOTS)),
            (RegionKind::ACKNOWLEDGEMENTS, memory(128 * COMMAND_SLOTS)),
            (RegionKind::LEASE, memory(LeaseView::BYTES)),
            (RegionKind::VARIABLES, memory(VARIABLES_BYTES)),
        ]);
        let region = |kind| Arc::clone(&regions[&kind]);
        let (name, path) = ("level".to_owned(), "/run/level".to_owned());
        let offered = Variable { name, path, least: 1, most: 9, value: Some(3) };
        Variables::new(region(RegionKind::VARIABLES)).unwrap().offer(&[offered]);
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
            applications: Vec::new(),
            ticks: 0,
            looked_at: 0,
            forged: None,
            running: None,
            immortal: BTreeSet::new(),
            stubborn: BTreeSet::new(),
            failure: None,
            forbidden: BTreeSet::new(),
            refused: BTreeSet::new(),
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
            RegionKind::COMMAND => (words, SLOT * SLOT_BYTES, SLOT_BYTES),
            _ => (words, 0, bytes),
        }
    }

    pub fn kinds(&self) -> Vec<u32> {
        self.regions.keys().copied().collect()
    }

    /// Shows an audit ring from when the path serves this machine again; nothing is entered in it.
    pub fn keep_record(&mut self) {
        let words = Arc::new(LocalWords::zeroed(audit_bytes(4)));
        AuditRing::lay_out(Arc::clone(&words), self.generation).unwrap();
        self.regions.insert(RegionKind::AUDIT, words);
    }

    /// What this monitor's commands must carry now.
    pub fn seal(&self) -> Seal {
        let key = CommandKey::from_bytes(*self.key.lock().unwrap());
        Seal { key, slot: Self::SLOT, generation: self.generation }
    }

    /// Whether nothing was ever written to this monitor's command slot.
    pub fn slot_is_blank(&self) -> bool {
        self.slot() == CommandSlot::new_zeroed()
    }

    /// What is in this monitor's command slot.
    pub fn slot(&self) -> CommandSlot {
        let bytes = self.regions[&RegionKind::COMMAND].bytes();
        CommandSlot::read_from_bytes(&bytes[SLOT * SLOT_BYTES..(SLOT + 1) * SLOT_BYTES]).unwrap()
    }

    /// An application with a progress sensor `orders`, which must move every 200 ms, attaches as this process. Its region is
    /// served when the path serves this machine again. Returns its number.
    pub fn attach(&mut self, name: &str, pid: u32, now: Duration) -> usize {
        let number = self.applications.len();
        let orders = [SensorSpec::progress("orders", Duration::from_millis(200))];
        let words = Arc::new(LocalWords::zeroed(region_bytes(orders.len(), 0)));
        let attachment = Attachment { generation: self.generation, pid, at: now.as_nanos() as u64 };
        let asked = Request { name, sensors: orders.to_vec(), values: vec![1], ..Request::default() };
        let region = ApplicationRegion::lay_out(Arc::clone(&words), &asked, &attachment).unwrap();
        self.regions.insert(RegionKind::APPLICATION_FIRST + number as u32, words);
        self.applications.push(region);
        number
    }

    /// An application gets on.
    pub fn progress(&self, application: usize, value: u64) {
        self.applications[application].set(0, value);
    }

    /// What a process used of the processors so far.
    pub fn use_processor(&self, index: usize, cpu_time: Duration) {
        let entry = self.table.get(index).unwrap().unwrap();
        assert!(self.table.put(index, &ProcessEntry { cpu_time: cpu_time.as_nanos() as u64, ..entry }));
    }

    pub fn put(&self, index: usize, pid: u32, parent: u32, user: u32, depth: u32, name: &str) {
        self.put_entry(index, pid, parent, user, depth, name, u64::from(pid) * 1000);
    }

    /// Puts the process with this index of the table into a control group.
    pub fn move_to(&self, index: usize, cgroup: u64, name: &str) {
        let mut cgroup_name = ProcessEntry::default().cgroup_name;
        cgroup_name[..name.len()].copy_from_slice(name.as_bytes());
        let entry = self.table.get(index).unwrap().unwrap();
        assert!(self.table.put(index, &ProcessEntry { cgroup, cgroup_name, ..entry }));
    }

    /// A process that started at this time, a child of the first.
    pub fn put_started(&self, index: usize, pid: u32, user: u32, start: u64) {
        self.put_entry(index, pid, 1, user, 3, "sh", start);
    }

    /// The process with this index of the table ends.
    pub fn bury(&self, index: usize) {
        self.table.clear(index);
    }

    #[allow(clippy::too_many_arguments, reason = "they are the fields of an entry")]
    fn put_entry(&self, index: usize, pid: u32, parent: u32, user: u32, depth: u32, name: &str, start: u64) {
        let mut command = [0; 16];
        command[..name.len()].copy_from_slice(name.as_bytes());
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
            ..ProcessEntry::default()
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
        if let Some(running) = self.running.take() {
            self.sweep(now, running);
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
                Some(_) if self.forbidden.contains(&command.opcode) => Refusal::NotAllowed,
                Some(opcode) if opcode.subject() == Subject::Process && !self.is_there(command.subject) => {
                    Refusal::NoSuchProcess
                }
                Some(opcode) if opcode.subject() == Subject::Tree && !self.is_there(command.subject) => {
                    Refusal::NoSuchProcess
                }
                Some(opcode) if !opcode.sweeps() && self.failure.is_some() => Refusal::Failed,
                Some(_) if self.refused.contains(&command.subject) => Refusal::Protected,
                Some(Opcode::KillProcess | Opcode::KillTree) if command.subject == 1 => Refusal::InitProcess,
                Some(Opcode::KillUser) if command.subject == 0 => Refusal::SparedUser,
                Some(_) => Refusal::None,
            }
        };
        answer.reason = refusal as u32;
        if refusal == Refusal::None {
            answer.state = CommandState::Running as u32;
            self.obeyed.push(command);
            self.running = Some(Running { command, struck: BTreeSet::new() });
        } else {
            answer.state = CommandState::Refused as u32;
            answer.failure = self.failure.filter(|_| refusal == Refusal::Failed).unwrap_or(0);
        }
        self.acknowledgements.publish(SLOT, &answer);
    }

    fn is_there(&self, pid: u64) -> bool {
        self.entries().any(|(_, entry)| u64::from(entry.pid) == pid)
    }

    /// A process ends, and its children are the first's.
    fn end(&self, index: usize, pid: u32) {
        self.table.clear(index);
        for (index, entry) in self.entries().filter(|(_, entry)| entry.parent == pid).collect::<Vec<_>>() {
            assert!(self.table.put(index, &ProcessEntry { parent: 1, ..entry }));
        }
    }

    fn sweep(&mut self, now: u64, mut running: Running) {
        let command = running.command;
        let meant: Vec<(usize, ProcessEntry)> =
            self.entries().filter(|(_, entry)| self.means(&command, entry)).collect();
        let dry_run = command.flags & CommandFlags::DRY_RUN != 0;
        let opcode = Opcode::from_number(command.opcode).unwrap();
        let ends_stubborn = opcode.kills();
        let ends = opcode.kills() || opcode.signals() && command.argument == Signal::Term as u64;
        let before = self.acknowledgements.get(SLOT).unwrap().unwrap();
        let matched = before.matched.max(meant.len() as u32);
        let mut died = false;
        for (index, entry) in meant.iter().filter(|_| !dry_run && opcode.sweeps()) {
            let bound = command.most_victims;
            if bound != 0 && running.struck.len() as u64 >= bound && !running.struck.contains(&entry.pid) {
                continue;
            }
            running.struck.insert(entry.pid);
            let survives =
                self.immortal.contains(&entry.pid) || !ends_stubborn && self.stubborn.contains(&entry.pid);
            if ends && !survives {
                self.end(*index, entry.pid);
                died = true;
            }
        }
        let remaining = self.entries().filter(|(_, entry)| self.means(&command, entry)).count() as u32;
        let state = match remaining {
            _ if dry_run || !opcode.kills() => CommandState::Done,
            0 => CommandState::Done,
            _ if now - before.accepted_at >= GIVE_UP => CommandState::GaveUp,
            _ => CommandState::Running,
        };
        let answer = Acknowledgement {
            state: state as u32,
            matched,
            signalled: running.struck.len() as u32,
            remaining: if dry_run { 0 } else { remaining },
            sweeps: before.sweeps + 1,
            first_signal_at: if died && before.first_signal_at == 0 { now } else { before.first_signal_at },
            last_death_at: if died { now } else { before.last_death_at },
            finished_at: if state == CommandState::Running { 0 } else { now },
            ..before
        };
        self.acknowledgements.publish(SLOT, &answer);
        if state == CommandState::Running {
            self.running = Some(running);
        }
    }

    /// Trees are not deeper here than a parent and its children.
    fn means(&self, command: &CommandSlot, entry: &ProcessEntry) -> bool {
        let is_it = |pid: u32| u64::from(pid) == command.subject;
        match Opcode::from_number(command.opcode).map(Opcode::subject) {
            Some(Subject::User) => is_it(entry.user),
            Some(Subject::Process) => is_it(entry.pid) && entry.start == command.start,
            Some(Subject::Tree) => is_it(entry.pid) || is_it(entry.parent),
            Some(Subject::Cgroup) => entry.cgroup == command.subject,
            _ => false,
        }
    }
}
