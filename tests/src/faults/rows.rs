//! The rows: faults, and what is right to say of them.

use super::scene::{Scene, TICKER};
use crate::machine::Machine;
use crate::vm::{Vm, break_kernel};
use anyhow::Result;
use std::time::Duration;

/// Something done to a scene.
pub type Step<M> = fn(&mut Scene<'_, M>) -> Result<()>;

/// A fault.
#[derive(Clone, Copy, Debug)]
pub struct Row<M> {
    /// Its name in tables.
    pub name: &'static str,
    /// What it needs, done once on each target; leaves everything healthy.
    pub prepare: Step<M>,
    /// Brings it about.
    pub inject: Step<M>,
    /// What ends it.
    pub undo: Undo<M>,
    /// What monitors must say; nothing at all if it is a control.
    pub expected: Option<Expected>,
}

/// What ends a fault.
#[derive(Clone, Copy, Debug)]
pub enum Undo<M> {
    /// This, and then everything is healthy again. Nobody may be accused of anything else meanwhile.
    By(Step<M>),
    /// This, by which the target loses all that ran there, and then everything is healthy again. What is said of the
    /// target while it comes up is not judged. Left out where nothing comes after.
    AnewBy(Step<M>),
}

/// What monitors must say of a fault.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The layer that is failed, and no other one.
    pub layer: &'static str,
    /// The application, if it is one.
    pub subject: Option<&'static str>,
    /// What is part of the evidence.
    pub evidence: Option<&'static str>,
    /// Who must say so. The others must say nothing.
    pub witnesses: Witnesses,
}

/// Who must notice a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witnesses {
    /// The first monitor; the other one is not touched by it.
    First,
    /// Every monitor.
    All,
}

const fn at(layer: &'static str) -> Expected {
    Expected { layer, subject: None, evidence: None, witnesses: Witnesses::All }
}

fn nothing<M>(_: &mut Scene<'_, M>) -> Result<()> {
    Ok(())
}

/// The control: nothing is wrong.
#[must_use]
pub fn nothing_wrong<M: Machine>() -> Row<M> {
    Row { name: "nothing", prepare: nothing, inject: nothing, undo: Undo::By(nothing), expected: None }
}

/// The control: so many percent of what the target sends are lost. Neither a path that loses nor anything behind it is
/// dead. What the monitors measured of it is printed.
#[must_use]
pub fn path_loses<const PERCENT: u8>(name: &'static str) -> Row<Vm> {
    Row {
        name,
        prepare: nothing,
        inject: |scene| {
            let lose = format!("tc qdisc replace dev eth0 root netem limit 10000 loss {PERCENT}%");
            scene.deployment.target.shell(lose)?;
            Ok(())
        },
        undo: Undo::By(|scene| {
            for watcher in &scene.deployment.watchers {
                let path = &watcher.json("targets")?[0];
                println!(
                    "{PERCENT} % of what the target sends is lost: {} misses {:.1} % of its chances, a round trip takes {:.1} ms",
                    watcher.name,
                    path["loss"].as_f64().unwrap_or(f64::NAN) * 100.0,
                    path["round_trip_ns"].as_f64().unwrap_or(f64::NAN) / 1e6,
                );
            }
            scene.deployment.target.shell("tc qdisc del dev eth0 root")?;
            Ok(())
        }),
        expected: None,
    }
}

/// A hardware address that nobody has.
const NOBODY: &str = "02:00:00:00:be:ef";

/// Frames for `to` leave `from` and reach nobody.
fn cut<M: Machine>(from: &M, to: &M) -> Result<()> {
    let to = to.address();
    from.shell(&format!("ip neigh replace {to} lladdr {NOBODY} dev eth0 nud permanent")).map(drop)
}

fn mend<M: Machine>(from: &M, to: &M) -> Result<()> {
    // The kernel asks for the address anew.
    from.shell(&format!("ip neigh del {} dev eth0", to.address())).map(drop)
}

const PATH: Expected = Expected { witnesses: Witnesses::First, ..at("path") };

/// What the first monitor sends does not arrive.
#[must_use]
pub fn path_cut_to_target<M: Machine>() -> Row<M> {
    Row {
        name: "path cut, monitor to target",
        prepare: nothing,
        inject: |scene| cut(scene.deployment.monitor, scene.deployment.target),
        undo: Undo::By(|scene| mend(scene.deployment.monitor, scene.deployment.target)),
        expected: Some(PATH),
    }
}

/// What the target sends to the first monitor does not arrive.
#[must_use]
pub fn path_cut_from_target<M: Machine>() -> Row<M> {
    Row {
        name: "path cut, target to monitor",
        prepare: nothing,
        inject: |scene| cut(scene.deployment.target, scene.deployment.monitor),
        undo: Undo::By(|scene| mend(scene.deployment.target, scene.deployment.monitor)),
        expected: Some(PATH),
    }
}

/// Nothing arrives either way between the target and the first monitor.
#[must_use]
pub fn path_cut_both_ways<M: Machine>() -> Row<M> {
    Row {
        name: "path cut, both ways",
        prepare: nothing,
        inject: |scene| {
            cut(scene.deployment.monitor, scene.deployment.target)?;
            cut(scene.deployment.target, scene.deployment.monitor)
        },
        undo: Undo::By(|scene| {
            mend(scene.deployment.monitor, scene.deployment.target)?;
            mend(scene.deployment.target, scene.deployment.monitor)
        }),
        expected: Some(PATH),
    }
}

/// The agent is killed, and started again.
#[must_use]
pub fn agent_killed<M: Machine>() -> Row<M> {
    Row {
        name: "agent killed",
        prepare: nothing,
        inject: |scene| scene.deployment.end("KILL", scene.deployment.agent),
        undo: Undo::By(|scene| scene.deployment.start_agent()),
        expected: Some(Expected { subject: Some("backdoors-agent"), ..at("application") }),
    }
}

/// The application is stopped, and goes on.
#[must_use]
pub fn application_stuck<M: Machine>() -> Row<M> {
    Row {
        name: "application stuck",
        prepare: nothing,
        inject: |scene| scene.deployment.target.signal("STOP", scene.ticker),
        undo: Undo::By(|scene| scene.deployment.target.signal("CONT", scene.ticker)),
        expected: Some(Expected { subject: Some(TICKER), ..at("application") }),
    }
}

/// Who runs the busy processes. Nobody else has this number.
const BUSY_USER: u32 = 61_302;
const BUSY: usize = 300;
/// On emulated processors, which start a process in milliseconds.
const STARTED: Duration = Duration::from_secs(60);

/// 300 busy processes, of the highest priority that is not a real-time one, on the only processor that user space may
/// use. The target's second processor is left to its kernel: soft-RoCE answers there, as a NIC would by itself.
#[must_use]
pub fn user_space_starved() -> Row<Vm> {
    Row {
        name: "user space starved by 300 processes",
        prepare: |scene| {
            let target = scene.deployment.target;
            // The first of them waits for its priority; the others inherit it, and wait to go on.
            target.shell_as(
                BUSY_USER,
                2 * BUSY as u32,
                &format!(
                    "taskset -p 2 $$; until test $(nice) = -20; do sleep 0.1; done; \
                     for i in $(seq {BUSY}); do {{ kill -STOP $BASHPID; while :; do :; done; }} & done; wait"
                ),
            )?;
            target.wait_for("the first of the busy processes", STARTED, || {
                Ok(target.shell(format!("renice -20 -p $(pgrep -o -u {BUSY_USER})")).ok())
            })?;
            target.wait_for("the busy processes", STARTED, || {
                let stopped = target.shell("cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') T'; true")?;
                Ok((stopped.trim() == BUSY.to_string()).then_some(()))
            })
        },
        inject: |scene| {
            let (agent, ticker) = (scene.deployment.agent, scene.ticker);
            // What the lab starts by hand has a better priority than a service has.
            scene.deployment.target.shell(format!(
                "for task in /proc/{agent}/task/* /proc/{ticker}/task/*; do \
                 taskset -p 2 ${{task##*/}}; renice 0 -p ${{task##*/}}; done"
            ))?;
            signal_busy(scene, "CONT")
        },
        undo: Undo::By(|scene| signal_busy(scene, "STOP")),
        expected: Some(at("user-space")),
    }
}

/// All of them at once.
fn signal_busy(scene: &mut Scene<'_, Vm>, signal: &str) -> Result<()> {
    let kill = format!("setpriv --reuid {BUSY_USER} bash -c 'kill -{signal} -1'; true");
    scene.deployment.target.shell(kill)?;
    Ok(())
}

/// The target's processors stop between two instructions, and go on.
#[must_use]
pub fn processors_stopped(layer: &'static str) -> Row<Vm> {
    Row {
        name: "processors stopped",
        prepare: nothing,
        inject: |scene| Ok(break_kernel::stop_cpus(scene.deployment.target)?),
        undo: Undo::By(|scene| Ok(break_kernel::resume(scene.deployment.target)?)),
        expected: Some(at(layer)),
    }
}

fn reboot(scene: &mut Scene<'_, Vm>) -> Result<()> {
    scene.deployment.target.reboot()?;
    scene.set_anew()
}

/// The target's kernel panics.
#[must_use]
pub fn panic(layer: &'static str) -> Row<Vm> {
    Row {
        name: "panic",
        prepare: nothing,
        inject: |scene| Ok(break_kernel::panic(scene.deployment.target)?),
        undo: Undo::AnewBy(reboot),
        expected: Some(at(layer)),
    }
}

/// All processors of the target spin with interrupts off.
#[must_use]
pub fn processors_spinning(layer: &'static str) -> Row<Vm> {
    Row {
        name: "all processors spin, interrupts off",
        prepare: nothing,
        inject: |scene| Ok(break_kernel::hang_all(scene.deployment.target)?),
        undo: Undo::AnewBy(reboot),
        expected: Some(at(layer)),
    }
}

/// The second processor of the target spins with interrupts off.
#[must_use]
pub fn one_processor_stuck() -> Row<Vm> {
    Row {
        name: "one processor stuck",
        prepare: nothing,
        inject: |scene| Ok(break_kernel::hang_one(scene.deployment.target, 1)?),
        undo: Undo::AnewBy(reboot),
        expected: Some(Expected { evidence: Some("CPU 1"), ..at("kernel") }),
    }
}
