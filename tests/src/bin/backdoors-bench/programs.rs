//! The kernel's own statistics of the kernel half's programs.

use anyhow::{Context, Result};
use backdoors_tests::host::Host;
use libbpf_rs::Link;
use libbpf_rs::query::ProgInfoIter;
use std::collections::BTreeMap;
use std::fs;

const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// Where the agent pins its kernel half.
pub const PINS: &str = "/sys/fs/bpf/backdoors";

/// Nanoseconds and runs of every program, ever.
pub type Runs = BTreeMap<String, (u64, u64)>;

/// Ids of the programs that the agent attached, with their names.
pub fn of_links(target: &Host) -> Result<BTreeMap<u32, String>> {
    let mut programs = BTreeMap::new();
    for entry in fs::read_dir(target.path(PINS)).context("looking for the kernel half")? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(program) = name.strip_prefix("link_") {
            programs.insert(Link::open(&path)?.info()?.prog_id, program.to_owned());
        }
    }
    Ok(programs)
}

/// What each of them took so far.
pub fn statistics(programs: &BTreeMap<u32, String>) -> Runs {
    ProgInfoIter::default()
        .filter_map(|info| Some((programs.get(&info.id)?.clone(), (info.run_time_ns, info.run_cnt))))
        .collect()
}

/// The kernel measures BPF programs until this is dropped.
pub struct Statistics {
    before: String,
}

impl Statistics {
    pub fn enable() -> Result<Statistics> {
        let before = fs::read_to_string(STATISTICS).context("no statistics of BPF programs")?;
        fs::write(STATISTICS, "1").context("enabling statistics of BPF programs; that needs root")?;
        Ok(Statistics { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        // The kernel took such a value just before.
        let _ = fs::write(STATISTICS, self.before.trim());
    }
}
