//! `stuck-application`: when an application's own sensors say that it stands still, gathers what the process table
//! tells of it, and proposes the repair that was configured.

mod look;
#[cfg(test)]
mod tests;

use crate::registry::{SettingsError, Users, read_settings};
use crate::users::UserReference;
use crate::{Applications, Case, Culprit, Diagnosis, Evidence, Healer, Repair, StuckApplication, duration};
use backdoors_sensor_box::{Command, Opcode, Process, SensorKind};
use look::Look;
use std::time::Duration;

/// The healing module for applications that stand still: one that is attached to the agent and has failed by its own
/// progress sensors.
///
/// Its settings, all optional:
///
/// | key | default | meaning |
/// | --- | --- | --- |
/// | `application` | any | name of the application |
/// | `repair` | `none` | `none`: evidence and nothing else; `kill-process`: the process that attached; `kill-tree`: with its descendants |
/// | `user` | none | whose process it must be, by number, or by name if the target's `users` table has it. A repair needs it |
/// | `watch` | `"1s"` | how long its process is watched before it is blamed, to tell whether it spins or waits |
///
/// An application can write what its region says of it, its process id, too. So a repair names the user whose processes
/// it may kill: an application that lies can have those killed that it could kill by itself. Root is refused.
#[derive(Clone, Debug)]
pub struct StuckApplications {
    settings: Settings,
    user: Option<u32>,
    looks: Vec<Look>,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<String>,
    repair: Wanted,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserReference>,
    #[serde(with = "duration")]
    watch: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { application: None, repair: Wanted::None, user: None, watch: Duration::from_secs(1) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Wanted {
    None,
    KillProcess,
    KillTree,
}

impl StuckApplications {
    /// Its name in the configuration.
    pub const NAME: &'static str = "stuck-application";
    /// What its repairs may consist of.
    pub const MAY: &'static [Opcode] = &[Opcode::Nothing, Opcode::KillProcess, Opcode::KillTree];
    /// What it is against.
    pub const ABOUT: &'static str = "an application whose own progress sensors stand still";

    /// Makes the healer from its settings.
    pub(crate) fn build(settings: toml::Table, users: &Users) -> Result<Box<dyn Healer>, SettingsError> {
        Ok(Box::new(StuckApplications::new(settings, users)?))
    }

    fn new(settings: toml::Table, users: &Users) -> Result<StuckApplications, SettingsError> {
        let settings: Settings = read_settings(Self::NAME, settings)?;
        let senseless = |problem: String| SettingsError::Senseless { healer: Self::NAME.into(), problem };
        let user = settings.user.as_ref().map(|user| user.resolve("user", users)).transpose();
        let user = user.map_err(senseless)?;
        if settings.repair != Wanted::None && user.is_none_or(|user| user == 0) {
            return Err(senseless(
                "`repair` needs a `user` other than root whose processes it may kill: an application can lie about \
                 its process"
                    .into(),
            ));
        }
        if settings.watch > Duration::from_secs(3600) {
            return Err(senseless("`watch` must be 1h at most".into()));
        }
        Ok(StuckApplications { settings, user, looks: Vec::new() })
    }

    fn examine_one(&mut self, case: &Case<'_>, stuck: &StuckApplication) -> Result<Diagnosis, String> {
        let name = &stuck.name;
        if stuck.died {
            return Err(format!("{name} died; there is nothing to kill"));
        }
        if stuck.pid == 0 {
            return Err(format!("{name} is attached from outside of the process table"));
        }
        // Whatever has the number now is the application if it is no younger than the attachment.
        let is_it = |process: &&Process| process.pid == stuck.pid && process.start <= stuck.attached_at;
        let Some(process) = case.processes.processes.iter().find(is_it) else {
            return Err(format!("process {} of {name} is not in the process table", stuck.pid));
        };
        let first = self.first_look(case, stuck, process);
        let watched = case.now.saturating_sub(first.at);
        if watched < self.settings.watch {
            return Err(format!(
                "{name} stands still; its process {} is being watched for {}",
                stuck.pid,
                duration::text(self.settings.watch)
            ));
        }
        let evidence = look::evidence(case, stuck, process, &first);
        if self.settings.repair != Wanted::None && self.user != Some(process.user) {
            let text: Vec<&str> = evidence.iter().map(|evidence| evidence.text.as_str()).collect();
            return Err(format!(
                "process {} of {name} belongs to user {}, and `user` does not: {}",
                stuck.pid,
                process.user,
                text.join("; ")
            ));
        }
        Ok(self.blame(case, process, evidence))
    }

    fn blame(&self, case: &Case<'_>, process: &Process, evidence: Vec<Evidence>) -> Diagnosis {
        let pid = process.pid;
        let (opcode, culprit, victims) = match self.settings.repair {
            Wanted::None => (Opcode::Nothing, Culprit::Process { pid }, 0),
            Wanted::KillProcess => (Opcode::KillProcess, Culprit::Process { pid }, 1),
            Wanted::KillTree => {
                (Opcode::KillTree, Culprit::Tree { pid }, 1 + look::descendants(case, pid).len() as u64)
            }
        };
        let command = match opcode {
            Opcode::Nothing => Command::NOTHING,
            _ => Command::of_process(opcode, pid, process.start),
        };
        Diagnosis::Culprit { culprit, evidence, repair: Repair::one(command), victims }
    }

    /// The first look at the process while its application stood still.
    fn first_look(&mut self, case: &Case<'_>, stuck: &StuckApplication, process: &Process) -> Look {
        let known = self.looks.iter().find(|look| look.is_of(stuck, process));
        known.cloned().unwrap_or_else(|| {
            let look = Look::of(case, stuck, process);
            self.looks.push(look.clone());
            look
        })
    }
}

impl Healer for StuckApplications {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn watches(&self) -> &[SensorKind] {
        &[]
    }

    fn applications(&self) -> Applications<'_> {
        self.settings.application.as_deref().map_or(Applications::All, Applications::Named)
    }

    fn settings(&self) -> toml::Table {
        toml::Table::try_from(&self.settings).unwrap_or_default()
    }

    fn examine(&mut self, case: &Case<'_>) -> Diagnosis {
        // What goes on again, or is another attachment by now, is watched from the beginning.
        self.looks.retain(|look| case.stuck.iter().any(|stuck| look.is_about(stuck)));
        let mut reasons = Vec::new();
        let mine = self.settings.application.clone();
        let is_mine = |stuck: &&StuckApplication| mine.as_ref().is_none_or(|name| *name == stuck.name);
        for stuck in case.stuck.iter().filter(is_mine) {
            match self.examine_one(case, stuck) {
                Ok(diagnosis) => return diagnosis,
                Err(reason) => reasons.push(reason),
            }
        }
        if reasons.is_empty() {
            reasons.push(match mine {
                Some(name) => format!("{name} does not stand still"),
                None => "no application stands still".to_owned(),
            });
        }
        Diagnosis::Nothing { reason: reasons.join("; ") }
    }
}
