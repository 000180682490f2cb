//! What the monitor itself takes.

use super::page::Page;
use prometheus_client::registry::Unit;
use std::fmt;
use std::fs;
use std::path::Path;

/// The thread that reads all targets, by its name.
const SAMPLING: &str = "rounds";

pub(super) fn tell(page: &mut Page<'_>, proc: &Path) -> fmt::Result {
    let own = proc.join("self");
    page.gauge(
        "backdoors_build_info",
        "1; the version is a label.",
        None,
        [([("version", env!("CARGO_PKG_VERSION"))], 1.0)],
    )?;
    let cpu = cpu_time(&own);
    page.single_counter("process_cpu", "CPU time of the monitor.", Some(Unit::Seconds), cpu)?;
    let sampling: f64 = threads(&own).filter(|(name, _)| name == SAMPLING).map(|(_, time)| time).sum();
    page.single_counter(
        "backdoors_sampling_cpu",
        "CPU time of the thread that reads all targets.",
        Some(Unit::Seconds),
        Some(sampling),
    )?;
    let memory = resident(&own);
    page.single_gauge("process_resident_memory", "Memory of the monitor.", Some(Unit::Bytes), memory)?;
    let open = fs::read_dir(own.join("fd")).ok().map(|all| all.count() as f64);
    page.single_gauge("process_open_fds", "Open file descriptors of the monitor.", None, open)
}

fn threads(own: &Path) -> impl Iterator<Item = (String, f64)> {
    fs::read_dir(own.join("task")).into_iter().flatten().flatten().filter_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        Some((name.trim().to_owned(), cpu_time(&task.path())?))
    })
}

/// User and system time, `proc_pid_stat(5)`.
fn cpu_time(folder: &Path) -> Option<f64> {
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // Behind the name, which may have spaces.
    let fields = stat.rsplit(')').next()?.split_whitespace().skip(11).take(2);
    let ticks = fields.map(|field| field.parse::<f64>().ok()).sum::<Option<f64>>()?;
    Some(ticks / rustix::param::clock_ticks_per_second() as f64)
}

fn resident(own: &Path) -> Option<f64> {
    let statm = fs::read_to_string(own.join("statm")).ok()?;
    let pages: f64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as f64)
}
