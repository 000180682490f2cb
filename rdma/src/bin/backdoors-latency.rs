//! Measures how long a READ takes: over an RDMA device that is its own peer, as perftest's `ib_read_lat` does, or from
//! the emulated NIC of an owner in another process.

use anyhow::{Context, ensure};
use backdoors_rdma::directory::Directory;
use backdoors_rdma::owner::{Client, MAX_ENDPOINTS, MemoryOwner, RegionRequest, Rights};
use backdoors_rdma::verbs::{Device, VerbsDialer, VerbsOwner};
use backdoors_rdma::{Connection, Dialer, RemoteRange, Request, SharedMemory, emulated};
use clap::{Parser, ValueEnum};
use rustix::event::epoll;
use rustix::time::{ClockId, clock_gettime};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Longest time for one READ.
const DEADLINE: Duration = Duration::from_secs(5);
const KIND: u32 = 1;

/// Prints bytes, READs, and their 50th and 99th percentile in microseconds; then READs in a second, and microseconds of
/// this process's processor time for each.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The RDMA device, as `rdma link` shows it; the first one if none is given.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Socket of an owner whose NIC is emulated, to measure that instead.
    #[arg(long, value_name = "PATH")]
    emulated: Option<PathBuf>,
    /// How to ask.
    #[arg(long, value_enum, default_value = "submit")]
    ask: Ask,
    /// Over how many connections, in turn or at once.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    connections: usize,
    /// Length of a READ.
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    /// How many READs.
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    iterations: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Ask {
    /// Wait for each answer.
    Submit,
    /// Start each, sleep until its connection becomes readable, and poll.
    Start,
    /// Start one on every connection, sleep, and poll, until all have ended; then the same again.
    AtOnce,
}

enum Nic {
    Emulated,
    Verbs(Arc<Device>),
}

impl Nic {
    /// The NIC, and an owner of memory behind it.
    fn open(arguments: &Arguments) -> anyhow::Result<(Nic, Box<dyn MemoryOwner>)> {
        if let Some(socket) = &arguments.emulated {
            let owner = Client::connect(socket).context("no owner listens there")?;
            return Ok((Nic::Emulated, Box::new(owner)));
        }
        let device = Arc::new(Device::open(arguments.device.as_deref())?);
        let owner = VerbsOwner::new(Arc::clone(&device));
        Ok((Nic::Verbs(device), Box::new(owner)))
    }

    fn dialer(&self) -> anyhow::Result<Box<dyn Dialer>> {
        Ok(match self {
            Nic::Emulated => Box::new(emulated::Dialer::new(DEADLINE, None)),
            Nic::Verbs(device) => Box::new(VerbsDialer::new(Arc::clone(device), DEADLINE)?),
        })
    }
}

struct Line {
    connection: Box<dyn Connection>,
    range: RemoteRange,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        arguments.size > 0 && arguments.iterations > 0 && arguments.connections > 0,
        "nothing to measure"
    );
    let (nic, mut owner) = Nic::open(&arguments)?;
    let (_memory, fd) = SharedMemory::create("latency", arguments.size)?;
    let length = arguments.size as u64;
    owner.register(
        RegionRequest { kind: KIND, generation: 1, offset: 0, length, rights: Rights::ReadOnly, slot: None },
        fd,
    )?;
    let mut lines = Vec::with_capacity(arguments.connections);
    while lines.len() < arguments.connections {
        let slot = u32::try_from(lines.len() / MAX_ENDPOINTS)?;
        let count = (arguments.connections - lines.len()).min(MAX_ENDPOINTS);
        lines.extend(connect(owner.as_mut(), nic.dialer()?.as_mut(), slot, count)?);
    }

    let used = processor_time();
    let start = Instant::now();
    let mut times = match arguments.ask {
        Ask::Submit => submit(&mut lines, &arguments)?,
        Ask::Start => at_once(&mut lines, &arguments, 1)?,
        Ask::AtOnce => at_once(&mut lines, &arguments, arguments.connections)?,
    };
    let (took, used) = (start.elapsed().as_secs_f64(), processor_time() - used);
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    let count = times.len() as f64;
    println!("{} {} {:.2} {:.2}", arguments.size, times.len(), at(50), at(99));
    eprintln!("{:.0} in a second, {:.2} µs of processor time each", count / took, used * 1e6 / count);
    Ok(())
}

fn connect(
    owner: &mut dyn MemoryOwner,
    dialer: &mut dyn Dialer,
    slot: u32,
    count: usize,
) -> anyhow::Result<Vec<Line>> {
    let endpoints = dialer.prepare(count)?;
    let admission = owner.admit(&format!("latency {slot}"), slot, &endpoints)?;
    let mut connections = dialer.connect(&admission.endpoints)?;
    let connection = connections.first_mut().context("no connection")?;
    let directory = Directory::fetch(connection.as_mut(), admission.directory)?;
    let range = directory.region(KIND).context("the directory does not list the region")?.range;
    Ok(connections.into_iter().map(|connection| Line { connection, range }).collect())
}

/// From one READ to the next, as perftest does.
fn submit(lines: &mut [Line], arguments: &Arguments) -> anyhow::Result<Vec<Duration>> {
    let mut buffer = vec![0; arguments.size];
    let mut times = Vec::with_capacity(arguments.iterations);
    let mut last = Instant::now();
    while times.len() < arguments.iterations {
        for line in &mut *lines {
            line.connection.read(line.range, &mut buffer)?;
            let now = Instant::now();
            times.push(now - last);
            last = now;
        }
    }
    Ok(times)
}

/// From the start of each READ to its end, with so many under way.
fn at_once(lines: &mut [Line], arguments: &Arguments, together: usize) -> anyhow::Result<Vec<Duration>> {
    let watch: OwnedFd = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (index, line) in lines.iter().enumerate() {
        let data = epoll::EventData::new_u64(index as u64);
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&watch, line.connection.readiness(), data, flags)?;
    }
    let mut events = Vec::with_capacity(128);
    let mut buffer = Vec::new();
    let mut times = Vec::with_capacity(arguments.iterations);
    let mut started = vec![Instant::now(); lines.len()];
    let mut first = 0;
    while times.len() < arguments.iterations {
        for index in first..first + together {
            started[index] = Instant::now();
            let line = &mut lines[index];
            line.connection.start(Request::Read(&[line.range]), DEADLINE)?;
        }
        let mut under_way = together;
        while under_way > 0 {
            events.clear();
            epoll::wait(&watch, rustix::buffer::spare_capacity(&mut events), None)?;
            for event in &events {
                let index = event.data.u64() as usize;
                if !(first..first + together).contains(&index) {
                    continue;
                }
                if let Poll::Ready(result) = lines[index].connection.poll(&mut buffer) {
                    result?;
                    times.push(started[index].elapsed());
                    under_way -= 1;
                }
            }
        }
        first = (first + together) % lines.len();
    }
    Ok(times)
}

/// Seconds of processor time this process has used.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
