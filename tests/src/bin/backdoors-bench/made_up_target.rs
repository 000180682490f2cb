//! A target without a kernel half: a box of as many sensors as are wanted, in memory of this process.

use anyhow::{Context, Result};
use backdoors_rdma::SharedMemory;
use backdoors_rdma::handshake::{Acceptor, Certificate, Identity, Welcome, serve};
use backdoors_rdma::owner::{MemoryOwner, RegionRequest, Rights};
use backdoors_sensor_box::layout::{Capabilities, NO_LIMIT, RegionKind};
use backdoors_sensor_box::writer::{ProcessTable, Sensor, SensorBox, Shape};
use backdoors_sensor_box::{SensorKind, SharedWords};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub const GENERATION: u64 = 1;
const SLOT: u32 = 0;
const COMMAND_BYTES: usize = 64;
const ACKNOWLEDGEMENT_BYTES: usize = 16 * 128;

struct Words(SharedMemory);

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

/// Registers a box of `sensors` progress sensors and what else a monitor expects. The box is bumped every
/// millisecond by a thread, as a kernel half would, so that no sensor stands still.
pub fn register(owner: &mut dyn MemoryOwner, sensors: u32) -> Result<()> {
    let (memory, descriptor) = SharedMemory::create("sensors", 128 + 32 * sensors as usize)?;
    let shape = Shape {
        generation: GENERATION,
        capabilities: Capabilities::KERNEL_HALF,
        cpus: 1,
        tick_period: 1_000_000,
    };
    let sensor_box = SensorBox::lay_out(Words(memory), &shape)?;
    for instance in 0..sensors {
        sensor_box.new_sensor(SensorKind::CPU_TICKS, instance, NO_LIMIT)?;
    }
    std::thread::spawn(move || {
        for value in 0.. {
            for index in 0..sensors as usize {
                sensor_box.set(Sensor::at(index), value);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    show(owner, RegionKind::SENSORS, descriptor, 128 + 32 * u64::from(sensors), Rights::ReadOnly)?;
    let (memory, descriptor) = SharedMemory::create("processes", 64 + 64 * 64)?;
    ProcessTable::lay_out(Words(memory), GENERATION)?;
    show(owner, RegionKind::PROCESSES, descriptor, 64 + 64 * 64, Rights::ReadOnly)?;
    for (kind, bytes, rights) in [
        (RegionKind::COMMAND, COMMAND_BYTES, Rights::Writable),
        (RegionKind::ACKNOWLEDGEMENTS, ACKNOWLEDGEMENT_BYTES, Rights::ReadOnly),
    ] {
        let (_, descriptor) = SharedMemory::create("commands", bytes)?;
        show(owner, kind, descriptor, bytes as u64, rights)?;
    }
    Ok(())
}

fn show(owner: &mut dyn MemoryOwner, kind: u32, memory: OwnedFd, length: u64, rights: Rights) -> Result<()> {
    let slot = (kind == RegionKind::COMMAND).then_some(SLOT);
    owner
        .register(RegionRequest { kind, generation: GENERATION, offset: 0, length, rights, slot }, memory)?;
    Ok(())
}

/// Shakes hands for `owner` from a thread of its own; returns where.
pub fn shake_hands(
    owner: impl MemoryOwner + 'static,
    identity: &Identity,
    monitor: &Certificate,
) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listening")?;
    let address = listener.local_addr()?;
    let acceptor = Arc::new(Acceptor::new(identity, vec![("monitor".to_owned(), monitor.clone())])?);
    let owner = Mutex::new(owner);
    std::thread::spawn(move || {
        serve(&listener, &acceptor, move |monitor, hello| {
            let mut owner = owner.lock().unwrap_or_else(PoisonError::into_inner);
            let admission =
                owner.admit(monitor, SLOT, &hello.endpoints).map_err(|error| error.to_string())?;
            Ok(Welcome { target: "made-up".to_owned(), admission })
        });
    });
    Ok(address)
}
