//! A target without a kernel half: regions in memory of this process, shown by an owner of the caller's choice. What
//! is in them is the caller's to say, also what no honest target would.

use anyhow::{Context, Result};
use backdoors_rdma::SharedMemory;
use backdoors_rdma::handshake::{Acceptor, Certificate, Hello, Identity, Secret, Welcome, serve};
use backdoors_rdma::owner::{Admission, MemoryOwner, RegionRequest, Rights};
use backdoors_sensor_box::layout::{Capabilities, CommandSlot, NO_LIMIT, RegionKind, process_table_bytes};
use backdoors_sensor_box::writer::{ProcessTable, Sensor, SensorBox, Shape};
use backdoors_sensor_box::{SensorKind, SharedWords};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Generation of all its regions.
pub const GENERATION: u64 = 1;
/// The slot of its one monitor.
pub const SLOT: u32 = 0;
const PROCESS_TABLE_BYTES: usize = process_table_bytes(64);
const COMMAND_BYTES: usize = size_of::<CommandSlot>();
const ACKNOWLEDGEMENT_BYTES: usize = 16 * 128;
const LEASE_BYTES: usize = 192;

/// Shared memory, word by word.
#[derive(Clone, Debug)]
pub struct Words(Arc<SharedMemory>);

impl SharedWords for Words {
    fn len(&self) -> usize {
        self.0.words()
    }
    fn load(&self, index: usize) -> u64 {
        self.0.load(index)
    }
    fn store(&self, index: usize, value: u64) {
        self.0.store(index, value);
    }
    fn compare_exchange(&self, index: usize, current: u64, new: u64) -> Result<u64, u64> {
        self.0.compare_exchange(index, current, new)
    }
}

/// What a made-up target shows.
#[derive(Debug)]
pub struct Regions {
    /// The sensor box.
    pub sensors: Words,
    /// The process table, with room for 64 processes.
    pub processes: Words,
    /// The command slot of its monitor.
    pub commands: Words,
    /// The acknowledgements.
    pub acknowledgements: Words,
    /// Which monitor may act.
    pub lease: Words,
}

/// Registers a box of `sensors` progress sensors and what else a monitor expects.
///
/// # Errors
/// If memory cannot be made, or the owner does not take it.
pub fn register(owner: &mut dyn MemoryOwner, sensors: u32) -> Result<Regions> {
    let shape = Shape {
        generation: GENERATION,
        capabilities: Capabilities::KERNEL_HALF,
        cpus: 1,
        tick_period: 1_000_000,
    };
    let (words, descriptor) = memory(128 + 32 * sensors as usize)?;
    let sensor_box = SensorBox::lay_out(words.clone(), &shape)?;
    for instance in 0..sensors {
        sensor_box.new_sensor(SensorKind::CPU_TICKS, instance, NO_LIMIT)?;
    }
    let sensors = show(owner, RegionKind::SENSORS, words, descriptor, Rights::ReadOnly)?;
    let (words, descriptor) = memory(PROCESS_TABLE_BYTES)?;
    ProcessTable::lay_out(words.clone(), GENERATION)?;
    let processes = show(owner, RegionKind::PROCESSES, words, descriptor, Rights::ReadOnly)?;
    let (words, descriptor) = memory(COMMAND_BYTES)?;
    let commands = show(owner, RegionKind::COMMAND, words, descriptor, Rights::Writable)?;
    let (words, descriptor) = memory(ACKNOWLEDGEMENT_BYTES)?;
    let acknowledgements = show(owner, RegionKind::ACKNOWLEDGEMENTS, words, descriptor, Rights::ReadOnly)?;
    let (words, descriptor) = memory(LEASE_BYTES)?;
    let lease = show(owner, RegionKind::LEASE, words, descriptor, Rights::Writable)?;
    Ok(Regions { sensors, processes, commands, acknowledgements, lease })
}

/// Bumps the sensors of a box every millisecond from a thread of its own, as a kernel half would, so that none stands
/// still.
///
/// # Errors
/// If there is no box.
pub fn bump(regions: &Regions) -> Result<()> {
    let sensor_box = SensorBox::adopt(regions.sensors.clone())?;
    let sensors = sensor_box.count();
    std::thread::spawn(move || {
        for value in 0.. {
            for index in 0..sensors {
                sensor_box.set(Sensor::at(index), value);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    Ok(())
}

/// Memory that an owner can register.
///
/// # Errors
/// What the system says.
pub fn memory(bytes: usize) -> Result<(Words, OwnedFd)> {
    let (memory, descriptor) = SharedMemory::create("made-up", bytes)?;
    Ok((Words(Arc::new(memory)), descriptor))
}

/// Registers a region of any kind.
///
/// # Errors
/// As the owner says.
pub fn show(
    owner: &mut dyn MemoryOwner,
    kind: u32,
    words: Words,
    memory: OwnedFd,
    rights: Rights,
) -> Result<Words> {
    let slot = (kind == RegionKind::COMMAND).then_some(SLOT);
    let length = 8 * words.len() as u64;
    owner
        .register(RegionRequest { kind, generation: GENERATION, offset: 0, length, rights, slot }, memory)?;
    Ok(words)
}

/// Shakes hands for `owner` with the monitor called `monitor`, from a thread of its own; returns where.
///
/// # Errors
/// If it cannot listen.
pub fn shake_hands(
    owner: impl MemoryOwner + 'static,
    identity: &Identity,
    monitor: &Certificate,
) -> Result<SocketAddr> {
    shake_hands_as(owner, identity, monitor, |owner, name, hello| {
        owner.admit(name, SLOT, &hello.endpoints).map_err(|error| error.to_string())
    })
}

/// As [`shake_hands`], with a word of the caller's in what the monitor is admitted to.
///
/// # Errors
/// If it cannot listen.
pub fn shake_hands_as<O: MemoryOwner + 'static>(
    owner: O,
    identity: &Identity,
    monitor: &Certificate,
    admit: impl Fn(&mut O, &str, &Hello) -> Result<Admission, String> + Send + Sync + 'static,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listening")?;
    let address = listener.local_addr()?;
    let acceptor = Arc::new(Acceptor::new(identity, vec![("monitor".to_owned(), monitor.clone())])?);
    let owner = Mutex::new(owner);
    std::thread::spawn(move || {
        serve(&listener, &acceptor, move |monitor, _, hello| {
            let mut owner = owner.lock().unwrap_or_else(PoisonError::into_inner);
            let admission = admit(&mut owner, monitor, hello)?;
            let secret = Secret::generate().map_err(|error| error.to_string())?;
            Ok(Welcome { target: "made-up".to_owned(), admission, secret })
        });
    });
    Ok(address)
}
