//! `memory-hog`: finds who holds the memory that a machine lacks, and proposes to kill the smallest unit that is enough
//! (thesis, section 3.7.2).

mod pace;
mod policy;
mod shortage;
mod strikes;
mod table;
#[cfg(test)]
mod tests;

use crate::registry::{SettingsError, Users, read_settings};
use crate::spared::Spared;
use crate::users::UserReference;
use crate::{Case, Diagnosis, Evidence, Healer, Repair, duration};
use backdoors_sensor_box::{Opcode, Process, SensorKind, SensorView};
use pace::Pace;
use policy::{Blame, Policy};
use shortage::Shortage;
use std::collections::BTreeSet;
use std::time::Duration;
use strikes::{Strikes, Width};
use table::Table;

/// The healing module against memory hogs. It speaks while memory is short: available memory below its limit with swap space
/// short or work standing still, or nearly so after the kernel has killed for want of memory or while it is gone in no time.
///
/// While memory is gone within seconds it blames only who accounts for that: those whose memory, over their age, makes up half
/// of the rate at which it shrinks. Two of ten children that all grow are not enough then, whatever they hold. Should nobody be,
/// it does not ask for that.
///
/// Its settings, all optional:
///
/// | key | default | meaning |
/// | --- | --- | --- |
/// | `policies` | `largest-process`, `largest-tree`, `largest-user` | which units to blame, narrowest first; `largest-cgroup` is one more |
/// | `combine` | `nested` | `any`: the first policy that finds enough memory decides; `nested`: so, too, but they first look only at the user who holds most of what may be killed; `all`: only if all find somebody, and the first one's victims are among those of the others |
/// | `relief` | 2.0 | a repair is enough if it brings available memory to this multiple of its limit |
/// | `swap_share` | 0.1 | swap space is short when less than this share of it is free |
/// | `least_share` | 0.05 | share of memory and swap space that a process, or a wider unit, must hold to be blamed |
/// | `most_processes` | 4 | most processes that `largest-process` names together |
/// | `relapse` | `"60s"` | if memory is short again within this time and those struck are gone, what their kin holds is laid at the next wider unit |
/// | `spare` | none | users whose processes are never proposed, by number, or by name if the target's `users` table has it |
/// | `spare_below` | 1000 | users with lower numbers are spared |
/// | `spare_commands` | none | commands whose processes are spared, as the process table shows them |
/// | `spare_cgroups` | none | control groups whose processes are spared, by the last component of their path |
///
/// A repair can wait for as long as memory lasts at the rate at which it shrinks. It cannot if work stands still or the kernel
/// kills for want of memory already, if kin of the victims was struck in vain, or if nobody knows the rate.
///
/// A tree, user or control group with a spared process in it is spared as a whole. Processes of root, process 1, kernel threads
/// and the agent are never proposed, whatever the settings say.
#[derive(Clone, Debug)]
pub struct MemoryHog {
    settings: Settings,
    spared: Spared,
    strikes: Strikes,
    pace: Pace,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    policies: Vec<Policy>,
    combine: Combine,
    relief: f64,
    swap_share: f64,
    least_share: f64,
    most_processes: usize,
    #[serde(with = "duration")]
    relapse: Duration,
    spare: Vec<UserReference>,
    spare_below: u32,
    spare_commands: BTreeSet<String>,
    spare_cgroups: BTreeSet<String>,
}

/// How several policies make one diagnosis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Combine {
    /// The first policy that finds enough among the processes of the user who holds most, or else among all. A large process is
    /// not struck for a user with many small ones.
    Nested,
    Any,
    All,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            policies: vec![Policy::Process, Policy::Tree, Policy::User],
            combine: Combine::Nested,
            relief: 2.0,
            swap_share: 0.1,
            least_share: 0.05,
            most_processes: 4,
            relapse: Duration::from_secs(60),
            spare: Vec::new(),
            spare_below: 1000,
            spare_commands: BTreeSet::new(),
            spare_cgroups: BTreeSet::new(),
        }
    }
}

/// Memory that lasts for less is nearly gone: as long as a repair may take.
const SOON: Duration = Duration::from_millis(500);
/// Memory that lasts for less must be kept from those who take it, not only be freed.
const RUSH: Duration = Duration::from_secs(3);
/// The part of the rate that who is blamed accounts for then.
const PART_OF_RUSH: f64 = 0.5;

impl MemoryHog {
    /// Its name in the configuration.
    pub const NAME: &'static str = "memory-hog";
    /// What its repairs may consist of.
    pub const MAY: &'static [Opcode] =
        &[Opcode::KillProcess, Opcode::KillTree, Opcode::KillUser, Opcode::KillCgroup];
    /// What it is against.
    pub const ABOUT: &'static str = "who holds the memory that the machine lacks";

    /// Makes the healer from its settings.
    pub(crate) fn build(settings: toml::Table, users: &Users) -> Result<Box<dyn Healer>, SettingsError> {
        Ok(Box::new(MemoryHog::new(settings, users)?))
    }

    fn new(settings: toml::Table, users: &Users) -> Result<MemoryHog, SettingsError> {
        let settings: Settings = read_settings(Self::NAME, settings)?;
        let senseless = |problem: String| SettingsError::Senseless { healer: Self::NAME.into(), problem };
        if settings.policies.is_empty() {
            return Err(senseless("`policies` is empty: name at least one, or leave the healer out".into()));
        }
        if !(1.0..=100.0).contains(&settings.relief) {
            return Err(senseless(format!("`relief` is {}: say 1 to 100", settings.relief)));
        }
        for (key, share) in [("swap_share", settings.swap_share), ("least_share", settings.least_share)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(senseless(format!("`{key}` is {share}: say 0 to 1")));
            }
        }
        if !(1..=Repair::MOST).contains(&settings.most_processes) {
            return Err(senseless(format!(
                "`most_processes` is {}: say 1 to {}",
                settings.most_processes,
                Repair::MOST
            )));
        }
        if settings.relapse > Duration::from_secs(86_400) {
            return Err(senseless("`relapse` must be at most 24h".into()));
        }
        let spared = Spared::new(&settings.spare, settings.spare_below, &settings.spare_commands, users);
        let spared = spared.map_err(senseless)?;
        Ok(MemoryHog { settings, spared, strikes: Strikes::default(), pace: Pace::default() })
    }

    fn spares(&self, process: &Process) -> bool {
        self.spared.has(process) || self.settings.spare_cgroups.contains(&process.cgroup_name)
    }

    /// How long a repair of this can wait.
    fn time(&self, shortage: &Shortage, table: &Table<'_>, blame: &Blame) -> Duration {
        let in_vain = |process| self.strikes.has_lost_kin(process, Width::Processes, table);
        let struck = |process: &&Process| blame.victims.contains(&(process.pid, process.start));
        if shortage.is_acute || table.all().filter(struck).any(in_vain) {
            return Duration::ZERO;
        }
        self.pace.lasts()
    }

    /// The narrowest unit that is enough, or why there is none. `rate` is how fast memory shrinks if that matters.
    fn blame(&self, shortage: &Shortage, table: &mut Table<'_>, rate: Option<f64>) -> Result<Blame, String> {
        match self.settings.combine {
            Combine::Nested => {
                table.look_only_at(table.largest_user());
                let nested = self.first_blame(shortage, table, rate);
                table.look_only_at(None);
                nested.or_else(|_| self.first_blame(shortage, table, rate))
            }
            Combine::Any => self.first_blame(shortage, table, rate),
            Combine::All => self.common_blame(shortage, table),
        }
    }

    /// What the first policy finds that finds enough, and accounts for the rate if one does.
    fn first_blame(
        &self,
        shortage: &Shortage,
        table: &Table<'_>,
        rate: Option<f64>,
    ) -> Result<Blame, String> {
        let mut enough = None;
        let mut reasons = Vec::new();
        for policy in &self.settings.policies {
            match policy.blame(self, shortage, table) {
                Ok(blame) if rate.is_none_or(|rate| table.growth(&blame.victims) >= PART_OF_RUSH * rate) => {
                    return Ok(blame);
                }
                Ok(blame) => drop(enough.get_or_insert(blame)),
                Err(reason) => reasons.push(format!("{policy}: {reason}")),
            }
        }
        enough.ok_or_else(|| reasons.join("; "))
    }

    /// What the first policy finds, if the others agree.
    fn common_blame(&self, shortage: &Shortage, table: &Table<'_>) -> Result<Blame, String> {
        let mut found = Vec::new();
        let mut reasons = Vec::new();
        for policy in &self.settings.policies {
            match policy.blame(self, shortage, table) {
                Ok(blame) => found.push(blame),
                Err(reason) => reasons.push(format!("{policy}: {reason}")),
            }
        }
        if !reasons.is_empty() || found.is_empty() {
            return Err(reasons.join("; "));
        }
        let first = found.swap_remove(0);
        match found.iter().find(|other| !first.victims.is_subset(&other.victims)) {
            Some(other) => Err(format!("the policies do not agree: {}, but {}", first.text, other.text)),
            None => Ok(first),
        }
    }
}

impl Healer for MemoryHog {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn watches(&self) -> &[SensorKind] {
        &[SensorKind::MEMORY_AVAILABLE, SensorKind::MEMORY_STALLED, SensorKind::OOM_KILLS]
    }

    fn settings(&self) -> toml::Table {
        toml::Table::try_from(&self.settings).unwrap_or_default()
    }

    fn read(&mut self, now: Duration, sensors: &SensorView) {
        self.pace.read(now, sensors);
    }

    fn examine(&mut self, case: &Case<'_>) -> Diagnosis {
        self.pace.read(case.now, case.sensors);
        self.strikes.forget_before(case.now.saturating_sub(self.settings.relapse));
        let shortage = match Shortage::of(case, &self.settings, self.pace.rush(SOON).is_some()) {
            Ok(shortage) => shortage,
            Err(reason) => return Diagnosis::Nothing { reason },
        };
        let mut table =
            Table::new(&case.processes.processes, case.sensors.clock, |process| self.spares(process));
        let blame = match self.blame(&shortage, &mut table, self.pace.rush(RUSH)) {
            Ok(blame) => blame,
            Err(reason) => {
                return Diagnosis::Nothing { reason: format!("{}; {reason}", shortage.evidence[0].text) };
            }
        };
        let time = self.time(&shortage, &table, &blame);
        self.strikes.add(case.now, blame.width, &table, &blame.victims);
        let Blame { policy, culprit, commands, victims, bytes, text, .. } = blame;
        let mut evidence = vec![Evidence { name: policy.name().into(), text, value: bytes, limit: None }];
        evidence.extend(shortage.evidence);
        evidence.push(Evidence {
            name: "relief".into(),
            text: format!("{} would be freed, {} are needed", mebibytes(bytes), mebibytes(shortage.need)),
            value: bytes,
            limit: Some(shortage.need),
        });
        let repair = Repair::new(commands).within(time);
        Diagnosis::Culprit { culprit, evidence, repair, victims: victims.len() as u64 }
    }
}

/// An amount of memory for people.
fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
