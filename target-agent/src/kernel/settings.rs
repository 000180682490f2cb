//! What user half and kernel half share besides the sensor box; `bpf/settings.h` says the same.

use backdoors_sensor_box::fence::layout::MAX_FENCED;
use backdoors_sensor_box::layout::RegionKind;
use std::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// User ids that can be spared, root not counted.
pub const MAX_SPARED: usize = 64;
/// Processes that can be protected.
pub const MAX_PROTECTED: usize = 16;
/// Services whose sessions can be captured.
pub const MAX_SERVICES: usize = RegionKind::BOXES as usize;
/// Ports that they can have in all.
pub const MAX_SERVICE_PORTS: usize = 16;
/// Users that have sensors at once.
pub const USER_PAIRS: u32 = 128;

/// Fixed before the kernel half is loaded.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Settings {
    /// 1: only processes of the loader's pid namespace are seen and reached.
    pub scoped: u32,
    /// 1: the kernel can walk and signal all tasks.
    pub kills_all: u32,
    /// Entries of the process table.
    pub capacity: u32,
    /// CPUs that have sensors.
    pub cpus: u32,
    /// Record of the first CPU's first sensor.
    pub first_cpu: u32,
    /// Record of the first user pair's first sensor.
    pub first_user: u32,
    /// Record of `kernel.timer`.
    pub kernel_timer: u32,
    /// Record of `processes`.
    pub processes: u32,
    /// Record of `processes.lost`.
    pub processes_lost: u32,
    /// Record of `users.lost`.
    pub users_lost: u32,
    /// Record of `oom.kills`.
    pub oom_kills: u32,
    /// Record of `forks`.
    pub forks: u32,
    /// Record of `agent.alive`.
    pub agent_alive: u32,
    /// Record of `memory.available`; those of `memory.total`, `swap.free`, `swap.total` and `memory.stalled` follow.
    pub memory_available: u32,
    /// 1: the kernel shows how much memory there is.
    pub sees_memory: u32,
    /// 1: and how much work stands still for want of it.
    pub sees_stalls: u32,
    /// Bytes of a page.
    pub page_bytes: u32,
    /// 1: the kernel lets forks be refused.
    pub refuses_forks: u32,
    /// Record of `forks.refused`.
    pub forks_refused: u32,
    /// Record of `sessions.open`.
    pub sessions_open: u32,
    /// Record of `sessions.unprotected`.
    pub sessions_unprotected: u32,
    /// Bytes that a session's ring holds.
    pub ring_bytes: u32,
    /// The largest receive buffer that a captured connection is given, bytes.
    pub receive_cap: u32,
    /// Record of `fence.held`.
    pub fence_held: u32,
    /// Record of `fence.withheld`.
    pub fence_withheld: u32,
    /// Entries of `fenced` in use.
    pub fenced_addresses: u32,
    /// Zero.
    pub reserved: u32,
    /// Entries of `service_port` in use.
    pub service_ports: u32,
    /// Ports whose sessions are captured: service << 16 | port.
    pub service_port: [u32; MAX_SERVICE_PORTS],
    /// How many sessions of each service are captured at once.
    pub most_sessions: [u32; MAX_SERVICES],
    /// Limit of new `user.processes` sensors.
    pub user_processes_limit: u64,
    /// Limit of new `user.fork_rate` sensors.
    pub user_fork_rate_limit: u64,
    /// Period of the timer, nanoseconds.
    pub tick: u64,
    /// How long a command goes on that cannot finish, nanoseconds.
    pub give_up: u64,
    /// Addresses that a fence covers.
    pub fenced: [[u8; 16]; MAX_FENCED],
}

/// A process, named for good.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ProcessName {
    /// Process id in the scope; 0: none.
    pub pid: u32,
    /// Zero.
    pub reserved: u32,
    /// Start time on the monotonic clock, nanoseconds; 0: not known, any process with that id is meant.
    pub start: u64,
}

/// Changes while the kernel half runs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Control {
    /// Which build with which settings made the maps; written last.
    pub fingerprint: u64,
    /// Nesting level of the scope's pid namespace; 0: the whole machine.
    pub scope_level: u32,
    /// Inode number of the scope's pid namespace.
    pub scope_namespace: u32,
    /// A bit per command slot whose command is being carried out.
    pub hunting: u32,
    /// Entries of `spared` in use.
    pub spared_count: u32,
    /// Users whose processes no command reaches.
    pub spared: [u32; MAX_SPARED],
    /// Processes no command reaches.
    pub protected: [ProcessName; MAX_PROTECTED],
    /// Rounds of the helper.
    pub helper_beat: u64,
    /// Process id of the helper.
    pub helper_pid: u64,
    /// The process whose end `agent.alive` tells.
    pub agent: ProcessName,
    /// Which commands several monitors must want.
    pub agreement: AgreementWords,
    /// A bit per command slot whose command the user half is to carry out.
    pub errands: u64,
    /// No fork is refused from then on, nanoseconds of the monotonic clock.
    pub refusing_until: u64,
}

/// A command that the user half is to carry out.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ErrandWords {
    /// Sequence of the command << 16 | refusal << 8 | how far it is.
    pub stage: u64,
    /// The opcode.
    pub opcode: u64,
    /// Whom or what it is about.
    pub subject: u64,
    /// Start of the process, or generation of the application.
    pub start: u64,
    /// The opcode's argument.
    pub argument: u64,
    /// What the system or the application said that refused it.
    pub failure: u64,
    /// Zero.
    pub reserved: [u64; 2],
}

/// Which commands several monitors must want, and how many.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AgreementWords {
    /// A bit per opcode.
    pub commands: u64,
    /// Longest time between the first that wants it and the last, nanoseconds.
    pub window: u64,
    /// 1: nobody else need want it.
    pub needed: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = {
    assert!(size_of::<Settings>() == 528);
    assert!(size_of::<ProcessName>() == 16);
    assert!(size_of::<Control>() == 608);
    assert!(size_of::<ErrandWords>() == 64);
    assert!(offset_of!(Control, errands) == 592);
    assert!(offset_of!(Control, protected) == 280);
    assert!(offset_of!(Control, helper_beat) == 536);
    assert!(offset_of!(Control, agent) == 552);
    assert!(offset_of!(Control, agreement) == 568);
};
