//! `backdoors-agent check`: what this machine can do.

use crate::kernel::{OomKills, can_fence, find_cgroup, probe};
use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use std::fmt::Write;

/// One thing that a target can do, or cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ability {
    /// Its name.
    pub name: &'static str,
    /// Whether this machine can.
    pub has: bool,
    /// What follows from it.
    pub means: String,
    /// What it takes, if this machine cannot.
    pub needs: Option<String>,
}

impl Ability {
    fn new(name: &'static str, has: bool, yes: &str, (no, needs): (&str, &str)) -> Ability {
        let means = if has { yes } else { no }.to_owned();
        Ability { name, has, means, needs: (!has).then(|| needs.to_owned()) }
    }
}

/// Tries what this machine can do.
#[must_use]
pub fn abilities() -> Vec<Ability> {
    let is_root = rustix::process::geteuid().is_root();
    let no = ("the agent cannot run", "to be run as root");
    let mut abilities = vec![Ability::new("root", is_root, "the kernel half can be loaded", no)];
    abilities.extend(of_kernel());
    abilities.push(Ability::new(
        "locked memory",
        getrlimit(Resource::Memlock).current.is_none() || is_root,
        "the agent stays in memory",
        ("the agent may be paged out", "a higher RLIMIT_MEMLOCK"),
    ));
    abilities
}

fn of_kernel() -> Vec<Ability> {
    let can = match probe() {
        Err(error) => {
            return vec![Ability::new("kernel half", false, "", ("there is none", &error.to_string()))];
        }
        Ok(can) => can,
    };
    let fence = can_fence();
    let why = fence.as_ref().err().map_or("", String::as_str);
    vec![
        Ability::new("kernel type information", true, "the kernel half fits itself to this kernel", ("", "")),
        Ability::new(
            "kernel kills",
            can.signals_any_task,
            "the kernel half kills any process by itself",
            (
                "the kernel half kills processes as they run, the real-time helper the others",
                "Linux 6.13 or later",
            ),
        ),
        Ability::new(
            "timer interrupts",
            can.timer_interrupts,
            "cpu.ticks counts them",
            ("cpu.ticks stays 0", "an x86 processor"),
        ),
        Ability::new(
            "memory kills",
            can.oom_kills != OomKills::Untold,
            "oom.kills counts them",
            ("oom.kills stays 0", "a kernel that tells of them"),
        ),
        Ability::new(
            "refused forks",
            can.refuses_forks,
            "the kernel half can have forks of a user fail",
            (
                "forks cannot be refused",
                "CONFIG_SECURITY, and a kernel that is not locked down and lets programs say what a function returns",
            ),
        ),
        Ability::new(
            "live connections",
            can.captures_sessions && find_cgroup().is_ok(),
            "those of [[service]]s are captured",
            (
                "none are captured",
                "BTF, programs for sockets, and control groups of version 2 that are mounted",
            ),
        ),
        Ability::new(
            "fence",
            fence.is_ok(),
            "a monitor can make this machine silent on its service_addresses",
            (
                &format!("service_addresses cannot be fenced: {why}"),
                "CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF",
            ),
        ),
        Ability::new(
            "memory variables",
            can.memory.sizes,
            "the kernel half sees how much memory there is",
            (
                "the agent looks at /proc/meminfo, so what a frozen agent shows of memory is old",
                "CONFIG_KALLSYMS_ALL",
            ),
        ),
        Ability::new(
            "memory stalls",
            can.memory.stalls,
            "memory.stalled tells how much work stands still for want of memory",
            ("memory.stalled is told by the agent, or stays 0", "CONFIG_KALLSYMS_ALL and CONFIG_PSI"),
        ),
    ]
}

/// A line for each.
#[must_use]
pub fn report(abilities: &[Ability]) -> String {
    let mut text = String::new();
    for Ability { name, has, means, needs } in abilities {
        let needs = needs.as_ref().map_or(String::new(), |needs| format!(" (needs {needs})"));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {name}: {means}{needs}", if *has { "yes" } else { "no " });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_lacks_is_told_with_what_it_takes() {
        let no = ("cpu.ticks stays 0", "an x86 processor");
        let abilities =
            [true, false].map(|has| Ability::new("timer interrupts", has, "cpu.ticks counts them", no));
        assert_eq!(
            report(&abilities),
            "yes timer interrupts: cpu.ticks counts them\n\
             no  timer interrupts: cpu.ticks stays 0 (needs an x86 processor)\n"
        );
    }

    #[test]
    fn whoever_asks_is_told_of_every_ability_once() {
        let mut names: Vec<&str> = abilities().iter().map(|ability| ability.name).collect();
        let told = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), told);
        assert!(names.contains(&"root") && names.contains(&"locked memory"), "{names:?}");
    }
}
