//! The system below.

use super::bundle::Bundle;
use crate::programs::output;
use std::fs;
use std::time::Duration;

/// Longest wait for a program.
const PATIENCE: Duration = Duration::from_secs(15);

/// Files, by their names in the bundle.
const FILES: [(&str, &str); 8] = [
    ("system/os-release", "/etc/os-release"),
    ("system/meminfo", "/proc/meminfo"),
    ("system/loadavg", "/proc/loadavg"),
    ("system/uptime", "/proc/uptime"),
    ("system/pressure-cpu", "/proc/pressure/cpu"),
    ("system/pressure-memory", "/proc/pressure/memory"),
    ("system/interfaces", "/proc/net/dev"),
    ("system/modules", "/proc/modules"),
];

/// What programs write, by its name in the bundle.
const PROGRAMS: [(&str, &str, &[&str]); 5] = [
    ("system/kernel-log.txt", "dmesg", &[]),
    ("system/addresses.txt", "ip", &["address"]),
    ("system/rdma-links.txt", "rdma", &["link"]),
    (
        "system/units.txt",
        "systemctl",
        &["list-units", "--all", "--full", "--no-pager", "--no-legend", "backdoors*"],
    ),
    ("system/units-log.txt", "journalctl", &["--no-pager", "--lines", "5000", "--unit", "backdoors*"]),
];

pub fn put_into(bundle: &mut Bundle) -> anyhow::Result<()> {
    let name = rustix::system::uname();
    let parts = [name.sysname(), name.nodename(), name.release(), name.version(), name.machine()];
    let parts: Vec<_> = parts.iter().map(|part| part.to_string_lossy()).collect();
    bundle.put("system/uname.txt", Ok(parts.join(" ") + "\n"))?;
    for (name, path) in FILES {
        bundle.put(name, fs::read_to_string(path).map_err(|error| format!("{path}: {error}")))?;
    }
    for (name, program, arguments) in PROGRAMS {
        let said = output(program.as_ref(), arguments, PATIENCE);
        bundle.put(name, said.map_err(|why| format!("`{program}`: {why}")))?;
    }
    Ok(())
}
