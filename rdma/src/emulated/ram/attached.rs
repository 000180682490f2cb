//! The guest's side of the port: an owner of memory that programs the NIC outside, as a driver would.

use crate::emulated::ram::bpf;
use crate::emulated::ram::message::{Answer, Call, Lines, Reply, Request, VERSION, line};
use crate::emulated::ram::pages;
use crate::emulated::table;
use crate::memory::{Protection, SharedMemory};
use crate::owner::{
    Admission, Endpoint, MemoryOwner, OwnerError, RegionId, RegionRequest, backing, check_admission,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest time to wait for the NIC; less than an agent waits for its owner.
const ANSWER_TIME: Duration = Duration::from_secs(4);
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
const PORTS: &str = "/sys/class/virtio-ports";

/// Where regions are registered with the NIC that has this machine's RAM.
///
/// A region must be an array map of BPF: its pages are the kernel's own and stay where they are, while those of a
/// memfd may be moved at any time. The map is pinned as long as it is registered, so its pages are not given to
/// anybody else, even if this process and the agent die.
#[derive(Debug)]
pub struct Attached {
    port: File,
    lines: Lines,
    boot: String,
    session: u64,
    number: u64,
    pins: PathBuf,
    registered: BTreeMap<RegionId, RegionRequest>,
}

impl Attached {
    /// Says hello to the NIC behind `port`, a virtio-serial port's device or its name, and takes up what it has
    /// registered since this machine booted. `pins` is the folder in the BPF file system for registered maps; nobody
    /// else may use it.
    ///
    /// # Errors
    /// [`OwnerError::Device`] if there is no such port or folder; otherwise what the NIC says.
    pub fn open(port: &Path, pins: &Path) -> Result<Attached, OwnerError> {
        let failed = |what: &str, error: io::Error| OwnerError::Device(format!("{what}: {error}"));
        let path = device_of(port).map_err(|error| failed("no port", error))?;
        let open = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(&path);
        let port = open.map_err(|error| failed(&path.display().to_string(), error))?;
        let boot = fs::read_to_string(BOOT).map_err(|error| failed(BOOT, error))?.trim().to_owned();
        fs::create_dir_all(pins).map_err(|error| failed(&pins.display().to_string(), error))?;
        Attached::over(port, boot, pins.into())
    }

    fn over(port: File, boot: String, pins: PathBuf) -> Result<Attached, OwnerError> {
        let lines = Lines::default();
        let registered = BTreeMap::new();
        let mut attached = Attached { port, lines, boot, session: 0, number: 0, pins, registered };
        attached.greet()?;
        Ok(attached)
    }

    /// Opens a session, and sees to it that exactly what is registered is pinned.
    fn greet(&mut self) -> Result<(), OwnerError> {
        self.session = u64::from_le_bytes(table::random()?);
        match self.exchange(&Request::Hello { version: VERSION, boot: self.boot.clone() })? {
            Reply::Welcome => {}
            Reply::Failed(error) => return Err(error),
            _ => return Err(mistaken()),
        }
        let Reply::Regions(regions) = self.exchange(&Request::Regions)? else {
            return Err(mistaken());
        };
        self.registered = regions.into_iter().collect();
        // What lost its pin may have lost its memory, too.
        let unpinned: Vec<RegionId> = self
            .registered
            .iter()
            .filter(|(_, region)| !self.pin_of(region).exists())
            .map(|(id, _)| *id)
            .collect();
        for id in unpinned {
            self.exchange(&Request::Retire(id))?;
            self.registered.remove(&id);
        }
        let wanted: Vec<PathBuf> = self.registered.values().map(|region| self.pin_of(region)).collect();
        let pinned = fs::read_dir(&self.pins).map_err(|error| OwnerError::Device(error.to_string()))?;
        for pin in pinned.flatten().map(|entry| entry.path()).filter(|pin| !wanted.contains(pin)) {
            unpin(&pin);
        }
        Ok(())
    }

    fn pin_of(&self, region: &RegionRequest) -> PathBuf {
        let slot = region.slot.map_or("all".into(), |slot| slot.to_string());
        self.pins.join(format!("{}-{slot}-{:x}", region.kind, region.generation))
    }

    /// Asks, after a new greeting if the NIC does not know this session any more.
    fn ask(&mut self, request: Request) -> Result<Reply, OwnerError> {
        let mut reply = self.exchange(&request)?;
        if reply == Reply::Stranger {
            tracing::warn!("the NIC was restarted");
            self.greet()?;
            reply = self.exchange(&request)?;
        }
        match reply {
            Reply::Failed(error) => Err(error),
            reply => Ok(reply),
        }
    }

    fn exchange(&mut self, request: &Request) -> Result<Reply, OwnerError> {
        let lost = |error: io::Error| OwnerError::Lost(format!("the NIC behind the port: {error}"));
        self.number += 1;
        let call = Call { session: self.session, number: self.number, request: request.clone() };
        let asked = line(&call).map_err(|error| OwnerError::Invalid(error.to_string()))?;
        let deadline = Instant::now() + ANSWER_TIME;
        let mut rest = asked.as_slice();
        while !rest.is_empty() {
            let sent = self.when(PollFlags::OUT, deadline, |mut port| port.write(rest)).map_err(lost)?;
            rest = rest.get(sent..).unwrap_or_default();
        }
        let mut room = [0; 4096];
        loop {
            let count = self.when(PollFlags::IN, deadline, |mut port| port.read(&mut room)).map_err(lost)?;
            let mut found = None;
            self.lines.feed(room.get(..count).unwrap_or_default(), |line| {
                let answer = serde_json::from_slice::<Answer>(line).ok();
                let fits = |answer: &Answer| (answer.session, answer.number) == (call.session, call.number);
                found = found.take().or(answer.filter(fits));
            });
            if let Some(answer) = found {
                return Ok(answer.reply);
            }
        }
    }

    /// Waits until the port is ready, and does something with it; not at all if nobody is at its other end.
    fn when(
        &self,
        ready: PollFlags,
        deadline: Instant,
        mut act: impl FnMut(&File) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let mut events = [PollFd::new(&self.port, ready)];
            match poll(&mut events, Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [event] = events;
            if event.revents().contains(PollFlags::HUP) {
                return Err(io::Error::new(io::ErrorKind::NotConnected, "it is not there"));
            }
            if event.revents().is_empty() {
                continue;
            }
            match act(&self.port) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::NotConnected, "it is not there")),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                other => return other,
            }
        }
    }
}

fn mistaken() -> OwnerError {
    OwnerError::Lost("the NIC behind the port answered another question".into())
}

fn unpin(pin: &Path) {
    if let Err(error) = fs::remove_file(pin) {
        tracing::warn!(pin = %pin.display(), %error, "a map that is registered no more stays pinned");
    }
}

/// The device of a port given by its path or its name. Where nobody makes links by name, the name still leads there.
fn device_of(port: &Path) -> io::Result<PathBuf> {
    if port.exists() {
        return Ok(port.into());
    }
    let name = port.file_name().unwrap_or_default().to_string_lossy();
    for entry in fs::read_dir(PORTS)?.flatten() {
        if fs::read_to_string(entry.path().join("name")).is_ok_and(|found| found.trim() == name) {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no virtio-serial port is named {name}")))
}

impl MemoryOwner for Attached {
    fn register(&mut self, region: RegionRequest, memory: OwnedFd) -> Result<RegionId, OwnerError> {
        backing::check_unmovable(memory.as_fd(), region.offset, region.length)?;
        let failed = |error: io::Error| OwnerError::Memory(error.to_string());
        let length = usize::try_from(region.length)
            .map_err(|_| OwnerError::Invalid("a region larger than memory can be".into()))?;
        let mapped = SharedMemory::map(memory.as_fd(), region.offset, length, Protection::ReadOnly);
        let pages = pages::runs(&mapped.map_err(failed)?).map_err(failed)?;
        let clash = self.registered.iter().find(|(_, other)| other.clashes_with(&region));
        if let Some((id, _)) = clash {
            return Err(OwnerError::Occupied(*id));
        }
        let pin = self.pin_of(&region);
        bpf::pin(memory.as_fd(), &pin).map_err(|error| {
            OwnerError::Memory(format!("it cannot be pinned as {}: {error}", pin.display()))
        })?;
        match self.exchange(&Request::Register { region, pages })? {
            Reply::Registered(id) => {
                self.registered.insert(id, region);
                Ok(id)
            }
            Reply::Stranger => {
                // Greeting also removes the pin, since nothing is registered under it.
                self.greet()?;
                Err(OwnerError::Lost("the NIC behind the port was restarted".into()))
            }
            Reply::Failed(error) => {
                unpin(&pin);
                Err(error)
            }
            _ => Err(mistaken()),
        }
    }

    fn retire(&mut self, region: RegionId) -> Result<(), OwnerError> {
        match self.ask(Request::Retire(region))? {
            Reply::Done => {
                if let Some(region) = self.registered.remove(&region) {
                    unpin(&self.pin_of(&region));
                }
                Ok(())
            }
            _ => Err(mistaken()),
        }
    }

    fn admit(&mut self, monitor: &str, slot: u32, endpoints: &[Endpoint]) -> Result<Admission, OwnerError> {
        check_admission(monitor, endpoints)?;
        let endpoints = endpoints.into();
        match self.ask(Request::Admit { monitor: monitor.into(), slot, endpoints })? {
            Reply::Admitted(admission) => Ok(admission),
            _ => Err(mistaken()),
        }
    }

    fn dismiss(&mut self, monitor: &str) -> Result<(), OwnerError> {
        match self.ask(Request::Dismiss { monitor: monitor.into() })? {
            Reply::Done => Ok(()),
            _ => Err(mistaken()),
        }
    }

    fn monitors(&mut self) -> Result<Vec<String>, OwnerError> {
        match self.ask(Request::Monitors)? {
            Reply::Monitors(monitors) => Ok(monitors),
            _ => Err(mistaken()),
        }
    }

    fn regions(&mut self) -> Result<Vec<(RegionId, RegionRequest)>, OwnerError> {
        match self.ask(Request::Regions)? {
            Reply::Regions(regions) => Ok(regions),
            _ => Err(mistaken()),
        }
    }
}

#[cfg(test)]
mod tests;
