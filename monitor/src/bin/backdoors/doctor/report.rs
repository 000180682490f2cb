//! What is made of the facts: findings, and which roles this machine can have.

use super::facts::Facts;
use super::{agent, kernel, limits, network, rdma};
use serde::Serialize;

/// What a machine can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It is looked after.
    Target,
    /// It looks after others.
    Monitor,
    /// Sessions of others go on here.
    Standby,
}

/// All roles.
pub const ROLES: [Role; 3] = [Role::Target, Role::Monitor, Role::Standby];

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Target => "target",
            Role::Monitor => "monitor",
            Role::Standby => "standby",
        }
    }
}

/// How good a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it should be.
    Good,
    /// The roles can be had, and something of them lacks.
    CouldBeBetter,
    /// Without it the roles cannot be had.
    Missing,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Good => "good",
            State::CouldBeBetter => "could be better",
            State::Missing => "missing",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub name: String,
    /// How good it is.
    pub state: State,
    /// For whom it matters.
    pub roles: Vec<Role>,
    /// What was found.
    pub found: String,
    /// What follows from it.
    pub means: String,
    /// What to run, install or change, if it is not good.
    pub remedy: Option<String>,
}

impl Finding {
    /// It is as it should be.
    pub fn good(name: &str, roles: &[Role], found: impl Into<String>, means: &str) -> Finding {
        Finding {
            name: name.to_owned(),
            state: State::Good,
            roles: roles.to_vec(),
            found: found.into(),
            means: means.to_owned(),
            remedy: None,
        }
    }

    /// These roles can be had, and something of them lacks.
    pub fn could_be_better(
        name: &str,
        roles: &[Role],
        found: impl Into<String>,
        means: &str,
        remedy: impl Into<String>,
    ) -> Finding {
        let remedy = Some(remedy.into());
        Finding { state: State::CouldBeBetter, remedy, ..Finding::good(name, roles, found, means) }
    }

    /// These roles cannot be had.
    pub fn missing(
        name: &str,
        roles: &[Role],
        found: impl Into<String>,
        means: &str,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding { state: State::Missing, ..Finding::could_be_better(name, roles, found, means, remedy) }
    }
}

/// Whether a role can be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoleAnswer {
    role: Role,
    can: bool,
    /// Findings without which it cannot.
    lacks: Vec<String>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    version: &'static str,
    roles: Vec<RoleAnswer>,
    findings: Vec<Finding>,
}

impl Report {
    /// What the facts mean, for one role or for all.
    pub fn of(facts: &Facts, wanted: Option<Role>) -> Report {
        let mut findings = kernel::findings(facts);
        findings.extend(rdma::findings(facts));
        findings.extend(limits::findings(facts));
        findings.extend(network::findings(facts));
        findings.extend(agent::findings(facts));
        let roles: Vec<Role> =
            ROLES.into_iter().filter(|role| wanted.is_none_or(|wanted| wanted == *role)).collect();
        findings.retain(|finding| finding.roles.iter().any(|role| roles.contains(role)));
        let answer = |role: &Role| {
            let lacks = findings.iter().filter(|it| it.state == State::Missing && it.roles.contains(role));
            let lacks: Vec<String> = lacks.map(|finding| finding.name.clone()).collect();
            RoleAnswer { role: *role, can: lacks.is_empty(), lacks }
        };
        let roles = roles.iter().map(answer).collect();
        Report { version: env!("CARGO_PKG_VERSION"), roles, findings }
    }

    /// Whether any of the roles can be had.
    pub fn can_any(&self) -> bool {
        self.roles.iter().any(|answer| answer.can)
    }

    /// For people: what is good in a line each, and of everything else what it means and what helps.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let Finding { name, state, found, means, remedy, .. } = finding;
            text.push_str(&format!("{:<15}  {name}: {found}\n", state.name()));
            if let Some(remedy) = remedy {
                text.push_str(&format!("{:17}{means}\n{:17}remedy: {remedy}\n", "", ""));
            }
        }
        text.push('\n');
        for RoleAnswer { role, can, lacks } in &self.roles {
            let answer =
                if *can { "yes".to_owned() } else { format!("no, for want of {}", lacks.join(", ")) };
            text.push_str(&format!("as {:<8}  {answer}\n", role.name()));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::facts::tests::good_machine;

    #[test]
    fn a_good_machine_can_be_anything_and_nothing_of_it_needs_a_remedy() {
        let report = Report::of(&good_machine(), None);
        assert!(report.roles.iter().all(|answer| answer.can), "{report:?}");
        let worse: Vec<&Finding> = report.findings.iter().filter(|it| it.state != State::Good).collect();
        assert!(worse.is_empty(), "{worse:?}");
    }

    #[test]
    fn whatever_a_machine_lacks_is_told_with_a_remedy() {
        let report = Report::of(&Facts::default(), None);
        for finding in &report.findings {
            assert_eq!(finding.state == State::Good, finding.remedy.is_none(), "{finding:?}");
            assert!(!finding.found.is_empty() && !finding.means.is_empty(), "{finding:?}");
            assert_ne!(finding.remedy.as_deref(), Some(""), "{finding:?}");
        }
        let can: Vec<(Role, bool)> = report.roles.iter().map(|answer| (answer.role, answer.can)).collect();
        assert_eq!(can, [(Role::Target, false), (Role::Monitor, true), (Role::Standby, false)]);
    }

    #[test]
    fn a_role_is_refused_for_what_it_needs_itself() {
        let mut facts = good_machine();
        facts.network.repair = Err("the kernel does not know repair mode".to_owned());
        let report = Report::of(&facts, None);
        let cannot: Vec<&RoleAnswer> = report.roles.iter().filter(|answer| !answer.can).collect();
        let [standby] = cannot[..] else { panic!("{cannot:?}") };
        assert_eq!(
            (standby.role, &standby.lacks[..]),
            (Role::Standby, &["rebuilt connections".to_owned()][..])
        );
        assert!(Report::of(&facts, Some(Role::Monitor)).can_any());
        assert!(!Report::of(&facts, Some(Role::Standby)).can_any());
    }

    #[test]
    fn people_read_the_remedy_below_what_was_found() {
        let mut facts = good_machine();
        facts.clock.synchronised = Some(false);
        let text = Report::of(&facts, Some(Role::Monitor)).text();
        let (_, clock) = text.split_once("could be better  clock: not synchronised\n").unwrap();
        assert!(clock.lines().nth(1).unwrap().starts_with("                 remedy: "), "{clock}");
        assert!(text.ends_with("\nas monitor   yes\n"), "{text}");
        assert!(!text.contains("fence"), "a monitor needs none: {text}");
    }
}
