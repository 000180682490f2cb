//! The monitor's side: bytes from another machine, hostile until they have become a view here.

use crate::catalogue::{Class, SensorKind, Unit};
use crate::command::{CommandState, Refusal};
use crate::layout::{
    Acknowledgement, BOX_MAGIC, BoxHeader, MAX_PROCESSES, MAX_SENSORS, NO_LIMIT, PROCESS_MAGIC, ProcessEntry,
    ProcessTableHeader, SensorRecord, VERSION,
};
use core::mem::size_of;
use zerocopy::FromBytes;

/// Why bytes are no view. Nothing of them was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the region says it has.
    #[error("{what} is cut short: {have} of {need} bytes; fetch it again")]
    Truncated {
        /// Which region.
        what: &'static str,
        /// Bytes there are.
        have: usize,
        /// Bytes there should be.
        need: usize,
    },
    /// The first word is not the region's magic.
    #[error("not a {what}: magic {found:#018x}; check what the target registered")]
    Magic {
        /// What it should be.
        what: &'static str,
        /// The word found.
        found: u64,
    },
    /// Another version of the layout.
    #[error("{what} has layout version {found}, this monitor reads {VERSION}: use matching versions")]
    Version {
        /// Which region.
        what: &'static str,
        /// The version found.
        found: u32,
    },
    /// The header contradicts itself or the limits of the layout.
    #[error("{what} contradicts itself: {why}; the target's memory is damaged or not what it claims")]
    Layout {
        /// Which region.
        what: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// It was being written while it was read. Fetching again helps.
    #[error("{what} was torn: it was being written while it was read; fetch it again")]
    Torn {
        /// Which region or record.
        what: &'static str,
    },
}

/// Whether a region begins as `what` does.
pub(crate) fn check_beginning(
    what: &'static str,
    magic: (u64, u64),
    version: u32,
) -> Result<(), DecodeError> {
    let (found, wanted) = magic;
    if found != wanted {
        return Err(DecodeError::Magic { what, found });
    }
    if version != VERSION {
        return Err(DecodeError::Version { what, found: version });
    }
    Ok(())
}

/// Sizes of a header and of what follows it, each of which is called by a name and is at least so many bytes: a newer target
/// may have longer ones.
pub(crate) fn check_sizes<const N: usize>(
    what: &'static str,
    sizes: [(&'static str, u32, usize); N],
) -> Result<[usize; N], DecodeError> {
    for (why, found, least) in sizes {
        if !(least..=4096).contains(&(found as usize)) || found % 8 != 0 {
            return Err(DecodeError::Layout { what, why });
        }
    }
    Ok(sizes.map(|(_, found, _)| found as usize))
}

/// One sensor as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SensorReading {
    /// Kind; maybe one this version does not know.
    pub kind: SensorKind,
    /// CPU or user, by kind.
    pub instance: u32,
    /// Class.
    pub class: Class,
    /// Unit, if known.
    pub unit: Option<Unit>,
    /// Limit, if there is one.
    pub limit: Option<u64>,
    /// Value.
    pub value: u64,
}

impl SensorReading {
    /// `kind` or `kind[instance]`, as screens show it.
    #[must_use]
    pub fn name(&self) -> String {
        use crate::catalogue::Instance;
        match self.kind.description() {
            Some(line) if line.instance == Instance::Machine => line.name.to_owned(),
            Some(line) => format!("{}[{}]", line.name, self.instance),
            None => format!("sensor {}[{}]", self.kind.0, self.instance),
        }
    }
}

/// A sensor box as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SensorView {
    /// Generation of the box.
    pub generation: u64,
    /// Bits of [`crate::layout::Capabilities`].
    pub capabilities: u64,
    /// The target's monotonic clock at its last tick, nanoseconds.
    pub clock: u64,
    /// Period of the ticks, nanoseconds.
    pub tick_period: u64,
    /// CPUs of the target.
    pub cpus: u32,
    /// Sensors in use, in the order of their records.
    pub sensors: Vec<SensorReading>,
    /// Records skipped because their class is unknown to this version.
    pub unknown: usize,
}

impl SensorView {
    /// The reading of a sensor.
    #[must_use]
    pub fn sensor(&self, kind: SensorKind, instance: u32) -> Option<&SensorReading> {
        self.sensors.iter().find(|reading| reading.kind == kind && reading.instance == instance)
    }

    /// All readings of a kind.
    pub fn of_kind(&self, kind: SensorKind) -> impl Iterator<Item = &SensorReading> {
        self.sensors.iter().filter(move |reading| reading.kind == kind)
    }

    /// Reads a header and tells how many bytes header and records need.
    pub(crate) fn extent(bytes: &[u8]) -> Result<(BoxHeader, usize), DecodeError> {
        const WHAT: &str = "sensor box";
        let need = size_of::<BoxHeader>();
        let (header, _) = BoxHeader::read_from_prefix(bytes).map_err(|_| DecodeError::Truncated {
            what: WHAT,
            have: bytes.len(),
            need,
        })?;
        check_beginning(WHAT, (header.magic, BOX_MAGIC), header.version)?;
        if header.sequence % 2 == 1 {
            return Err(DecodeError::Torn { what: WHAT });
        }
        let header_size = ("header size", header.header_bytes, need);
        let record_size = ("record size", header.sensor_bytes, size_of::<SensorRecord>());
        let [header_bytes, sensor_bytes] = check_sizes(WHAT, [header_size, record_size])?;
        if header.sensor_capacity as usize > MAX_SENSORS || header.sensor_count > header.sensor_capacity {
            return Err(DecodeError::Layout { what: WHAT, why: "number of sensors" });
        }
        Ok((header, header_bytes + header.sensor_count as usize * sensor_bytes))
    }

    /// Reads a sensor box. Longer headers and records of a newer target are read as far as this version knows.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<SensorView, DecodeError> {
        let mut view = SensorView::default();
        view.decode_into(bytes)?;
        Ok(view)
    }

    /// As [`SensorView::decode`], reusing the memory of an earlier view. On an error the view is unspecified.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode_into(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let (header, need) = Self::extent(bytes)?;
        if bytes.len() < need {
            return Err(DecodeError::Truncated { what: "sensor box", have: bytes.len(), need });
        }
        self.generation = header.generation;
        self.capabilities = header.capabilities;
        self.clock = header.clock;
        self.tick_period = header.tick_period;
        self.cpus = header.cpus;
        self.sensors.clear();
        self.unknown = 0;
        let records = bytes[header.header_bytes as usize..need].chunks_exact(header.sensor_bytes as usize);
        for chunk in records {
            let Ok((record, _)) = SensorRecord::read_from_prefix(chunk) else { continue };
            if record.id == 0 {
                continue;
            }
            let class = match record.class {
                1 => Class::Progress,
                2 => Class::Level,
                3 => Class::Floor,
                4 => Class::Pressure,
                _ => {
                    self.unknown += 1;
                    continue;
                }
            };
            let unit = match record.unit {
                1 => Some(Unit::Count),
                2 => Some(Unit::PerSecond),
                3 => Some(Unit::Bytes),
                4 => Some(Unit::Nanoseconds),
                _ => None,
            };
            self.sensors.push(SensorReading {
                kind: SensorKind((record.id & 0xffff_ffff) as u32),
                instance: (record.id >> 32) as u32,
                class,
                unit,
                limit: (record.limit != NO_LIMIT).then_some(record.limit),
                value: record.value,
            });
        }
        Ok(())
    }
}

/// One process as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Process id in the scope of the box, never 0.
    pub pid: u32,
    /// Parent; 0 if it lies outside the scope.
    pub parent: u32,
    /// Real user id.
    pub user: u32,
    /// Depth in the tree of processes.
    pub depth: u32,
    /// Bits of [`crate::layout::ProcessFlags`].
    pub flags: u32,
    /// Start time on the target's monotonic clock, nanoseconds.
    pub start: u64,
    /// Resident memory, bytes.
    pub rss: u64,
    /// CPU time, nanoseconds.
    pub cpu_time: u64,
    /// Command name; what is not UTF-8 or not printable is replaced.
    pub command: String,
    /// Swapped-out memory in bytes.
    pub swap: u64,
    /// Id of its control group; 0 if not known.
    pub cgroup: u64,
    /// Last component of that group's path, made printable like the command.
    pub cgroup_name: String,
}

/// A process table as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessView {
    /// Generation of the table.
    pub generation: u64,
    /// Processes that found no room, ever.
    pub lost: u64,
    /// Processes, in table order.
    pub processes: Vec<Process>,
    /// Indices of entries that were being written; they are not among `processes`.
    pub torn: Vec<usize>,
}

/// Where the entries of a table are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableExtent {
    pub generation: u64,
    pub lost: u64,
    pub header_bytes: usize,
    pub entry_bytes: usize,
    pub used: usize,
}

impl ProcessView {
    pub(crate) fn extent(bytes: &[u8]) -> Result<TableExtent, DecodeError> {
        const WHAT: &str = "process table";
        let need = size_of::<ProcessTableHeader>();
        let (header, _) = ProcessTableHeader::read_from_prefix(bytes)
            .map_err(|_| DecodeError::Truncated { what: WHAT, have: bytes.len(), need })?;
        check_beginning(WHAT, (header.magic, PROCESS_MAGIC), header.version)?;
        let header_size = ("header size", header.header_bytes, need);
        let entry_size = ("entry size", header.entry_bytes, size_of::<ProcessEntry>());
        let [header_bytes, entry_bytes] = check_sizes(WHAT, [header_size, entry_size])?;
        if header.capacity as usize > MAX_PROCESSES || header.high_water > header.capacity {
            return Err(DecodeError::Layout { what: WHAT, why: "number of entries" });
        }
        Ok(TableExtent {
            generation: header.generation,
            lost: header.lost,
            header_bytes,
            entry_bytes,
            used: header.high_water as usize,
        })
    }

    /// Reads a process table: header and entries, as one stretch of bytes.
    ///
    /// # Errors
    /// See [`DecodeError`]. Single torn entries are no error; they are listed.
    pub fn decode(bytes: &[u8]) -> Result<ProcessView, DecodeError> {
        let extent = Self::extent(bytes)?;
        let need = extent.header_bytes + extent.used * extent.entry_bytes;
        if bytes.len() < need {
            return Err(DecodeError::Truncated { what: "process table", have: bytes.len(), need });
        }
        let mut view =
            ProcessView { generation: extent.generation, lost: extent.lost, ..ProcessView::default() };
        let entries = bytes[extent.header_bytes..need].chunks_exact(extent.entry_bytes);
        for (index, chunk) in entries.enumerate() {
            view.take_entry(index, chunk);
        }
        Ok(view)
    }

    /// Takes one entry in; tells whether it was whole.
    pub(crate) fn take_entry(&mut self, index: usize, chunk: &[u8]) {
        let Ok((entry, _)) = ProcessEntry::read_from_prefix(chunk) else { return };
        if entry.sequence % 2 == 1 {
            self.torn.push(index);
        } else if entry.pid != 0 {
            self.processes.push(Process {
                pid: entry.pid,
                parent: entry.parent,
                user: entry.user,
                depth: entry.depth,
                flags: entry.flags,
                start: entry.start,
                rss: entry.rss,
                cpu_time: entry.cpu_time,
                command: printable(&entry.command),
                swap: entry.swap,
                cgroup: entry.cgroup,
                cgroup_name: printable(&entry.cgroup_name),
            });
        }
    }
}

/// A text fit for a terminal: a process chooses its own name, and escape sequences are names too.
pub(crate) fn printable(name: &[u8]) -> String {
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..end])
        .chars()
        .map(|letter| if letter.is_control() { '\u{fffd}' } else { letter })
        .collect()
}

/// An acknowledgement as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcknowledgementView {
    /// Sequence of the command it answers; 0: none was ever given.
    pub command: u64,
    /// Highest sequence judged so far; the next command is one more.
    pub accepted: u64,
    /// How far it is.
    pub state: CommandState,
    /// Why it was refused.
    pub reason: Refusal,
    /// Processes matched.
    pub matched: u32,
    /// Signals sent.
    pub signalled: u32,
    /// Matching processes alive at the last sweep.
    pub remaining: u32,
    /// Sweeps made.
    pub sweeps: u32,
    /// Times on the target's monotonic clock, nanoseconds; 0: not yet.
    pub accepted_at: u64,
    /// First signal sent.
    pub first_signal_at: u64,
    /// Last matching process gone.
    pub last_death_at: u64,
    /// Ended.
    pub finished_at: u64,
    /// What the system or the application said, if it was [`Refusal::Failed`].
    pub failure: u64,
}

impl AcknowledgementView {
    /// Reads an acknowledgement.
    ///
    /// # Errors
    /// See [`DecodeError`]; states and reasons this version does not know are an error too, never a guess.
    pub fn decode(bytes: &[u8]) -> Result<AcknowledgementView, DecodeError> {
        const WHAT: &str = "acknowledgement";
        let need = size_of::<Acknowledgement>();
        let (raw, _) = Acknowledgement::read_from_prefix(bytes).map_err(|_| DecodeError::Truncated {
            what: WHAT,
            have: bytes.len(),
            need,
        })?;
        if raw.guard % 2 == 1 {
            return Err(DecodeError::Torn { what: WHAT });
        }
        let layout = |why| DecodeError::Layout { what: WHAT, why };
        Ok(AcknowledgementView {
            command: raw.command,
            accepted: raw.accepted,
            state: CommandState::from_number(raw.state).ok_or(layout("state"))?,
            reason: Refusal::from_number(raw.reason).ok_or(layout("reason"))?,
            matched: raw.matched,
            signalled: raw.signalled,
            remaining: raw.remaining,
            sweeps: raw.sweeps,
            accepted_at: raw.accepted_at,
            first_signal_at: raw.first_signal_at,
            last_death_at: raw.last_death_at,
            finished_at: raw.finished_at,
            failure: raw.failure,
        })
    }
}
