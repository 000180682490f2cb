//! `runaway`: finds a process that keeps processors busy for longer than it should, and proposes to kill it.

#[cfg(test)]
mod tests;
mod tracks;

use crate::registry::{SettingsError, Users, read_settings};
use crate::spared::Spared;
use crate::users::UserReference;
use crate::{Case, Culprit, Diagnosis, Evidence, Healer, Repair, duration};
use backdoors_sensor_box::{Command, Opcode, Process, SensorKind};
use std::collections::BTreeSet;
use std::time::Duration;
use tracks::{Tracks, Usage};

/// The healing module against runaway processes. No sensor calls it: it looks by itself, and compares the CPU time
/// that processes used between its own looks. Each look reads the target's process table.
///
/// Its settings, all optional:
///
/// | key | default | meaning |
/// | --- | --- | --- |
/// | `level` | 0.9 | CPUs that a process may hold on average |
/// | `for` | `"30s"` | how long it may hold more; what is averaged is this long at least, and twice that at most |
/// | `every` | `"1s"` | how often to look, at least 1 s and at most half of `for` |
/// | `spare` | none | users whose processes are never proposed, by number, or by name if the target's `users` table has it |
/// | `spare_below` | 1000 | users with lower numbers are spared |
/// | `spare_commands` | none | commands whose processes are never proposed, as the process table shows them: 15 letters at most |
///
/// Processes of root, process 1, kernel threads and the agent are never proposed, whatever the settings say.
#[derive(Clone, Debug)]
pub struct Runaway {
    settings: Settings,
    spared: Spared,
    tracks: Tracks,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    level: f64,
    #[serde(rename = "for", with = "duration")]
    lasting: Duration,
    #[serde(with = "duration")]
    every: Duration,
    spare: Vec<UserReference>,
    spare_below: u32,
    spare_commands: BTreeSet<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            level: 0.9,
            lasting: Duration::from_secs(30),
            every: Duration::from_secs(1),
            spare: Vec::new(),
            spare_below: 1000,
            spare_commands: BTreeSet::new(),
        }
    }
}

impl Runaway {
    /// Its name in the configuration.
    pub const NAME: &'static str = "runaway";
    /// What its repairs may consist of.
    pub const MAY: &'static [Opcode] = &[Opcode::KillProcess];
    /// What it is against.
    pub const ABOUT: &'static str = "a process that keeps processors busy for too long";

    /// Makes the healer from its settings.
    pub(crate) fn build(settings: toml::Table, users: &Users) -> Result<Box<dyn Healer>, SettingsError> {
        Ok(Box::new(Runaway::new(settings, users)?))
    }

    fn new(settings: toml::Table, users: &Users) -> Result<Runaway, SettingsError> {
        let settings: Settings = read_settings(Self::NAME, settings)?;
        let senseless = |problem: String| SettingsError::Senseless { healer: Self::NAME.into(), problem };
        if !(0.05..=4096.0).contains(&settings.level) {
            return Err(senseless(format!("`level` is {}: say 0.05 to 4096 CPUs", settings.level)));
        }
        if !(Duration::from_secs(2)..=Duration::from_secs(86_400)).contains(&settings.lasting) {
            return Err(senseless("`for` must be between 2s and 24h".into()));
        }
        if !(Duration::from_secs(1)..=settings.lasting / 2).contains(&settings.every) {
            return Err(senseless("`every` must be between 1s and half of `for`".into()));
        }
        let spared = Spared::new(&settings.spare, settings.spare_below, &settings.spare_commands, users);
        let spared = spared.map_err(senseless)?;
        Ok(Runaway { settings, spared, tracks: Tracks::default() })
    }

    fn blame(&self, process: &Process, usage: &Usage) -> Diagnosis {
        let Process { pid, user, command, start, rss, .. } = process;
        let level = self.settings.level;
        let name = |name: &'static str| std::borrow::Cow::Borrowed(name);
        let evidence = vec![
            Evidence {
                name: name("cpu-time"),
                text: format!(
                    "process {pid} ({command}) of user {user} held {:.2} CPUs on average over {:.1} s (level {level})",
                    usage.average(),
                    usage.window.as_secs_f64()
                ),
                value: usage.used,
                limit: Some((usage.window.as_nanos() as f64 * level) as u64),
            },
            Evidence {
                name: name("busy"),
                text: format!(
                    "it was busy in {:.0} % of that time, and is",
                    100.0 * usage.busy.as_secs_f64() / usage.window.as_secs_f64()
                ),
                value: u64::try_from(usage.busy.as_nanos()).unwrap_or(u64::MAX),
                limit: None,
            },
            Evidence {
                name: name("memory"),
                text: format!("{} KiB of memory would be free without it", rss / 1024),
                value: *rss,
                limit: None,
            },
        ];
        let repair = Command::of_process(Opcode::KillProcess, *pid, *start);
        Diagnosis::Culprit {
            culprit: Culprit::Process { pid: *pid },
            evidence,
            repair: Repair::one(repair),
            victims: 1,
        }
    }
}

impl Healer for Runaway {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn watches(&self) -> &[SensorKind] {
        &[]
    }

    fn looks_every(&self) -> Option<Duration> {
        Some(self.settings.every)
    }

    fn settings(&self) -> toml::Table {
        toml::Table::try_from(&self.settings).unwrap_or_default()
    }

    fn examine(&mut self, case: &Case<'_>) -> Diagnosis {
        let Settings { level, lasting, .. } = self.settings;
        self.tracks.look(case, lasting, level);
        let mut most: Option<(&Process, Usage)> = None;
        let mut spared: Option<(&Process, Usage)> = None;
        for process in &case.processes.processes {
            let Some(usage) = self.tracks.usage(process, lasting) else { continue };
            // A moment in which it jumped would do for the average, so it must have been busy most of the time.
            let runs_away = usage.average() > level && usage.busy * 2 > usage.window && usage.is_busy;
            let worst = if self.spared.has(process) { &mut spared } else { &mut most };
            if runs_away && worst.as_ref().is_none_or(|(_, other)| usage.average() > other.average()) {
                *worst = Some((process, usage));
            }
        }
        match (most, spared) {
            (Some((process, usage)), _) => self.blame(process, &usage),
            (None, Some((process, usage))) => Diagnosis::Nothing {
                reason: format!(
                    "process {} ({}) of user {} held {:.2} CPUs over {:.1} s, and is spared",
                    process.pid,
                    process.command,
                    process.user,
                    usage.average(),
                    usage.window.as_secs_f64()
                ),
            },
            (None, None) => Diagnosis::Nothing {
                reason: format!(
                    "no process held more than {level} CPUs for {} as far as it looked",
                    duration::text(lasting)
                ),
            },
        }
    }
}
