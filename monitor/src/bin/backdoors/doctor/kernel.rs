//! What the kernel means for each role.

use super::facts::{Facts, Kernel, Options};
use super::report::Role::{Standby, Target};
use super::report::{Finding, Role};
use rustix::thread::CapabilitySet;

/// An option that a kernel should be built with.
pub struct Wanted {
    pub name: &'static str,
    with: &'static str,
    without: &'static str,
}

const fn wanted(name: &'static str, with: &'static str, without: &'static str) -> Wanted {
    Wanted { name, with, without }
}

/// Those that are looked for. What else matters is tried.
pub const OPTIONS: [Wanted; 6] = [
    wanted("CONFIG_BPF_SYSCALL", "eBPF programs can be loaded", "there is no kernel half"),
    wanted(
        "CONFIG_CGROUP_BPF",
        "live connections can be captured",
        "no sessions are captured, and none can go on elsewhere",
    ),
    wanted("CONFIG_NET_SCH_INGRESS", "a fence has its place", "service_addresses cannot be fenced"),
    wanted("CONFIG_NET_CLS_BPF", "a fence can be set", "service_addresses cannot be fenced"),
    wanted(
        "CONFIG_KALLSYMS_ALL",
        "the kernel half sees how much memory there is",
        "the agent looks at /proc/meminfo, so what a frozen agent shows of memory is old",
    ),
    wanted("CONFIG_SECURITY", "forks of a user can be refused", "forks of a user cannot be refused"),
];

/// The first whose kernel half kills whatever does not run.
const KILLS_ALL: (u32, u32) = (6, 13);
/// The oldest that is tried.
const OLDEST: (u32, u32) = (6, 1);

/// What the kernel half needs.
const OF_TARGET: [(CapabilitySet, &str); 4] = [
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
];
/// What rebuilds and announces.
const OF_STANDBY: [(CapabilitySet, &str); 2] =
    [(CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"), (CapabilitySet::NET_RAW, "CAP_NET_RAW")];

pub fn findings(facts: &Facts) -> Vec<Finding> {
    let kernel = &facts.kernel;
    let mut findings = vec![
        user(facts),
        rights(facts, "rights of a target", Target, &OF_TARGET),
        rights(facts, "rights of a standby", Standby, &OF_STANDBY),
        release(kernel),
        types(kernel),
        lockdown(kernel),
    ];
    match &kernel.options {
        Some(options) => findings.extend(OPTIONS.iter().map(|wanted| option(options, wanted))),
        None => findings.push(Finding::could_be_better(
            "kernel options",
            &[Target],
            "not readable",
            "what the kernel was built with is not known",
            format!("modprobe configs, or put the kernel's configuration at /boot/config-{}", kernel.release),
        )),
    }
    findings.extend([control_groups(kernel), stalls(kernel)]);
    findings
}

fn user(facts: &Facts) -> Finding {
    match facts.user {
        0 => Finding::good("user", &[Target], "root", "the agent can run"),
        user => Finding::missing(
            "user",
            &[Target],
            format!("user {user}"),
            "the agent runs as root only",
            "ask as root: sudo backdoors doctor",
        ),
    }
}

fn rights(facts: &Facts, name: &str, role: Role, needed: &[(CapabilitySet, &str)]) -> Finding {
    let names = |has: bool| {
        let these = needed.iter().filter(|(capability, _)| facts.may.contains(*capability) == has);
        these.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    };
    let lacks = names(false);
    if lacks.is_empty() {
        return Finding::good(name, &[role], names(true), "what is needed is permitted");
    }
    Finding::missing(
        name,
        &[role],
        format!("no {lacks}"),
        "the kernel refuses what is needed",
        "run as root; in a container, or a unit that bounds them, grant these capabilities",
    )
}

fn release(kernel: &Kernel) -> Finding {
    let (name, roles, found) = ("kernel", &[Target], format!("Linux {}", kernel.release));
    let newer = "boot Linux 6.13 or later";
    match number(&kernel.release) {
        Some(version) if version >= KILLS_ALL => {
            Finding::good(name, roles, found, "the kernel half kills any process by itself")
        }
        Some(version) if version >= OLDEST => Finding::could_be_better(
            name,
            roles,
            found,
            "the kernel half kills processes as they run, the real-time helper those that sleep",
            newer,
        ),
        _ => Finding::could_be_better(
            name,
            roles,
            found,
            "the kernel half was not tried on one before 6.1",
            newer,
        ),
    }
}

/// The first two numbers of a release.
fn number(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|mark: char| !mark.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn types(kernel: &Kernel) -> Finding {
    let name = "kernel type information";
    if kernel.types {
        return Finding::good(name, &[Target], "BTF", "the kernel half fits itself to this kernel");
    }
    Finding::could_be_better(
        name,
        &[Target],
        "no /sys/kernel/btf/vmlinux",
        "there is no kernel half: sensors come from /proc every 100 ms, only processes, users and trees are killed and signalled, \
         and nothing is fenced or captured",
        "boot a kernel with CONFIG_DEBUG_INFO_BTF, as those of Debian are; until then mode = \"procfs\" in agent.toml",
    )
}

fn lockdown(kernel: &Kernel) -> Finding {
    let name = "lockdown";
    let means = match kernel.lockdown.as_deref() {
        None => return Finding::good(name, &[Target], "none", "the kernel takes all programs"),
        Some("integrity") => "forks cannot be refused",
        Some(_) => "the kernel half may not read kernel memory, so there is none",
    };
    let found = kernel.lockdown.clone().unwrap_or_default();
    let remedy = "boot without `lockdown=`, and without secure boot if that sets it";
    Finding::could_be_better(name, &[Target], found, means, remedy)
}

fn option(options: &Options, wanted: &Wanted) -> Finding {
    let Wanted { name, with, without } = wanted;
    if options.has(name) {
        return Finding::good(name, &[Target], "set", with);
    }
    Finding::could_be_better(name, &[Target], "not set", without, format!("boot a kernel with {name}"))
}

fn control_groups(kernel: &Kernel) -> Finding {
    let name = "control groups";
    match &kernel.control_groups {
        Some(path) => {
            let means = "they can be frozen and killed, and connections captured";
            Finding::good(name, &[Target], format!("version 2 at {path}"), means)
        }
        None => Finding::could_be_better(
            name,
            &[Target],
            "none of version 2",
            "no group can be frozen or killed, and no connection captured",
            "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified",
        ),
    }
}

fn stalls(kernel: &Kernel) -> Finding {
    let name = "memory stalls";
    if kernel.stalls {
        return Finding::good(name, &[Target], "/proc/pressure", "memory.stalled is told");
    }
    Finding::could_be_better(
        name,
        &[Target],
        "no /proc/pressure/memory",
        "memory.stalled stays 0",
        "boot with `psi=1`, or a kernel with CONFIG_PSI",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::facts::tests::good_machine;
    use crate::doctor::report::State;

    fn of(facts: &Facts, name: &str) -> Finding {
        findings(facts).into_iter().find(|finding| finding.name == name).unwrap()
    }

    #[test]
    fn what_a_release_means_goes_by_its_first_two_numbers() {
        for (text, numbers) in
            [("6.13.0-1-amd64", Some((6, 13))), ("6.1-rc1", Some((6, 1))), ("6", None), ("", None)]
        {
            assert_eq!(number(text), numbers, "{text}");
        }
        for (text, state, means) in [
            ("6.12.9", State::CouldBeBetter, "those that sleep"),
            ("5.10.0", State::CouldBeBetter, "was not tried"),
            ("7.0.1", State::Good, "any process by itself"),
        ] {
            let mut facts = good_machine();
            text.clone_into(&mut facts.kernel.release);
            let found = of(&facts, "kernel");
            assert!(found.state == state && found.means.contains(means), "{found:?}");
        }
    }

    #[test]
    fn capabilities_that_lack_are_named_to_whom_they_lack() {
        let mut facts = good_machine();
        facts.may = CapabilitySet::all() - CapabilitySet::NET_RAW;
        assert_eq!(of(&facts, "rights of a target").state, State::Good);
        let standby = of(&facts, "rights of a standby");
        assert_eq!((standby.state, &*standby.found), (State::Missing, "no CAP_NET_RAW"));
    }

    #[test]
    fn a_kernel_without_types_still_has_a_target_without_a_kernel_half() {
        let mut facts = good_machine();
        facts.kernel.types = false;
        assert_eq!(of(&facts, "kernel type information").state, State::CouldBeBetter);
    }

    #[test]
    fn what_a_locked_down_kernel_refuses_goes_by_how_it_is_locked_down() {
        let mut facts = good_machine();
        for (word, means) in [("integrity", "forks"), ("confidentiality", "kernel memory")] {
            facts.kernel.lockdown = Some(word.to_owned());
            assert!(of(&facts, "lockdown").means.contains(means));
        }
    }

    #[test]
    fn a_kernel_whose_options_nobody_knows_is_told_once() {
        let mut facts = good_machine();
        facts.kernel.options = None;
        let names: Vec<String> = findings(&facts).into_iter().map(|finding| finding.name).collect();
        assert!(names.contains(&"kernel options".to_owned()));
        assert!(!names.iter().any(|name| name.starts_with("CONFIG_")), "{names:?}");
    }
}
