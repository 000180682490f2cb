//! Every sensor there is, in one table: name, class, unit, default limit.

use crate::layout::NO_LIMIT;

/// What makes a sensor's value exceptional (thesis, table 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// Must change within `limit` nanoseconds.
    Progress = 1,
    /// Must stay at or below `limit`.
    Level = 2,
    /// Must stay at or above `limit`.
    Floor = 3,
    /// Counts bad events; at most `limit` new ones may come before an event is raised.
    Pressure = 4,
}

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Unit {
    /// Things or events.
    Count = 1,
    /// Events per second.
    PerSecond = 2,
    /// Bytes.
    Bytes = 3,
    /// Nanoseconds.
    Nanoseconds = 4,
}

/// What the instance half of a sensor's id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Instance {
    /// There is one such sensor; instance 0.
    Machine,
    /// One per CPU; the instance is its number.
    Cpu,
    /// One per user with processes; the instance is the user id.
    User,
}

/// The kind of a sensor: the low half of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SensorKind(pub u32);

/// One line of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SensorDescription {
    /// The kind.
    pub kind: SensorKind,
    /// Name for screens, configuration and journals.
    pub name: &'static str,
    /// Name in the C header, without prefix.
    pub c_name: &'static str,
    /// Class.
    pub class: Class,
    /// Unit of value and limit (a progress sensor's limit is always in nanoseconds).
    pub unit: Unit,
    /// Limit unless the target's configuration says otherwise.
    pub limit: u64,
    /// What the instance names.
    pub instance: Instance,
    /// What it says.
    pub meaning: &'static str,
}

macro_rules! catalogue {
    ($($number:literal $constant:ident $name:literal $class:ident $unit:ident $limit:expr, $instance:ident, $meaning:literal;)*) => {
        impl SensorKind {
            $(#[doc = $meaning] pub const $constant: SensorKind = SensorKind($number);)*
        }
        /// The catalogue.
        pub const CATALOGUE: &[SensorDescription] = &[
            $(SensorDescription {
                kind: SensorKind($number), name: $name, c_name: stringify!($constant), class: Class::$class,
                unit: Unit::$unit, limit: $limit, instance: Instance::$instance, meaning: $meaning,
            },)*
        ];
    };
}

const MILLISECOND: u64 = 1_000_000;

catalogue! {
    1 CPU_SWITCHES "cpu.switches" Progress Count NO_LIMIT, Cpu, "Context switches on a CPU; an idle CPU may make none for long.";
    2 CPU_TICKS "cpu.ticks" Progress Count NO_LIMIT, Cpu, "Timer interrupts on a CPU; the kernel stops them while the CPU idles.";
    3 CPU_INTERRUPTS "cpu.interrupts" Progress Count NO_LIMIT, Cpu, "Device interrupts handled on a CPU.";
    4 CPU_SOFTIRQS "cpu.softirqs" Progress Count NO_LIMIT, Cpu, "Soft interrupts handled on a CPU.";
    5 KERNEL_TIMER "kernel.timer" Progress Count 500 * MILLISECOND, Machine, "Ticks of the kernel half's 1 ms timer, or rounds of the user half's sampling.";
    6 AGENT_HEARTBEAT "agent.heartbeat" Progress Count 2_000 * MILLISECOND, Machine, "Beats of the agent's user half, ten a second.";
    7 PROCESSES "processes" Level Count 4096, Machine, "Processes in all, kernel threads not counted.";
    8 PROCESSES_LOST "processes.lost" Level Count 0, Machine, "Live processes that found no room in the process table.";
    9 USER_PROCESSES "user.processes" Level Count 1024, User, "Processes of a user.";
    10 USER_FORK_RATE "user.fork_rate" Level PerSecond 1000, User, "Processes a user starts, per second.";
    11 USERS_LOST "users.lost" Level Count 0, Machine, "Forks by users that found no room among the sensors.";
    12 OOM_KILLS "oom.kills" Pressure Count 0, Machine, "Processes killed because memory ran out.";
    13 FORKS "forks" Progress Count NO_LIMIT, Machine, "Processes started, ever.";
    14 CPU_BUSY "cpu.busy" Level Count NO_LIMIT, Cpu, "1 while a CPU runs something, 0 while it idles.";
    15 AGENT_ALIVE "agent.alive" Floor Count 1, Machine, "1 while the process of the agent's user half exists, 0 after its end.";
    16 MEMORY_AVAILABLE "memory.available" Floor Bytes 0, Machine, "Memory that programs can have without swapping.";
    17 MEMORY_TOTAL "memory.total" Level Bytes NO_LIMIT, Machine, "Memory of the machine.";
    18 SWAP_FREE "swap.free" Floor Bytes 0, Machine, "Free swap space.";
    19 SWAP_TOTAL "swap.total" Level Bytes NO_LIMIT, Machine, "Swap space in all.";
    20 MEMORY_STALLED "memory.stalled" Level Nanoseconds 200 * MILLISECOND, Machine, "How much of the last second all work stood still for want of memory.";
    21 FORKS_REFUSED "forks.refused" Pressure Count NO_LIMIT, Machine, "Forks that failed because a monitor had a user's forks refused.";
    22 SESSIONS_OPEN "sessions.open" Level Count NO_LIMIT, Machine, "Connections to services whose live sessions are captured.";
    23 SESSIONS_UNPROTECTED "sessions.unprotected" Level Count 0, Machine, "Open connections to these services that found no free record, or of which received bytes were missed.";
    24 FENCE_HELD "fence.held" Level Count NO_LIMIT, Machine, "1 while a fence holds: the machine sends nothing from its service addresses.";
    25 FENCE_WITHHELD "fence.withheld" Pressure Count NO_LIMIT, Machine, "Packets that a fence withheld.";
}

impl SensorKind {
    /// The catalogue's line for this kind, if this version knows it.
    #[must_use]
    pub fn description(self) -> Option<&'static SensorDescription> {
        CATALOGUE.iter().find(|line| line.kind == self)
    }

    /// The kind with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<SensorKind> {
        CATALOGUE.iter().find(|line| line.name == name).map(|line| line.kind)
    }
}
