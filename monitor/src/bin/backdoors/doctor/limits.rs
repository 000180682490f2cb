//! What limits, clocks and processors mean for each role.

use super::facts::Facts;
use super::report::Finding;
use super::report::Role::{Monitor, Standby, Target};
use crate::units::bytes;
use rustix::thread::CapabilitySet;

/// Of open files: a thousand sessions, their listeners, and connections of monitors.
const FILES: u64 = 4096;
/// Of locked memory: the rings of some hundred sessions.
const LOCKED: u64 = 1 << 30;
/// Priority of who owns the memory; the others run below.
const PRIORITY: u64 = 50;
/// What is quick to read and does not stand still.
const GOOD_SOURCES: [&str; 5] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "xen"];

pub fn findings(facts: &Facts) -> Vec<Finding> {
    vec![locked(facts), files(facts), real_time(facts), source(facts), clock(facts), processors(facts)]
}

fn locked(facts: &Facts) -> Finding {
    let (name, roles) = ("locked memory", &[Target, Monitor, Standby]);
    let found = match facts.limits.locked {
        None => "unlimited".to_owned(),
        Some(_) if facts.may.contains(CapabilitySet::IPC_LOCK) => "unlimited, by CAP_IPC_LOCK".to_owned(),
        Some(most) if most >= LOCKED => bytes(most),
        Some(most) => {
            return Finding::could_be_better(
                name,
                roles,
                format!("{} at most", bytes(most)),
                "an RDMA NIC may refuse memory, and the agent may be paged out",
                "LimitMEMLOCK=infinity in the unit, or `ulimit -l unlimited`",
            );
        }
    };
    Finding::good(name, roles, found, "what a NIC reaches stays in memory")
}

fn files(facts: &Facts) -> Finding {
    let (name, roles) = ("open files", &[Target, Standby]);
    match facts.limits.files {
        Some(most) if most < FILES => Finding::could_be_better(
            name,
            roles,
            format!("{most} at most"),
            "each session of a service takes one, and the agent 512 more; who finds none is served, and ends with its server",
            "LimitNOFILE=65536 in the unit, or `ulimit -n 65536`",
        ),
        most => {
            let found = most.map_or("unlimited".to_owned(), |most| format!("{most} at most"));
            Finding::good(name, roles, found, "sessions have room")
        }
    }
}

fn real_time(facts: &Facts) -> Finding {
    let (name, roles) = ("real time", &[Target, Standby]);
    let means = "the owner of the memory and the helper that kills wait behind whatever floods the machine";
    if facts.limits.runtime_us == Some(0) {
        let remedy = "sysctl -w kernel.sched_rt_runtime_us=950000";
        return Finding::could_be_better(name, roles, "kernel.sched_rt_runtime_us is 0", means, remedy);
    }
    let most = facts.limits.priority;
    if facts.may.contains(CapabilitySet::SYS_NICE) || most.is_none_or(|most| most >= PRIORITY) {
        let runtime = match facts.limits.runtime_us {
            Some(-1) => "the whole of each second".to_owned(),
            Some(runtime) => format!("{} ms of each second", runtime / 1000),
            None => "permitted".to_owned(),
        };
        return Finding::good(name, roles, runtime, "what heals runs before what floods");
    }
    let found = format!("priority {} at most, and no CAP_SYS_NICE", most.unwrap_or(0));
    Finding::could_be_better(name, roles, found, means, "LimitRTPRIO=50 in the unit, or run as root")
}

fn source(facts: &Facts) -> Finding {
    let (name, roles) = ("clock source", &[Target, Monitor]);
    match facts.clock.source.as_deref() {
        Some(source) if GOOD_SOURCES.contains(&source) => Finding::good(
            name,
            roles,
            source,
            "it is quick to read and goes on in all states of the processor",
        ),
        source => Finding::could_be_better(
            name,
            roles,
            source.unwrap_or("not known"),
            "reading it takes microseconds; a monitor that samples often is late sooner",
            "dmesg | grep -i clocksource tells why it is not tsc; boot with `tsc=reliable` if the processor's can be relied on",
        ),
    }
}

fn clock(facts: &Facts) -> Finding {
    let (name, roles) = ("clock", &[Target, Monitor, Standby]);
    let found = match facts.clock.synchronised {
        Some(true) => {
            return Finding::good(name, roles, "synchronised", "journals of several machines fit together");
        }
        Some(false) => "not synchronised",
        None => "not known to be synchronised",
    };
    Finding::could_be_better(
        name,
        roles,
        found,
        "deadlines go by another clock and hold, but journals and records of several machines do not fit together",
        "apt install chrony, or timedatectl set-ntp true",
    )
}

fn processors(facts: &Facts) -> Finding {
    let (name, roles) = ("processors", &[Target, Monitor]);
    match facts.processors {
        0 | 1 => Finding::could_be_better(
            name,
            roles,
            facts.processors.to_string(),
            "a monitor here is late whenever something else runs, says so, and judges later; a NIC in software waits, too",
            "give this machine a second processor",
        ),
        many => Finding::good(name, roles, many.to_string(), "one is left for who samples"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::facts::tests::good_machine;
    use crate::doctor::report::State;

    #[test]
    fn who_may_lock_memory_needs_no_limit() {
        let mut facts = good_machine();
        facts.limits.locked = Some(65536);
        assert_eq!(locked(&facts).state, State::Good);
        facts.may = CapabilitySet::empty();
        assert_eq!(locked(&facts).found, "64.0 KiB at most");
        facts.limits.locked = Some(LOCKED);
        assert_eq!(locked(&facts).state, State::Good);
    }

    #[test]
    fn real_time_takes_a_right_and_a_share_of_each_second() {
        let mut facts = good_machine();
        assert_eq!(real_time(&facts).found, "950 ms of each second");
        facts.may = CapabilitySet::empty();
        assert_eq!(real_time(&facts).state, State::Good);
        facts.limits.priority = Some(49);
        assert!(real_time(&facts).remedy.unwrap().contains("LimitRTPRIO"));
        facts.limits.runtime_us = Some(0);
        assert!(real_time(&facts).remedy.unwrap().contains("sched_rt_runtime_us"));
    }

    #[test]
    fn a_clock_that_is_slow_to_read_or_nobody_keeps_could_be_better() {
        let mut facts = good_machine();
        facts.clock.source = Some("hpet".to_owned());
        assert_eq!(source(&facts).state, State::CouldBeBetter);
        for said in [Some(false), None] {
            facts.clock.synchronised = said;
            assert_eq!(clock(&facts).state, State::CouldBeBetter);
        }
    }

    #[test]
    fn few_files_or_one_processor_could_be_better() {
        let mut facts = good_machine();
        facts.limits.files = Some(1024);
        facts.processors = 1;
        assert_eq!([files(&facts).state, processors(&facts).state], [State::CouldBeBetter; 2]);
    }
}
