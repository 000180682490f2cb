//! The innocent: a user's session, and two services of another user.

use anyhow::{Context, Result};
use backdoors_tests::machine::Machine;
use backdoors_tests::vm::Vm;
use std::time::Duration;

const UP: Duration = Duration::from_secs(30);
/// What the database holds, MiB: a good part of the memory, and less than the hog.
pub const DATABASE: u32 = 160;
const ALICE: u32 = 1000;
const SHOP: u32 = 1002;
/// Control groups, with the name that each has in the table, and its processes.
const UNITS: [(&str, &str, usize); 3] = [
    ("session", "user.slice/user-1000.slice/session-alice.service", 5),
    ("database", "system.slice/database.service", 1),
    ("small service", "system.slice/small.service", 1),
];

/// Those that were alive when the hog came.
pub struct Bystanders {
    /// Name and process id.
    alive: Vec<(&'static str, u32)>,
}

impl Bystanders {
    /// How many there are.
    pub const COUNT: usize = UNITS[0].2 + UNITS[1].2 + UNITS[2].2;

    /// Starts them, and waits until they have their memory.
    pub fn start(target: &Vm) -> Result<Bystanders> {
        let service = |unit: &str, mebibytes| {
            let file = format!("/run/{unit}.out");
            target.shell(format!(
                "rm -f {file}; systemd-run --quiet --collect --unit={unit} --uid={SHOP} -p StandardOutput=file:{file} \
                 backdoors-bystander {mebibytes}"
            ))
        };
        service("database", DATABASE)?;
        service("small", 8)?;
        session(
            target,
            "alice",
            ALICE,
            "for i in 1 2; do backdoors-bystander 16 & sleep 100000 & done; wait",
        )?;
        target.wait_for("the innocent", UP, || {
            let ready = target.shell("cat /run/database.out /run/small.out | grep -c ready || true")?;
            let alive = found(target)?;
            Ok((ready == "2" && alive.len() == Self::COUNT).then_some(Bystanders { alive }))
        })
    }

    /// Names of those that are gone, one for each process.
    pub fn gone(&self, target: &Vm) -> Result<Vec<&'static str>> {
        let left = found(target)?;
        Ok(self.alive.iter().filter(|one| !left.contains(one)).map(|(name, _)| *name).collect())
    }

    /// Ends whoever is left.
    pub fn end(target: &Vm) -> Result<()> {
        for (_, group, _) in UNITS {
            super::hog::kill(target, group)?;
        }
        Ok(())
    }
}

/// Starts a user's session. It is a service with what systemd has for sessions from version 253 on: it lives on when the kernel
/// kills one of its processes for want of memory, and when its first one ends. Sessions of the version here do not.
pub fn session(target: &Vm, name: &str, user: u32, script: &str) -> Result<()> {
    let unit = format!("session-{name}");
    target.shell(format!(
        "rm -f /run/{unit}.out; systemd-run --quiet --collect --slice=user-{user}.slice --unit={unit} --uid={user} \
         -p OOMPolicy=continue -p KillMode=process -p StandardOutput=file:/run/{unit}.out bash -c '{script}'"
    ))?;
    Ok(())
}

fn found(target: &Vm) -> Result<Vec<(&'static str, u32)>> {
    let mut found = Vec::new();
    for (name, group, _) in UNITS {
        // Zombies have left their control group.
        let pids = target.shell(format!("cat /sys/fs/cgroup/{group}/cgroup.procs 2>/dev/null || true"))?;
        for pid in pids.split_whitespace() {
            found.push((name, pid.parse().with_context(|| format!("{pid} in {group}"))?));
        }
    }
    Ok(found)
}
