//! Clocks.

use super::text;
use crate::programs::output;
use std::time::Duration;

/// Programs that keep a clock right, by the names of their processes.
const KEEPERS: [&str; 5] = ["chronyd", "ntpd", "ntpsec", "openntpd", "phc2sys"];

/// What the clocks are like.
#[derive(Debug, Default)]
pub struct Clock {
    /// What the kernel tells time by.
    pub source: Option<String>,
    /// Whether somebody keeps the wall clock right; `None`: not known.
    pub synchronised: Option<bool>,
}

impl Clock {
    pub fn gather() -> Clock {
        Clock {
            source: text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            synchronised: by_systemd().or_else(by_processes),
        }
    }
}

fn by_systemd() -> Option<bool> {
    let arguments = ["show", "--property", "NTPSynchronized", "--value"];
    let said = output("timedatectl".as_ref(), &arguments, Duration::from_secs(5)).ok()?;
    match said.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// Who keeps a clock is taken to keep it right.
fn by_processes() -> Option<bool> {
    let mut names = std::fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("comm")).ok());
    Some(names.any(|name| KEEPERS.contains(&name.trim())))
}
