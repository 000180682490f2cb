//! A fetch of the sensor box against one raw READ of as many bytes, in turn, on one connection.

use crate::statistics::{median, microseconds, row};
use anyhow::{Context, Result, bail};
use backdoors_rdma::directory::Directory;
use backdoors_rdma::emulated;
use backdoors_rdma::owner::MemoryOwner;
use backdoors_rdma::verbs::{Device, VerbsDialer, VerbsOwner};
use backdoors_rdma::{AccessError, Connection, Dialer};
use backdoors_sensor_box::SensorFetcher;
use backdoors_sensor_box::layout::RegionKind;
use backdoors_tests::made_up_target::{bump, register};
use std::sync::Arc;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub struct Arguments {
    /// `emulated` or `verbs`
    #[arg(long, default_value = "emulated")]
    provider: String,
    /// Sensors in the box
    #[arg(long, default_value_t = 100)]
    sensors: u32,
    /// Fetches, and as many raw READs
    #[arg(long, default_value_t = 2000)]
    rounds: usize,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let (mut owner, mut dialer): (Box<dyn MemoryOwner>, Box<dyn Dialer>) = match arguments.provider.as_str() {
        "emulated" => {
            let nic = emulated::Nic::new(([127, 0, 0, 1], 0).into(), None)?;
            (Box::new(nic), Box::new(emulated::Dialer::new(DEADLINE, None)))
        }
        "verbs" => {
            let device = Arc::new(Device::open(None)?);
            (Box::new(VerbsOwner::new(Arc::clone(&device))), Box::new(VerbsDialer::new(device, DEADLINE)?))
        }
        other => bail!("no provider `{other}`"),
    };
    bump(&register(owner.as_mut(), arguments.sensors)?)?;
    let endpoints = dialer.prepare(1)?;
    let admission = owner.admit("monitor", 0, &endpoints)?;
    let mut connections = dialer.connect(&admission.endpoints)?;
    let connection: &mut dyn Connection = connections.first_mut().context("no connection")?.as_mut();
    let directory = Directory::fetch(connection, admission.directory)?;
    let range = directory.region(RegionKind::SENSORS).context("no sensor box")?.range;

    let mut fetcher = SensorFetcher::default();
    let mut raw = vec![0; usize::try_from(range.length)?];
    let (mut fetches, mut reads) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        let begun = Instant::now();
        let view = fetcher.fetch(range.length, |offset, into: &mut [u8]| {
            let length = into.len() as u64;
            let from = range.slice(offset, length).ok_or(AccessError::Invalid("outside the box"))?;
            connection.read(from, into)
        })?;
        let seen = view.sensors.len();
        fetches.push(begun.elapsed());
        if seen != arguments.sensors as usize {
            bail!("{seen} sensors were fetched");
        }
        let begun = Instant::now();
        connection.read(range, &mut raw)?;
        reads.push(begun.elapsed());
    }
    let fetch = median(&mut fetches).context("no rounds")?;
    let read = median(&mut reads).context("no rounds")?;
    println!(
        "fetch of {} sensors ({} bytes), {}: p50 {:.1} us; raw READ of as many bytes: p50 {:.1} us; ratio {:.2}",
        arguments.sensors,
        range.length,
        arguments.provider,
        microseconds(fetch),
        microseconds(read),
        fetch.as_secs_f64() / read.as_secs_f64()
    );
    row(
        &format!("fetch of {} sensors, {}", arguments.sensors, arguments.provider),
        &format!("{:.1} us", microseconds(fetch)),
        &format!("1.15 of a raw READ, {:.1} us", microseconds(read)),
        fetch.as_secs_f64() / read.as_secs_f64(),
    );
    Ok(())
}
