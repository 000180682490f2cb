//! The daemon's share of a CPU while it samples a box of 100 sensors.

use crate::daemon::{Running, program, schedstat};
use crate::statistics::row;
use anyhow::{Context, Result, bail};
use backdoors_rdma::handshake::Identity;
use backdoors_rdma::{Provider, Session, SessionConfig, emulated};
use backdoors_sensor_box::layout::RegionKind;
use backdoors_tests::made_up_target::{bump, register, shake_hands};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Arguments {
    /// Sensors in the box
    #[arg(long, default_value_t = 100)]
    sensors: u32,
    /// Seconds to measure at each period
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// What the thesis measured at these periods (section 3.9.3), percent of a CPU.
const PERIODS: [(u64, f64); 2] = [(100, 1.0), (10, 5.0)];

pub fn run(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [target, monitor] = ["target", "monitor"].map(Identity::generate);
    let (target, monitor) = (target?, monitor?);
    target.save(folder.path())?;
    monitor.save(folder.path())?;
    let mut nic = emulated::Nic::new(([127, 0, 0, 1], 0).into(), None)?;
    bump(&register(&mut nic, arguments.sensors)?)?;
    let address = shake_hands(nic, &target, monitor.certificate())?;
    let mut rows = Vec::new();
    for (period, thesis) in PERIODS {
        let session = Session::open(&SessionConfig {
            address,
            target_certificate: target.certificate().clone(),
            identity: monitor.clone(),
            provider: Provider::Emulated,
            connections: 1,
            deadline: Duration::from_secs(5),
        })?;
        let bare = bare_reads(session, Duration::from_millis(period), arguments.seconds / 2)?;
        let config = format!(
            "name = \"monitor\"\nidentity = \".\"\nsocket = \"{period}.sock\"\njournal = \"{period}.jsonl\"\n\
             [[target]]\nname = \"target\"\naddress = \"{address}\"\ncertificate = \"target.crt\"\nperiod = \"{period}ms\"\n"
        );
        let file = folder.path().join(format!("{period}.toml"));
        fs::write(&file, config)?;
        let mut command = Command::new(program("backdoors")?);
        command.args(["monitor", "--config"]).arg(&file);
        let daemon = Running::start(command)?;
        wait_until_connected(&folder.path().join(format!("{period}.jsonl")))?;
        // The handshake's cost is not the sampling's.
        std::thread::sleep(Duration::from_secs(1));
        let (begun, before) = (Instant::now(), daemon.cpu_time(None)?);
        std::thread::sleep(Duration::from_secs(arguments.seconds));
        let share = (daemon.cpu_time(None)? - before).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
        println!(
            "monitor's CPU share, {} sensors every {period} ms: {share:.3} % (thesis {thesis} %, aim {:.1} %); of a loop \
             that does nothing but READ as many bytes: {bare:.3} %",
            arguments.sensors,
            thesis / 10.0
        );
        rows.push((period, share, thesis / 10.0));
    }
    for (period, share, aim) in rows {
        let what = format!("monitor's CPU share, {} sensors every {period} ms", arguments.sensors);
        row(&what, &format!("{share:.3} %"), &format!("{aim:.1} %"), share / aim);
    }
    Ok(())
}

/// The CPU share, in percent, of a thread that READs the sensor box once a period: what the way to memory costs
/// whoever takes it.
fn bare_reads(mut session: Session, period: Duration, seconds: u64) -> Result<f64> {
    let range = session.region(RegionKind::SENSORS).context("no sensor box")?.range;
    let mut bytes = vec![0; usize::try_from(range.length)?];
    let reader = std::thread::spawn(move || -> Result<f64> {
        let cpu_time = || schedstat("/proc/thread-self/schedstat".as_ref());
        let (begun, before) = (Instant::now(), cpu_time()?);
        while begun.elapsed() < Duration::from_secs(seconds) {
            session.read(range, &mut bytes)?;
            std::thread::sleep(period);
        }
        Ok((cpu_time()? - before) as f64 / begun.elapsed().as_nanos() as f64 * 100.0)
    });
    reader.join().unwrap_or_else(|_| bail!("the reader panicked"))
}

fn wait_until_connected(journal: &std::path::Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !fs::read_to_string(journal).unwrap_or_default().contains("\"connected\"") {
        if Instant::now() > deadline {
            bail!("the daemon does not connect");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
