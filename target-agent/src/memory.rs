//! The memory a target shows: the same regions whether the kernel half or the user half fills them.

use crate::kernel::Moves;
use crate::words::Words;
use backdoors_rdma::{Protection, SharedMemory};
use backdoors_sensor_box::audit::layout::{AUDIT_RECORDS, audit_bytes};
use backdoors_sensor_box::layout::RegionKind;
use backdoors_sensor_box::layout::{Acknowledgement, COMMAND_SLOTS, CommandSlot, LeaseTable};
use backdoors_sensor_box::writer::{AuditRing, Fence, LayOutError};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Memory that is mapped here and can be handed to others.
#[derive(Debug)]
pub struct Region {
    /// What is mapped.
    pub words: Words,
    /// What others map.
    pub descriptor: OwnedFd,
}

impl Region {
    /// Maps the first `length` bytes of `descriptor` to be written.
    ///
    /// # Errors
    /// What the system says; nothing is mapped then.
    pub fn map(descriptor: OwnedFd, length: usize) -> io::Result<Region> {
        let memory = SharedMemory::map(descriptor.as_fd(), 0, length, Protection::ReadWrite)?;
        Ok(Region { words: Words::new(memory), descriptor })
    }

    /// Makes new memory of `length` bytes, all zero.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(name: &str, length: usize) -> io::Result<Region> {
        let (memory, descriptor) = SharedMemory::create(name, length)?;
        Ok(Region { words: Words::new(memory), descriptor })
    }

    /// Bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.words.memory().len()
    }
}

/// What a target shows, and where it takes commands.
#[derive(Debug)]
pub struct TargetMemory {
    /// The sensor box.
    pub sensors: Region,
    /// The process table.
    pub processes: Region,
    /// The command slots of all monitors.
    pub commands: Region,
    /// The acknowledgements.
    pub acknowledgements: Region,
    /// Which monitor may act; every monitor writes it.
    pub lease: Region,
    /// The variables that are offered.
    pub variables: Region,
    /// What this machine was asked to do, and what became of it.
    pub audit: Region,
    /// Live connections, where they are captured.
    pub sessions: Option<SessionMemory>,
    /// Where a fence can be set, if the kernel half does that.
    pub fence: Option<Region>,
    /// Tells these regions from earlier ones.
    pub generation: u64,
}

/// What is kept of live connections.
#[derive(Debug)]
pub struct SessionMemory {
    /// The session table.
    pub table: Region,
    /// A ring per record: what the connection received.
    pub rings: Region,
    /// Where in its streams a connection is that was rebuilt here.
    pub moves: Moves,
}

/// Bytes of all command slots.
pub const COMMAND_BYTES: usize = COMMAND_SLOTS * size_of::<CommandSlot>();
/// Bytes of all acknowledgements.
pub const ACKNOWLEDGEMENT_BYTES: usize = COMMAND_SLOTS * size_of::<Acknowledgement>();
/// Bytes of the lease table.
pub const LEASE_BYTES: usize = size_of::<LeaseTable>();
/// Bytes of the audit ring.
pub const AUDIT_BYTES: usize = audit_bytes(AUDIT_RECORDS);

impl TargetMemory {
    /// The regions every monitor may read, with their kinds.
    #[must_use]
    pub fn shown(&self) -> Vec<(u32, &Region)> {
        let mut shown = vec![
            (RegionKind::SENSORS, &self.sensors),
            (RegionKind::PROCESSES, &self.processes),
            (RegionKind::ACKNOWLEDGEMENTS, &self.acknowledgements),
            (RegionKind::VARIABLES, &self.variables),
            (RegionKind::AUDIT, &self.audit),
        ];
        if let Some(SessionMemory { table, rings, .. }) = &self.sessions {
            shown.extend([(RegionKind::SESSIONS, table), (RegionKind::RECEIVED, rings)]);
        }
        shown.extend(self.laid_out_fence().map(|_| RegionKind::FENCE).zip(self.fence.as_ref()));
        shown
    }

    /// The fence, if addresses can be fenced.
    #[must_use]
    pub fn laid_out_fence(&self) -> Option<Fence<Words>> {
        Fence::adopt(self.fence.as_ref()?.words.clone()).ok()
    }

    /// Tells readers of the audit ring what time it is by the machine's clock, which may be set at any time.
    ///
    /// # Errors
    /// If there is no ring.
    pub fn tell_time(&self) -> Result<(), LayOutError> {
        let clock = |clock| nanoseconds(rustix::time::clock_gettime(clock));
        let (wall, monotonic) =
            (clock(rustix::time::ClockId::Realtime), clock(rustix::time::ClockId::Monotonic));
        AuditRing::adopt(self.audit.words.clone())?.set_wall_offset(wall.saturating_sub(monotonic));
        Ok(())
    }
}

fn nanoseconds(time: rustix::time::Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// A number that no earlier regions of this target had.
///
/// # Errors
/// What the system says if it has no random bytes.
pub fn new_generation() -> io::Result<u64> {
    let mut bytes = [0; 8];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if filled != bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(u64::from_le_bytes(bytes) | 1)
}
