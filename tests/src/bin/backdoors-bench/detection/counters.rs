//! Counters of this machine's kernel, as a monitor's flight recorder sees them every millisecond.

use anyhow::{Context, Result, bail};
use backdoors_monitor::recorder::{Recording, What, file_of};
use backdoors_sensor_box::{SensorKind, SensorView};
use backdoors_tests::deployment::Deployment;
use backdoors_tests::healing::plan;
use backdoors_tests::host::{Host, HostLimits, Network};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

/// The CPU that monitor, NIC and agent share, so that they disturb no other.
pub const OTHERS_CPU: u32 = 0;
/// How long the load runs in before anything counts, and on after.
pub const MARGIN: Duration = Duration::from_secs(2);

/// Readings in order: when, on the monitor's monotonic clock, and the sensors.
pub type Readings = Vec<(Duration, SensorView)>;

/// Watches the counters for so many seconds while what `load` starts in the hosts, target and monitor, runs.
pub fn watch<L>(seconds: u64, load: impl FnOnce(&Host, &Host) -> Result<L>) -> Result<Readings> {
    let folder = tempfile::tempdir()?;
    let network = Network::new()?;
    let target = Host::boot(&network, "target", Ipv4Addr::new(10, 88, 0, 1), HostLimits::default())?;
    let monitor = Host::boot(&network, "monitor", Ipv4Addr::new(10, 88, 0, 2), HostLimits::default())?;
    // Other programs of this machine delay no reading, as they would not on a monitor of its own.
    let mut plan = plan("emulated", "chrt --fifo 40 taskset -c 0 ");
    plan.monitor = format!("recorder = \"{}\"\nrecorder_bytes = 67108864\n", folder.path().display());
    plan.watch = "period = \"1ms\"\nfastest = \"1ms\"\nconnections = 2\n".to_owned();
    plan.healers.clear();
    let mut deployment = Deployment::install(&target, &monitor, plan)?;
    for program in ["backdoors-nic", "backdoors-agent"] {
        target.shell(&format!("for p in $(pidof {program}); do taskset -a -c -p {OTHERS_CPU} $p; done"))?;
    }
    deployment.start_daemon()?;
    let _load = load(&target, &monitor)?;
    std::thread::sleep(2 * MARGIN + Duration::from_secs(seconds));
    let readings = read(folder.path(), Duration::from_secs(seconds))?;
    drop(deployment);
    Ok(readings)
}

/// The last readings but for the margin.
fn read(folder: &Path, length: Duration) -> Result<Readings> {
    let recording = Recording::read(&file_of(folder, "target"))?;
    let mut readings = Vec::new();
    let mut playback = recording.play();
    while let Some(moment) = playback.next() {
        if let What::Reading { .. } = moment.what {
            readings.push((moment.at, playback.view().clone()));
        }
    }
    let (end, _) = readings.last().context("nothing was recorded")?;
    let end = end.saturating_sub(MARGIN);
    let begin = end.saturating_sub(length);
    readings.retain(|(at, _)| (begin..=end).contains(at));
    let expected = length.as_millis() as usize;
    if readings.len() < expected / 4 {
        bail!("{} readings where {expected} should be: this machine is too busy", readings.len());
    }
    Ok(readings)
}

/// A counter's sum over all CPUs.
pub fn sum(view: &SensorView, kind: SensorKind) -> u64 {
    view.of_kind(kind).map(|reading| reading.value).sum()
}
