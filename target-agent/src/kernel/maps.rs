//! A kernel half that runs: its memory, and what the user half tells it.

use crate::executor::Agreement;
use crate::kernel::moves::Moves;
use crate::kernel::pins::Pins;
use crate::kernel::settings::{Control, ErrandWords, MAX_PROTECTED, MAX_SPARED, ProcessName};
use crate::memory::{
    ACKNOWLEDGEMENT_BYTES, AUDIT_BYTES, COMMAND_BYTES, LEASE_BYTES, Region, SessionMemory, TargetMemory,
};
use crate::seat::Seat;
use backdoors_sensor_box::fence::LIFTED;
use backdoors_sensor_box::fence::layout::FenceTable;
use backdoors_sensor_box::layout::{
    BoxHeader, COMMAND_SLOTS, Capabilities, MAX_SENSORS, SensorRecord, process_table_bytes,
};
use backdoors_sensor_box::session::layout::SessionRecord;
use backdoors_sensor_box::variables::VARIABLES_BYTES;
use backdoors_sensor_box::writer::{AuditRing, ProcessTable, SensorBox, SessionTable};
use backdoors_sensor_box::{SensorKind, SharedWords};
use libbpf_rs::{Iter, Link, MapCore, MapFlags, MapHandle};
use std::fmt::Display;
use std::io::{self, Read};
use std::mem::offset_of;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use zerocopy::{FromBytes, IntoBytes};

/// Maps that others map, or that keep the kernel half alive; all are pinned.
pub(super) const PINNED_MAPS: [&str; 19] = [
    ".data.sensors",
    ".data.commands",
    ".data.acknowledgements",
    ".data.lease",
    ".data.audit",
    ".data.fence",
    ".data.control",
    ".data.errands",
    ".data.variables",
    "processes",
    "condemned",
    "wakeups",
    "calls",
    "seats",
    "sessions",
    "received",
    "socket_notes",
    "moves",
    // Its timer runs as long as this map is pinned.
    "clockwork",
];

const SENSOR_BYTES: usize = size_of::<BoxHeader>() + MAX_SENSORS * size_of::<SensorRecord>();

/// A kernel half and its memory, mapped here.
#[derive(Debug)]
pub struct KernelHalf {
    /// What it shows.
    pub memory: Arc<TargetMemory>,
    /// What it is told.
    pub control: Region,
    /// What it tells the helper: a word per entry of the process table.
    pub condemned: Region,
    /// What it has the user half do: an [`ErrandWords`] per command slot.
    pub errands: Region,
    /// What wakes the helper.
    pub wakeups: MapHandle,
    /// What wakes the agent for hooks of applications.
    pub calls: MapHandle,
    /// Who may command through which slot. Not mapped by anybody.
    seats: MapHandle,
    pub(super) pins: Pins,
}

/// Why pinned maps are not taken up. Nothing was changed; [`Pins::remove`] makes room for a new kernel half.
#[derive(Debug, thiserror::Error)]
pub enum Misfit {
    /// Nothing is pinned.
    #[error("no kernel half is pinned")]
    Nothing,
    /// A pin is missing or cannot be mapped.
    #[error("the pinned kernel half is not whole: {0}")]
    Incomplete(String),
    /// Another build, or other settings, made it.
    #[error("the pinned kernel half is another build's, or was loaded with other settings")]
    OtherBuild,
    /// It watches another pid namespace.
    #[error("the pinned kernel half watches another pid namespace")]
    OtherScope,
    /// Box or table are of another layout.
    #[error("the pinned kernel half's memory has another layout: {0}")]
    OtherLayout(String),
}

pub(super) fn incomplete(what: impl Display) -> impl FnOnce(io::Error) -> Misfit {
    move |error| Misfit::Incomplete(format!("{what}: {error}"))
}

impl KernelHalf {
    /// Takes up the kernel half that is pinned, if its fingerprint is this one.
    ///
    /// # Errors
    /// See [`Misfit`].
    pub fn adopt(pins: &Pins, fingerprint: u64) -> Result<KernelHalf, Misfit> {
        let half = KernelHalf::attach(pins)?;
        let word = |offset: usize| half.control.words.load(offset / 8);
        if word(offset_of!(Control, fingerprint)) != fingerprint {
            return Err(Misfit::OtherBuild);
        }
        let scope = word(offset_of!(Control, scope_level));
        if scope as u32 != 0 && scope >> 32 != own_namespace().map_err(incomplete("own pid namespace"))? {
            return Err(Misfit::OtherScope);
        }
        let layout = |error: &dyn Display| Misfit::OtherLayout(error.to_string());
        let sensors = SensorBox::adopt(half.memory.sensors.words.clone()).map_err(|error| layout(&error))?;
        let table =
            ProcessTable::adopt(half.memory.processes.words.clone()).map_err(|error| layout(&error))?;
        let generation = sensors.header().map_err(|error| layout(&error))?.generation;
        let audit = AuditRing::adopt(half.memory.audit.words.clone()).map_err(|error| layout(&error))?;
        let mut generations = vec![table.header().generation, audit.header().generation];
        if let Some(sessions) = &half.memory.sessions {
            let table = SessionTable::adopt(sessions.table.words.clone()).map_err(|error| layout(&error))?;
            generations.push(table.header().generation);
        }
        generations.extend(half.memory.laid_out_fence().map(|fence| fence.generation()));
        if generations.iter().any(|other| *other != generation) {
            return Err(Misfit::OtherLayout(
                "box, process table, audit ring, session table and fence are of different generations".into(),
            ));
        }
        Ok(half)
    }

    /// Maps the kernel half that is pinned, whatever it is.
    ///
    /// # Errors
    /// [`Misfit::Nothing`] or [`Misfit::Incomplete`].
    pub fn attach(pins: &Pins) -> Result<KernelHalf, Misfit> {
        if !pins.any() {
            return Err(Misfit::Nothing);
        }
        KernelHalf::open(pins, None, |name| {
            MapHandle::from_pinned_path(pins.map(name))
                .map_err(|error| Misfit::Incomplete(format!("map {name}: {error}")))
        })
    }

    /// Maps the maps that `map` finds by name. Without a generation it is what the box says.
    pub(super) fn open(
        pins: &Pins,
        generation: Option<u64>,
        map: impl Fn(&'static str) -> Result<MapHandle, Misfit>,
    ) -> Result<KernelHalf, Misfit> {
        let region = |name: &'static str, length: usize| {
            let map = map(name)?;
            let descriptor = map.as_fd().try_clone_to_owned().map_err(incomplete(name))?;
            Region::map(descriptor, length).map_err(incomplete(name))
        };
        let capacity = map("condemned")?.max_entries() as usize;
        let table = process_table_bytes(capacity);
        let sessions = match (map("sessions")?, map("received")?) {
            // There always is a header, though nothing is captured.
            (table, _) if table.max_entries() <= 1 => None,
            (table, rings) => Some(SessionMemory {
                table: region("sessions", table.max_entries() as usize * size_of::<SessionRecord>())?,
                rings: region("received", rings.max_entries() as usize * rings.value_size() as usize)?,
                moves: Moves { notes: map("socket_notes")?, moves: map("moves")? },
            }),
        };
        let sensors = region(".data.sensors", SENSOR_BYTES)?;
        let generation =
            generation.unwrap_or_else(|| sensors.words.load(offset_of!(BoxHeader, generation) / 8));
        Ok(KernelHalf {
            memory: Arc::new(TargetMemory {
                sensors,
                processes: region("processes", table)?,
                commands: region(".data.commands", COMMAND_BYTES)?,
                acknowledgements: region(".data.acknowledgements", ACKNOWLEDGEMENT_BYTES)?,
                lease: region(".data.lease", LEASE_BYTES)?,
                variables: region(".data.variables", VARIABLES_BYTES)?,
                audit: region(".data.audit", AUDIT_BYTES)?,
                sessions,
                fence: Some(region(".data.fence", size_of::<FenceTable>())?),
                generation,
            }),
            control: region(".data.control", size_of::<Control>())?,
            condemned: region("condemned", capacity * 8)?,
            errands: region(".data.errands", COMMAND_SLOTS * size_of::<ErrandWords>())?,
            wakeups: map("wakeups")?,
            calls: map("calls")?,
            seats: map("seats")?,
            pins: pins.clone(),
        })
    }

    /// Users whose processes no command reaches, besides root. At most [`MAX_SPARED`] count.
    pub fn spare(&self, users: &[u32]) {
        let memory = self.control.words.memory();
        let count = users.len().min(MAX_SPARED) as u32;
        for (index, user) in users.iter().take(MAX_SPARED).enumerate() {
            let offset = offset_of!(Control, spared) + 4 * index;
            write_bytes(memory, offset, &user.to_le_bytes());
        }
        write_bytes(memory, offset_of!(Control, spared_count), &count.to_le_bytes());
    }

    /// Says which commands several monitors must want, and lets monitors know.
    ///
    /// # Errors
    /// If the box cannot be used.
    pub fn demand(&self, agreement: &Agreement) -> Result<(), Misfit> {
        let first = offset_of!(Control, agreement) / 8;
        let window = u64::try_from(agreement.window.as_nanos()).unwrap_or(u64::MAX);
        let words = [agreement.commands.bits(), window, u64::from(agreement.needed)];
        for (index, word) in words.into_iter().enumerate() {
            self.control.words.store(first + index, word);
        }
        let layout = |error: &dyn Display| Misfit::OtherLayout(error.to_string());
        let sensors = SensorBox::adopt(self.memory.sensors.words.clone()).map_err(|error| layout(&error))?;
        let before =
            sensors.header().map_err(|error| layout(&error))?.capabilities & !Capabilities::AGREEMENT;
        let needed = if agreement.is_needed() { Capabilities::AGREEMENT } else { 0 };
        sensors.set_capabilities(before | needed);
        Ok(())
    }

    /// No command reaches these processes from now on, nor any longer those that were protected before. A process
    /// that is not in the table yet is protected by its id alone. At most [`MAX_PROTECTED`] count.
    pub fn protect(&self, pids: &[u32]) {
        for index in 0..MAX_PROTECTED {
            let mut entry = ProcessName::default();
            if let Some(&pid) = pids.get(index) {
                entry = ProcessName { pid, reserved: 0, start: self.start_of(pid).unwrap_or(0) };
            }
            let first = (offset_of!(Control, protected) + index * size_of::<ProcessName>()) / 8;
            self.control.words.store(first + 1, entry.start);
            self.control.words.store(first, u64::from(entry.pid));
        }
    }

    /// Who may command through a slot, and what.
    ///
    /// # Errors
    /// What the system says; also if there is no such slot.
    pub fn seat(&self, slot: u32) -> io::Result<Seat> {
        let value = self.seats.lookup(&slot.to_ne_bytes(), MapFlags::ANY).map_err(io::Error::other)?;
        let seat = value.as_deref().and_then(|bytes| Seat::read_from_bytes(bytes).ok());
        seat.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Those of all slots.
    ///
    /// # Errors
    /// [`Misfit::Incomplete`] if the map cannot be read, or is of another layout.
    pub fn seats(&self) -> Result<Vec<Seat>, Misfit> {
        let seats = (0..COMMAND_SLOTS as u32).map(|slot| self.seat(slot));
        seats.collect::<io::Result<_>>().map_err(incomplete("map seats"))
    }

    /// Says who may command through a slot from now on, and what. The next tick goes by it. While the kernel takes it over, a
    /// tick may see the key half changed: then nobody is who it takes for authentic, but whoever was or will be.
    ///
    /// # Errors
    /// What the system says; then nothing was changed.
    pub fn set_seat(&self, slot: u32, seat: &Seat) -> io::Result<()> {
        let show = |seat: Option<Seat>| {
            if let Some(fence) = self.memory.laid_out_fence() {
                fence.set_check(slot as usize, seat.and_then(|seat| seat.fence_key()));
            }
        };
        // A monitor is told that its fence word counts only while it does.
        show(None);
        let updated = self.seats.update(&slot.to_ne_bytes(), seat.as_bytes(), MapFlags::ANY);
        show(self.seat(slot).ok());
        updated.map_err(io::Error::other)
    }

    /// The same, and a fence that holds from this slot goes on holding, at every moment, whoever set it.
    ///
    /// # Errors
    /// What the system says; then the seat is as it was.
    pub fn change_seat(&self, slot: u32, change: impl FnOnce(Seat) -> Seat) -> io::Result<()> {
        let before = self.seat(slot)?;
        let after = change(before);
        if after == before {
            return Ok(());
        }
        // The word may be written until the key is another one: so it is kept first, and looked at last.
        let word = self.fence_word(slot);
        let kept = if before.is_fenced_by(word) { word } else { before.fence_word() };
        self.set_seat(slot, &before.keeping_fence(kept))?;
        self.set_seat(slot, &after.keeping_fence(kept))?;
        if kept != LIFTED && self.fence_word(slot) != kept {
            self.set_seat(slot, &after.keeping_fence(LIFTED))?;
        }
        Ok(())
    }

    /// Says which process is the agent: `agent.alive` is 1 from now on, until the kernel half sees that process end.
    ///
    /// # Errors
    /// If the box has no such sensor.
    pub fn name_agent(&self, pid: u32) -> Result<(), Misfit> {
        let lacks = || Misfit::OtherLayout("the box has no sensor agent.alive".into());
        let sensors = SensorBox::adopt(self.memory.sensors.words.clone()).map_err(|_| lacks())?;
        let alive = sensors.find(SensorKind::AGENT_ALIVE, 0).ok_or_else(lacks)?;
        let first = offset_of!(Control, agent) / 8;
        self.control.words.store(first + 1, self.start_of(pid).unwrap_or(0));
        self.control.words.store(first, u64::from(pid));
        sensors.set(alive, 1);
        Ok(())
    }

    /// When the process with this id started, if it is in the table.
    #[must_use]
    pub fn start_of(&self, pid: u32) -> Option<u64> {
        let table = ProcessTable::adopt(self.memory.processes.words.clone()).ok()?;
        let used = table.header().high_water as usize;
        (0..used).find_map(|index| {
            let entry = table.get(index).ok().flatten()?;
            (entry.pid == pid).then_some(entry.start)
        })
    }

    /// Has the kernel half look at all processes: it learns of those it does not know, and brings names, parents and
    /// protection up to date.
    ///
    /// # Errors
    /// What the system says; then the table may be out of date.
    pub fn survey(&self) -> io::Result<()> {
        let link = Link::open(self.pins.link("seed")).map_err(io::Error::other)?;
        survey(&link)
    }

    /// How many rounds the helper has made, and its process id.
    #[must_use]
    pub fn helper(&self) -> (u64, u32) {
        let word = |offset: usize| self.control.words.load(offset / 8);
        (word(offset_of!(Control, helper_beat)), word(offset_of!(Control, helper_pid)) as u32)
    }
}

pub(super) fn survey(link: &Link) -> io::Result<()> {
    let mut rounds = Iter::new(link).map_err(io::Error::other)?;
    let mut nothing = [0; 64];
    while rounds.read(&mut nothing)? > 0 {}
    Ok(())
}

/// Inode number of the pid namespace this process is in.
pub(super) fn own_namespace() -> io::Result<u64> {
    Ok(std::fs::metadata("/proc/self/ns/pid")?.ino())
}

fn write_bytes(memory: &backdoors_rdma::SharedMemory, offset: usize, bytes: &[u8]) {
    let written = memory.write_bytes(offset, bytes);
    debug_assert!(written.is_ok(), "the control map is as large as its mirror");
}
