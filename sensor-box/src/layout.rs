//! The bytes both sides agree on. Little endian, fixed width, every word that must be seen whole eight bytes
//! and aligned. `include/backdoors_sensor_box.h` says the same to the kernel half; a test compares the two.
//!
//! Eleven regions make up what a target shows of itself, besides those of its applications and of its services'
//! sessions:
//!
//! | region | shape | who writes | who may write remotely |
//! | --- | --- | --- | --- |
//! | [`RegionKind::SENSORS`] | [`BoxHeader`], then [`SensorRecord`]s | kernel half, user half | nobody |
//! | [`RegionKind::PROCESSES`] | [`ProcessTableHeader`], then [`ProcessEntry`]s | kernel half | nobody |
//! | [`RegionKind::COMMAND`] | one [`CommandSlot`] | its monitor | that monitor alone |
//! | [`RegionKind::ACKNOWLEDGEMENTS`] | one [`Acknowledgement`] per slot | kernel half or helper | nobody |
//! | [`RegionKind::LEASE`] | one [`LeaseTable`] | monitors | every monitor |
//! | [`RegionKind::VARIABLES`] | [`crate::variables`] | user half | nobody |
//! | [`RegionKind::AUDIT`] | [`AuditHeader`](crate::audit::layout::AuditHeader), then records | kernel half or user half | nobody |
//! | [`RegionKind::SESSIONS`] | [`crate::session::layout`] | kernel half | nobody |
//! | [`RegionKind::RECEIVED`] | [`crate::session::layout`] | kernel half | nobody |
//! | [`RegionKind::FENCE`] | [`crate::fence::layout`] | kernel half, user half | nobody |
//! | [`RegionKind::FENCE_WORD`] | one word of the fence | its monitor | that monitor alone |

use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Version of every layout in this file. A reader refuses a box of another version.
pub const VERSION: u32 = 1;
/// First word of the sensor box.
pub const BOX_MAGIC: u64 = u64::from_le_bytes(*b"BDSENSOR");
/// First word of the process table.
pub const PROCESS_MAGIC: u64 = u64::from_le_bytes(*b"BDPROCES");
/// A sensor with this limit never raises an event: it is evidence only.
pub const NO_LIMIT: u64 = u64::MAX;
/// Monitors a target can serve at once, hence command slots and acknowledgements.
pub const COMMAND_SLOTS: usize = 16;
/// Most sensors a box may announce; a reader refuses more.
pub const MAX_SENSORS: usize = 4096;
/// Most processes a table may announce; a reader refuses more.
pub const MAX_PROCESSES: usize = 65536;
/// Longest reason of a command, in bytes.
pub const REASON_BYTES: usize = 184;

/// What a region of the directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegionKind;

impl RegionKind {
    /// The sensor box.
    pub const SENSORS: u32 = 1;
    /// The process table.
    pub const PROCESSES: u32 = 2;
    /// The command slot of the monitor that reads the directory.
    pub const COMMAND: u32 = 3;
    /// The acknowledgements of all slots, indexed by slot.
    pub const ACKNOWLEDGEMENTS: u32 = 4;
    /// Which monitor may act, and which would: the same memory for all of them.
    pub const LEASE: u32 = 5;
    /// The variables that the target's owner offers, as [`crate::variables`] has them.
    pub const VARIABLES: u32 = 7;
    /// What the target was asked to do, and what became of it: [`crate::audit`].
    pub const AUDIT: u32 = 6;
    /// The live connections of the target's services: [`crate::session`]. Only where they are captured.
    pub const SESSIONS: u32 = 8;
    /// What these connections received: a ring each.
    pub const RECEIVED: u32 = 9;
    /// The fence with the words of all monitors: [`crate::fence`]. Only where service addresses can be fenced.
    pub const FENCE: u32 = 10;
    /// The word of the fence that the monitor may write that reads the directory.
    pub const FENCE_WORD: u32 = 11;
    /// The first application's region; those of the others follow.
    pub const APPLICATION_FIRST: u32 = 0x100;
    /// Applications a target has regions for: kinds [`RegionKind::APPLICATION_FIRST`] and up.
    pub const APPLICATIONS: u32 = 64;
    /// The boxes of the first service's sessions; those of the others follow, in the order of the target's configuration.
    pub const BOXES_FIRST: u32 = 0x200;
    /// Services a target has at most: kinds [`RegionKind::BOXES_FIRST`] and up.
    pub const BOXES: u32 = 16;
}

/// Bits of [`BoxHeader::capabilities`]: who fills the box, and who can kill what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capabilities;

impl Capabilities {
    /// The kernel half fills the box; it needs nothing of user space.
    pub const KERNEL_HALF: u64 = 1 << 0;
    /// The user half fills the box from procfs; a frozen agent means a frozen box.
    pub const PROCFS: u64 = 1 << 1;
    /// The kernel half kills any process by itself.
    pub const KERNEL_KILLS_ALL: u64 = 1 << 2;
    /// The kernel half kills processes as they run; sleeping ones need the helper.
    pub const KERNEL_KILLS_RUNNING: u64 = 1 << 3;
    /// A real-time helper of the user half kills processes.
    pub const HELPER_KILLS: u64 = 1 << 4;
    /// The box covers one pid namespace, not the whole machine.
    pub const SCOPED: u64 = 1 << 5;
    /// Some commands are obeyed only if several monitors want them.
    pub const AGREEMENT: u64 = 1 << 6;
    /// The kernel half fills the sensors of memory; without it the user half does, and a frozen agent means frozen ones.
    pub const KERNEL_SEES_MEMORY: u64 = 1 << 7;
    /// The kernel half can have a user's forks fail.
    pub const KERNEL_REFUSES_FORKS: u64 = 1 << 8;
    /// The user half carries out what the kernel half has no way to: control groups, priorities, variables, applications'
    /// hooks.
    pub const ERRANDS: u64 = 1 << 9;
    /// The kernel half captures live connections.
    pub const CAPTURES_SESSIONS: u64 = 1 << 10;
    /// The kernel half can make the target silent on its service addresses.
    pub const FENCES: u64 = 1 << 11;

    /// Every bit this version knows, with the name screens show.
    pub const NAMES: [(u64, &'static str); 12] = [
        (Self::KERNEL_HALF, "kernel-half"),
        (Self::PROCFS, "procfs"),
        (Self::KERNEL_KILLS_ALL, "kernel-kills-all"),
        (Self::KERNEL_KILLS_RUNNING, "kernel-kills-running"),
        (Self::HELPER_KILLS, "helper-kills"),
        (Self::SCOPED, "scoped"),
        (Self::AGREEMENT, "agreement"),
        (Self::KERNEL_SEES_MEMORY, "kernel-sees-memory"),
        (Self::KERNEL_REFUSES_FORKS, "kernel-refuses-forks"),
        (Self::ERRANDS, "errands"),
        (Self::CAPTURES_SESSIONS, "captures-sessions"),
        (Self::FENCES, "fences"),
    ];
}

/// Head of the sensor box.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BoxHeader {
    /// [`BOX_MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// Size of this header in bytes; records start there. A newer target may have a longer one.
    pub header_bytes: u32,
    /// Changes whenever the regions of this target are made anew.
    pub generation: u64,
    /// Bits of [`Capabilities`].
    pub capabilities: u64,
    /// Odd while the user half lays the box out anew; then nothing in it holds.
    pub sequence: u64,
    /// Records that may be in use; those with id 0 among them are not.
    pub sensor_count: u32,
    /// Records there is room for.
    pub sensor_capacity: u32,
    /// Size of a record in bytes. A newer target may have longer ones.
    pub sensor_bytes: u32,
    /// CPUs of the target.
    pub cpus: u32,
    /// The target's monotonic clock at its last timer tick, in nanoseconds.
    pub clock: u64,
    /// Period of the kernel half's timer, or of the user half's sampling, in nanoseconds.
    pub tick_period: u64,
    /// Zero.
    pub reserved: [u64; 7],
}

/// One sensor: `(id, class, limit, value)` (thesis, section 3.4.1).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SensorRecord {
    /// Low half: the kind, an index into the catalogue; high half: the instance (CPU, user). 0: not in use.
    /// Written last when a sensor is made, and zeroed a second before the record serves another sensor.
    pub id: u64,
    /// Class, as [`crate::Class`] numbers them.
    pub class: u8,
    /// Unit, as [`crate::Unit`] numbers them.
    pub unit: u8,
    /// Zero.
    pub flags: u16,
    /// Zero.
    pub reserved: u32,
    /// Limit in the sensor's unit; for progress sensors a deadline in nanoseconds.
    pub limit: u64,
    /// The value.
    pub value: u64,
}

/// Head of the process table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ProcessTableHeader {
    /// [`PROCESS_MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// Size of this header in bytes; entries start there.
    pub header_bytes: u32,
    /// As in the sensor box.
    pub generation: u64,
    /// Entries there is room for.
    pub capacity: u32,
    /// Entries that were ever in use: no entry at or above this index is.
    pub high_water: u32,
    /// Size of an entry in bytes.
    pub entry_bytes: u32,
    /// Zero.
    pub reserved_word: u32,
    /// Processes that found no free entry, ever.
    pub lost: u64,
    /// Zero. As long as an entry, so that one array holds both.
    pub reserved: [u64; 10],
}

/// One process (thread group). Identity fields change only while `sequence` is odd; `rss`, `cpu_time` and `swap` are
/// single words that change at any time.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ProcessEntry {
    /// Odd while being written.
    pub sequence: u32,
    /// Process id in the scope of the box; 0: entry is free.
    pub pid: u32,
    /// Process id of the parent, 0 if it lies outside the scope.
    pub parent: u32,
    /// Real user id.
    pub user: u32,
    /// Depth below the first process in scope; the child of a process at depth n has depth n + 1, and keeps
    /// it when its parent dies (thesis, section 3.7.2).
    pub depth: u32,
    /// Bits of [`ProcessFlags`].
    pub flags: u32,
    /// Start time on the target's monotonic clock, nanoseconds. With the pid it names a process for good.
    pub start: u64,
    /// Resident memory in bytes.
    pub rss: u64,
    /// CPU time used so far, nanoseconds.
    pub cpu_time: u64,
    /// Command name, zero-terminated unless it fills the field.
    pub command: [u8; 16],
    /// Memory that was moved to swap space, bytes.
    pub swap: u64,
    /// Id of its control group in the unified hierarchy, as `cgroup_id()` of the kernel tells it; 0 if not known.
    pub cgroup: u64,
    /// Last component of that group's path, zero-terminated unless it fills the field; empty for the root group.
    pub cgroup_name: [u8; 48],
}

/// Bytes of a process table with room for so many entries.
#[must_use]
pub const fn process_table_bytes(entries: usize) -> usize {
    size_of::<ProcessTableHeader>() + entries * size_of::<ProcessEntry>()
}

impl Default for ProcessEntry {
    /// A free entry.
    fn default() -> ProcessEntry {
        ProcessEntry::new_zeroed()
    }
}

/// Bits of [`ProcessEntry::flags`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessFlags;

impl ProcessFlags {
    /// A kernel thread.
    pub const KERNEL: u32 = 1 << 0;
    /// Part of Backdoors on the target; no command reaches it.
    pub const PROTECTED: u32 = 1 << 1;
}

/// What a monitor writes: everything up to `sequence` in one WRITE, `sequence` in a second one posted behind it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CommandSlot {
    /// One of [`crate::Opcode`].
    pub opcode: u32,
    /// Bits of [`CommandFlags`].
    pub flags: u32,
    /// Whom or what it is about, as the opcode's [`crate::Unit`] says.
    pub subject: u64,
    /// Start time of the process, or generation of the application, that `subject` names; 0: do not check.
    pub start: u64,
    /// Most processes this command may signal; 0: no bound.
    pub most_victims: u64,
    /// What the opcode needs besides: the number of a signal, a nice value, nanoseconds, a value.
    pub argument: u64,
    /// The [`crate::Token`] of the lease under which the monitor acts; without it nothing is obeyed.
    pub token: u64,
    /// What [`crate::Seal::code`] says of all other words; with another one nothing is obeyed.
    pub mac: [u64; 2],
    /// Why it was given: UTF-8, padded with zeros. For people; it decides nothing.
    pub reason: [u8; REASON_BYTES],
    /// The number of this command: one more than [`Acknowledgement::accepted`]. Written last.
    pub sequence: u64,
}

/// Bits of [`CommandSlot::flags`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommandFlags;

impl CommandFlags {
    /// Match and count, signal nobody.
    pub const DRY_RUN: u32 = 1 << 0;
    /// Not to be obeyed: says that this monitor would have the holder of the lease obeyed who gives the same command. It
    /// needs no lease.
    pub const VOTE: u32 = 1 << 1;
}

/// What the target answers, one per slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Acknowledgement {
    /// Odd while being written.
    pub guard: u64,
    /// Sequence of the command this answers.
    pub command: u64,
    /// Highest command sequence that was accepted or refused on its merits; the next command is one more.
    pub accepted: u64,
    /// One of [`crate::CommandState`].
    pub state: u32,
    /// One of [`crate::Refusal`], if refused.
    pub reason: u32,
    /// Processes that the command matched, over all sweeps, each counted once.
    pub matched: u32,
    /// Signals sent.
    pub signalled: u32,
    /// Matching processes still alive at the last sweep.
    pub remaining: u32,
    /// Sweeps over the processes.
    pub sweeps: u32,
    /// When it was accepted or refused, nanoseconds of the target's monotonic clock.
    pub accepted_at: u64,
    /// When the first signal was sent.
    pub first_signal_at: u64,
    /// When the last matching process died.
    pub last_death_at: u64,
    /// When it ended.
    pub finished_at: u64,
    /// What the system or the application said that refused it, if `reason` is [`crate::Refusal::Failed`].
    pub failure: u64,
    /// Zero.
    pub reserved: [u64; 5],
}

/// Which monitor may act. All words are changed by monitors alone: `lease` by compare-and-swap only, a candidacy by
/// plain writes of the monitor whose slot it is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LeaseTable {
    /// A [`crate::LeaseWord`]: who holds the lease.
    pub lease: u64,
    /// Zero.
    pub reserved: [u64; 7],
    /// A [`crate::Candidacy`] per slot: who else would act, and how well it could.
    pub candidacies: [u64; COMMAND_SLOTS],
}

/// Parts of the lease word, as [`crate::LeaseWord`] has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseBits;

impl LeaseBits {
    /// Counts renewals; all other bits together are the token.
    pub const RENEWALS: u64 = (1 << 24) - 1;
    /// Where the holder's slot + 1 begins, eight bits wide.
    pub const HOLDER_SHIFT: u32 = 24;
    /// Where the term begins, to the end of the word.
    pub const TERM_SHIFT: u32 = 32;
}

const _: () = {
    assert!(size_of::<BoxHeader>() == 128);
    assert!(offset_of!(BoxHeader, sequence) == 32);
    assert!(offset_of!(BoxHeader, clock) == 56);
    assert!(size_of::<SensorRecord>() == 32);
    assert!(offset_of!(SensorRecord, value) == 24);
    assert!(size_of::<ProcessTableHeader>() == 128);
    assert!(offset_of!(ProcessTableHeader, lost) == 40);
    assert!(size_of::<ProcessEntry>() == 128);
    assert!(offset_of!(ProcessEntry, start) == 24);
    assert!(offset_of!(ProcessEntry, command) == 48);
    assert!(offset_of!(ProcessEntry, cgroup_name) == 80);
    assert!(size_of::<CommandSlot>() == 256);
    assert!(offset_of!(CommandSlot, token) == 40);
    assert!(offset_of!(CommandSlot, mac) == 48);
    assert!(offset_of!(CommandSlot, reason) == 64);
    assert!(offset_of!(CommandSlot, sequence) == 248);
    assert!(size_of::<Acknowledgement>() == 128);
    assert!(size_of::<LeaseTable>() == 192);
    assert!(offset_of!(LeaseTable, candidacies) == 64);
    assert!(COMMAND_SLOTS < 1 << (LeaseBits::TERM_SHIFT - LeaseBits::HOLDER_SHIFT));
};
