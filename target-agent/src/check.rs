//! `backdoors-agent check`: what this machine can do.

use crate::kernel::{OomKills, can_fence, find_cgroup, probe};
use rustix::process::{Resource, getrlimit};
use std::fmt::Write;

/// Says, a line per ability, what this machine can do and what follows from it.
#[must_use]
pub fn report() -> String {
    let mut text = String::new();
    let mut line = |name: &str, has: bool, yes: &str, no: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {name}: {}", if has { "yes" } else { "no " }, if has { yes } else { no });
    };
    line(
        "root",
        rustix::process::geteuid().is_root(),
        "the kernel half can be loaded",
        "the agent must run as root",
    );
    match probe() {
        Err(error) => line("kernel half", false, "", &error.to_string()),
        Ok(abilities) => {
            line("kernel type information", true, "the kernel half fits itself to this kernel", "");
            line(
                "kernel kills",
                abilities.signals_any_task,
                "the kernel half kills any process by itself",
                "the kernel half kills processes as they run, the real-time helper the others (needs Linux 6.13)",
            );
            line(
                "timer interrupts",
                abilities.timer_interrupts,
                "cpu.ticks counts them",
                "cpu.ticks stays 0 on this architecture",
            );
            line(
                "memory kills",
                abilities.oom_kills != OomKills::Untold,
                "oom.kills counts them",
                "oom.kills stays 0",
            );
            line(
                "live connections",
                abilities.captures_sessions && find_cgroup().is_ok(),
                "those of [[service]]s are captured",
                "none are captured (needs BTF, programs for sockets, and control groups of version 2 that are mounted)",
            );
            let fence = can_fence();
            let why = fence.as_ref().err().cloned().unwrap_or_default();
            line(
                "fence",
                fence.is_ok(),
                "a monitor can make this machine silent on its service_addresses",
                &format!(
                    "service_addresses cannot be fenced (needs CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF): {why}"
                ),
            );
            line(
                "memory variables",
                abilities.memory.sizes,
                "the kernel half sees how much memory there is",
                "the agent looks at /proc/meminfo, so what a frozen agent shows of memory is old (needs CONFIG_KALLSYMS_ALL)",
            );
            line(
                "memory stalls",
                abilities.memory.stalls,
                "memory.stalled tells how much work stands still for want of memory",
                "memory.stalled is told by the agent, or stays 0 (needs CONFIG_PSI)",
            );
        }
    }
    let locked = getrlimit(Resource::Memlock).current;
    line(
        "locked memory",
        locked.is_none() || rustix::process::geteuid().is_root(),
        "the agent stays in memory",
        "the agent may be paged out: raise RLIMIT_MEMLOCK",
    );
    text
}
