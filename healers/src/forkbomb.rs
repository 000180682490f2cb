//! `forkbomb`: finds the user who floods the process table, and proposes to kill all of that user's processes
//! (thesis, section 3.7.2).

mod census;
mod policy;
#[cfg(test)]
mod tests;

use crate::registry::{SettingsError, Users, read_settings};
use crate::users::{UserReference, resolve_all};
use crate::{Case, Culprit, Diagnosis, Evidence, Healer, Repair, duration};
use backdoors_sensor_box::layout::Capabilities;
use backdoors_sensor_box::{Command, MOST_REFUSED, Opcode, SensorKind};
use census::Census;
use policy::{Policy, Verdict};
use std::collections::BTreeSet;
use std::time::Duration;

/// The healing module against fork bombs.
///
/// Its settings, all optional:
///
/// | key | default | meaning |
/// | --- | --- | --- |
/// | `policies` | all three, in the order of the thesis | which of `too-many-processes`, `rate-too-high`, `tree-too-deep` to apply |
/// | `combine` | `any` | `any`: the first policy that finds a culprit decides; `all`: only a user found by every policy is one |
/// | `tree_depth` | 32 | depth of the process tree above which `tree-too-deep` speaks |
/// | `least_share` | 0.5 | if only the machine's limit on processes is broken, the share of all processes a user must hold to stand out |
/// | `spare` | none | further users never proposed, by number, or by name if the target's `users` table has it |
/// | `spare_below` | 1000 | users with lower numbers are never proposed: system users, by the convention of Linux distributions |
/// | `most_victims` | 0 | most processes one repair may kill; 0: no bound |
/// | `refuse_forks` | `"0s"` | have forks of the user fail for that long before its processes are killed, where the target's kernel can; 0s: not |
///
/// It never waits: a bomb grows while one does.
///
/// Root is never proposed, whatever the settings say. Process 1, kernel threads and the agent never count towards
/// a user, and the target refuses to kill them besides.
#[derive(Clone, Debug)]
pub struct ForkBomb {
    policies: Vec<Policy>,
    combine: Combine,
    tree_depth: u32,
    least_share: f64,
    spare: BTreeSet<u32>,
    spare_below: u32,
    most_victims: u64,
    refuse_forks: Duration,
    settings: toml::Table,
}

/// How the verdicts of several policies make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Combine {
    Any,
    All,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    policies: Vec<Policy>,
    combine: Combine,
    tree_depth: u32,
    least_share: f64,
    spare: Vec<UserReference>,
    spare_below: u32,
    most_victims: u64,
    #[serde(with = "duration")]
    refuse_forks: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            policies: vec![Policy::TooManyProcesses, Policy::RateTooHigh, Policy::TreeTooDeep],
            combine: Combine::Any,
            tree_depth: 32,
            least_share: 0.5,
            spare: Vec::new(),
            spare_below: 1000,
            most_victims: 0,
            refuse_forks: Duration::ZERO,
        }
    }
}

impl ForkBomb {
    /// Its name in the configuration.
    pub const NAME: &'static str = "forkbomb";
    /// What its repairs may consist of.
    pub const MAY: &'static [Opcode] = &[Opcode::RefuseForks, Opcode::KillUser];
    /// What it is against.
    pub const ABOUT: &'static str = "a user who floods the machine with processes";

    /// Makes the healer from its settings.
    pub(crate) fn build(settings: toml::Table, users: &Users) -> Result<Box<dyn Healer>, SettingsError> {
        Ok(Box::new(ForkBomb::new(settings, users)?))
    }

    fn new(settings: toml::Table, users: &Users) -> Result<ForkBomb, SettingsError> {
        let settings: Settings = read_settings(Self::NAME, settings)?;
        let senseless = |problem: String| SettingsError::Senseless { healer: Self::NAME.into(), problem };
        if settings.policies.is_empty() {
            return Err(senseless("`policies` is empty: name at least one, or leave the healer out".into()));
        }
        if !(0.0..=1.0).contains(&settings.least_share) {
            return Err(senseless(format!("`least_share` is {}: say 0 to 1", settings.least_share)));
        }
        if settings.refuse_forks > Duration::from_nanos(MOST_REFUSED) {
            return Err(senseless(format!(
                "`refuse_forks` must be at most {}",
                duration::text(Duration::from_nanos(MOST_REFUSED))
            )));
        }
        let spare = resolve_all(&settings.spare, "spare", users).map_err(senseless)?;
        let in_force = toml::Table::try_from(&settings).unwrap_or_default();
        Ok(ForkBomb {
            policies: settings.policies,
            combine: settings.combine,
            tree_depth: settings.tree_depth,
            least_share: settings.least_share,
            spare,
            spare_below: settings.spare_below,
            most_victims: settings.most_victims,
            refuse_forks: settings.refuse_forks,
            settings: in_force,
        })
    }

    fn spares(&self, user: u32) -> bool {
        user == 0 || user < self.spare_below || self.spare.contains(&user)
    }

    /// The user to blame, with the evidence of every policy against that user.
    fn combine(&self, verdicts: &[Verdict]) -> Option<(u32, Vec<Evidence>)> {
        let user = match self.combine {
            Combine::Any => verdicts.iter().find_map(|verdict| verdict.suspects.first())?.user,
            Combine::All => {
                let (first, others) = verdicts.split_first()?;
                let blamed_by_all = |user: u32| {
                    others.iter().all(|verdict| verdict.suspects.iter().any(|other| other.user == user))
                };
                first.suspects.iter().find(|suspect| blamed_by_all(suspect.user))?.user
            }
        };
        let against =
            verdicts.iter().flat_map(|verdict| &verdict.suspects).filter(|suspect| suspect.user == user);
        Some((user, against.map(|suspect| suspect.evidence.clone()).collect()))
    }

    /// The command that has forks of the user fail, if it is wanted; or that the target has no way to.
    fn refuse_forks(&self, case: &Case<'_>, user: u32) -> Result<Option<Command>, Evidence> {
        let Ok(time @ 1..) = u64::try_from(self.refuse_forks.as_nanos()) else { return Ok(None) };
        if case.sensors.capabilities & Capabilities::KERNEL_REFUSES_FORKS == 0 {
            return Err(Evidence {
                name: "refuse-forks".into(),
                text: "its forks go on until it is killed: the target's kernel has no way to refuse them"
                    .into(),
                value: 0,
                limit: None,
            });
        }
        Ok(Some(Command { argument: time, ..Command::new(Opcode::RefuseForks, u64::from(user)) }))
    }

    fn reason(&self, verdicts: &[Verdict]) -> String {
        let parts: Vec<String> = verdicts
            .iter()
            .map(|verdict| match verdict.suspects.first() {
                // Only with `all` can a policy blame someone and nobody be found.
                Some(suspect) => {
                    format!("{}: {}, but not every policy says so", verdict.policy, suspect.evidence.text)
                }
                None => format!("{}: {}", verdict.policy, verdict.otherwise),
            })
            .collect();
        parts.join("; ")
    }
}

impl Healer for ForkBomb {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn watches(&self) -> &[SensorKind] {
        &[
            SensorKind::PROCESSES,
            SensorKind::PROCESSES_LOST,
            SensorKind::USER_PROCESSES,
            SensorKind::USER_FORK_RATE,
            SensorKind::USERS_LOST,
        ]
    }

    fn settings(&self) -> toml::Table {
        self.settings.clone()
    }

    fn examine(&mut self, case: &Case<'_>) -> Diagnosis {
        let census = Census::take(case);
        let verdicts: Vec<Verdict> = self.policies.iter().map(|policy| policy.judge(self, &census)).collect();
        let Some((user, mut evidence)) = self.combine(&verdicts) else {
            return Diagnosis::Nothing { reason: self.reason(&verdicts) };
        };
        let mut victims = 0;
        if let Some(of_user) = census.users.get(&user) {
            victims = of_user.killable;
            evidence.extend(of_user.most_common_command());
        }
        let kill = Command::new(Opcode::KillUser, u64::from(user));
        let kill = Command { most_victims: self.most_victims, ..kill };
        let refuse = self.refuse_forks(case, user).unwrap_or_else(|missing| {
            evidence.push(missing);
            None
        });
        Diagnosis::Culprit {
            culprit: Culprit::User { user },
            evidence,
            repair: Repair::new(refuse.into_iter().chain([kill]).collect()).within(Duration::ZERO),
            victims,
        }
    }
}
