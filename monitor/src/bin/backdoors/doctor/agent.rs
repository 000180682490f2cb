//! What is installed, and what the agent itself says.

use super::facts::{Ability, Facts};
use super::report::Finding;
use super::report::Role::{Standby, Target};
use std::path::Path;

pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![program("backdoors-nic", facts.nic.as_deref(), "a target's memory has an owner")];
    let path = facts.agent.as_ref().map(|(path, _)| path.as_path());
    findings.push(program("backdoors-agent", path, "sensors are kept and commands obeyed"));
    match facts.agent.as_ref().map(|(_, checked)| checked) {
        None => {}
        Some(Ok(abilities)) => findings.extend(abilities.iter().map(ability)),
        Some(Err(problem)) => findings.push(Finding::could_be_better(
            "check of the agent",
            &[Target],
            problem,
            "it is not known what the agent can do here",
            "run `backdoors-agent check` by hand; install programs of the same version",
        )),
    }
    findings
}

fn program(name: &str, path: Option<&Path>, means: &str) -> Finding {
    let roles = [Target, Standby];
    match path {
        Some(path) => Finding::good(name, &roles, path.display().to_string(), means),
        None => Finding::missing(
            name,
            &roles,
            "neither beside this program nor on PATH",
            "this machine cannot be looked after, nor take anything over",
            format!("install {name}, of the same version"),
        ),
    }
}

fn ability(ability: &Ability) -> Finding {
    let Ability { name, has, means, needs } = ability;
    let title = format!("agent: {name}");
    if *has {
        return Finding::good(&title, &[Target], "yes, tried", means);
    }
    let needs = needs.as_deref().unwrap_or("what `backdoors-agent check` says");
    Finding::could_be_better(&title, &[Target], "no, tried", means, format!("it takes {needs}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::facts::tests::good_machine;
    use crate::doctor::report::State;

    #[test]
    fn what_the_agent_says_is_told_as_findings_of_a_target() {
        let mut facts = good_machine();
        let one = |has| Ability {
            name: "fence".into(),
            has,
            means: "it can, or not".into(),
            needs: (!has).then(|| "CONFIG_NET_CLS_BPF".into()),
        };
        facts.agent = Some(("/usr/bin/backdoors-agent".into(), Ok(vec![one(true), one(false)])));
        let findings = findings(&facts);
        let [.., good, bad] = &findings[..] else { panic!("{findings:?}") };
        assert_eq!((good.state, good.remedy.as_deref()), (State::Good, None));
        let remedy = Some("it takes CONFIG_NET_CLS_BPF");
        assert_eq!((bad.state, bad.remedy.as_deref()), (State::CouldBeBetter, remedy));
    }

    #[test]
    fn a_machine_without_the_programs_is_neither_target_nor_standby() {
        let mut facts = good_machine();
        facts.agent = None;
        assert!(findings(&facts).iter().any(|it| it.state == State::Missing && it.name == "backdoors-agent"));
        facts.agent = Some(("/usr/bin/backdoors-agent".into(), Err("it failed".into())));
        assert!(findings(&facts).iter().all(|it| it.state != State::Missing));
    }
}
