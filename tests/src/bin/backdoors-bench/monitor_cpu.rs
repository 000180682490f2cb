//! The daemon's share of a CPU while it samples a box of 100 sensors.

use crate::made_up_target::{register, shake_hands};
use anyhow::{Context, Result, bail};
use backdoors_rdma::emulated;
use backdoors_rdma::handshake::Identity;
use std::fs;
use std::process::{Child, Command, Stdio};
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
    register(&mut nic, arguments.sensors)?;
    let address = shake_hands(nic, &target, monitor.certificate())?;
    for (period, thesis) in PERIODS {
        let config = format!(
            "name = \"monitor\"\nidentity = \".\"\nsocket = \"{period}.sock\"\njournal = \"{period}.jsonl\"\n\
             [[target]]\nname = \"target\"\naddress = \"{address}\"\ncertificate = \"target.crt\"\nperiod = \"{period}ms\"\n"
        );
        let file = folder.path().join(format!("{period}.toml"));
        fs::write(&file, config)?;
        let program = std::env::current_exe()?.with_file_name("backdoors");
        let mut daemon = Daemon(
            Command::new(&program)
                .args(["monitor", "--config"])
                .arg(&file)
                .stderr(Stdio::null())
                .spawn()
                .with_context(|| format!("starting {}", program.display()))?,
        );
        wait_until_connected(&folder.path().join(format!("{period}.jsonl")))?;
        // The handshake's cost is not the sampling's.
        std::thread::sleep(Duration::from_secs(1));
        let (begun, before) = (Instant::now(), daemon.cpu_time()?);
        std::thread::sleep(Duration::from_secs(arguments.seconds));
        let share = (daemon.cpu_time()? - before).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
        println!(
            "monitor's CPU share, {} sensors every {period} ms: {share:.3} % (thesis {thesis} %, aim {:.1} %)",
            arguments.sensors,
            thesis / 10.0
        );
    }
    Ok(())
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

struct Daemon(Child);

impl Daemon {
    /// CPU time used so far by all its threads, to the nanosecond.
    fn cpu_time(&mut self) -> Result<Duration> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            total += text.split_whitespace().next().context("no schedstat")?.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(total))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
