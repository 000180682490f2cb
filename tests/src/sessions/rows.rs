//! What can happen to a node while it serves, and to whom: each row is one fault and clients of one kind or of several.

pub use super::clients::Client;
use super::clients::Closing;
use super::crowd::{self, Crowd, hold_back, let_go};
use super::scene::{Family, Machines, Node, PORT, Scene};
use super::wire::{Wire, end_unbroken};
use crate::host::Host;
use crate::machine::Machine;
use crate::vm::{Kernel, Vm, break_kernel};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fmt::Debug;
use std::time::Duration;

/// What happens to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server gets SIGKILL.
    ServerKilled,
    /// The server gets SIGSTOP.
    ServerStopped,
    /// No process of the node runs any more.
    NodeStarved,
    /// The node is cut off from its clients; its memory can still be read.
    NodeCutOff,
    /// The server gets SIGSTOP before anybody connects: no client is ever accepted by it.
    StoppedBeforeAccept,
}

/// What happens to the kernel of a node that is a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelFault {
    /// It panics.
    Panic,
    /// Every processor spins with interrupts off.
    Spin,
}

/// A fault of nodes that are such machines.
pub trait Strikes<M>: Copy + Debug {
    /// Has it happen to the node and its servers, of which these are the process ids.
    ///
    /// # Errors
    /// If it did not happen.
    fn strike(self, scene: &Scene<'_, M>, servers: &[u32]) -> Result<()>;

    /// Ends what the fault costs the other machines of the lab, once their sessions are elsewhere.
    ///
    /// # Errors
    /// If it cannot be ended.
    fn lay_to_rest(self, _: &Scene<'_, M>) -> Result<()> {
        Ok(())
    }

    /// Whether the node still hears of clients that close.
    fn is_heard(self) -> bool;

    /// Whether it happens before anybody connects.
    fn comes_first(self) -> bool {
        false
    }
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row<'c, F> {
    /// What happens.
    pub fault: F,
    /// To whom, all at the same time.
    pub clients: &'c [Client],
    /// How many of each.
    pub sessions: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the monitor reported.
    pub report: Value,
    /// The longest time that each client was without a byte, of those that tell.
    pub stalls: Vec<Duration>,
    /// How many bytes all clients of the first kind together had got, over time: seconds since the fault.
    pub tally: Vec<(f64, f64)>,
}

impl Fault {
    /// Those that happen to who is served.
    pub const ALL: [Fault; 4] =
        [Fault::ServerKilled, Fault::ServerStopped, Fault::NodeStarved, Fault::NodeCutOff];
}

impl Strikes<Host> for Fault {
    fn strike(self, scene: &Scene<'_, Host>, servers: &[u32]) -> Result<()> {
        let machines = scene.machines();
        match self {
            Fault::ServerKilled => {
                servers.iter().try_for_each(|server| machines.node.signal("KILL", *server))
            }
            Fault::ServerStopped | Fault::StoppedBeforeAccept => stop(scene, servers),
            Fault::NodeStarved => {
                stop(scene, servers)?;
                scene.deployment.freeze_agent()
            }
            Fault::NodeCutOff => machines.cut_off(),
        }
    }

    fn is_heard(self) -> bool {
        self != Fault::NodeCutOff
    }

    fn comes_first(self) -> bool {
        self == Fault::StoppedBeforeAccept
    }
}

/// One of a server's threads must have its turn before all of them stand still.
fn stop(scene: &Scene<'_, Host>, servers: &[u32]) -> Result<()> {
    let node = &scene.machines().node;
    for server in servers {
        node.signal("STOP", *server)?;
        node.wait_for("the server to stand still", Duration::from_secs(10), || {
            Ok(scene.deployment.stands_still(*server)?.then_some(()))
        })?;
    }
    Ok(())
}

impl Strikes<Vm> for KernelFault {
    fn strike(self, scene: &Scene<'_, Vm>, _: &[u32]) -> Result<()> {
        let node = &scene.machines().node;
        match self {
            KernelFault::Panic => break_kernel::panic(node)?,
            KernelFault::Spin => break_kernel::hang_all(node)?,
        }
        Ok(())
    }

    fn lay_to_rest(self, scene: &Scene<'_, Vm>) -> Result<()> {
        // Processors that spin are emulated by this machine's.
        Ok(break_kernel::stop_cpus(&scene.machines().node)?)
    }

    fn is_heard(self) -> bool {
        false
    }
}

impl Row<'_, Fault> {
    /// Runs the row on hosts of its own. All clients must get, byte by byte, what they would have got without the fault, and no
    /// connection may be reset.
    ///
    /// # Errors
    /// What was not so; the message has what everybody printed.
    pub fn run(self) -> Result<Outcome> {
        self.run_over(Family::V4)
    }

    /// The same, over a network of this family.
    ///
    /// # Errors
    /// As [`Row::run`].
    pub fn run_over(self, family: Family) -> Result<Outcome> {
        self.run_on(&Machines::hosts_of(family)?)
    }
}

impl Row<'_, KernelFault> {
    /// Runs the row on guests of its own, with a host of clients.
    ///
    /// # Errors
    /// As for hosts.
    pub fn run(self) -> Result<Outcome> {
        self.run_on(&Machines::guests(Kernel::Newest, self.clients.len(), self.sessions)?)
    }
}

/// Starts all servers, of both nodes at the same time; returns the process ids of the first one's.
fn serve<M: Machine + Sync>(scene: &Scene<'_, M>, crowds: &[Crowd<'_, M>]) -> Result<Vec<u32>> {
    let all = |node| crowds.iter().map(|crowd| crowd.serve(scene, node)).collect::<Result<Vec<_>>>();
    std::thread::scope(|threads| {
        let standby = threads.spawn(|| all(Node::Standby));
        let first = all(Node::First);
        standby.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        first
    })
}

impl<F> Row<'_, F> {
    fn run_on<M: Machine + Sync>(self, machines: &Machines<M>) -> Result<Outcome>
    where
        F: Strikes<M>,
    {
        let crowds = Crowd::of(machines, self.clients, self.sessions);
        let scene = Scene::install(machines, &crowd::scene(&crowds))?;
        self.happen(&scene, &crowds).with_context(|| format!("{self:?}\n{}", scene.logs()))
    }

    fn happen<M: Machine + Sync>(&self, scene: &Scene<'_, M>, crowds: &[Crowd<'_, M>]) -> Result<Outcome>
    where
        F: Strikes<M>,
    {
        let (machines, fault) = (scene.machines(), self.fault);
        let servers = serve(scene, crowds)?;
        if fault.comes_first() {
            fault.strike(scene, &servers)?;
        }
        let wire = Wire::watch_ends(&machines.client, PORT..PORT + u16::try_from(crowds.len())?)?;
        hold_back(crowds)?;
        crowds.iter().try_for_each(Crowd::connect)?;
        if !fault.comes_first() {
            crowds.iter().try_for_each(Crowd::wait_until_accepted)?;
        }
        crowds.iter().try_for_each(Crowd::begin)?;
        // In the middle of it.
        std::thread::sleep(machines.pace.patience(Duration::from_secs(1)));
        crowds.iter().try_for_each(Crowd::is_served)?;
        let closing = |crowd: &&Crowd<'_, M>, moment| crowd.closing(fault.is_heard()) == Some(moment);
        for crowd in crowds {
            if let Some(Closing::Before(state)) = crowd.closing(fault.is_heard()) {
                crowd.wait_for_ends(state)?;
                crowd.close()?;
            }
        }
        crowds.iter().try_for_each(Crowd::wait_until_ended)?;
        let_go(crowds)?;
        let struck_at = crate::healing::now();
        if !fault.comes_first() {
            fault.strike(scene, &servers)?;
        }
        crowds.iter().filter(|crowd| closing(crowd, Closing::Meanwhile)).try_for_each(Crowd::close)?;
        if !fault.is_heard() {
            crowds.iter().try_for_each(Crowd::wait_until_unheard)?;
        }
        let (code, text) = scene.deployment.try_backdoors("recover target --json")?;
        let report: Value = serde_json::from_str(&text).with_context(|| format!("{code}: {text}"))?;
        ensure!(code == 0, "not all were resumed: {text}");
        fault.lay_to_rest(scene)?;
        crowds.iter().filter(|crowd| closing(crowd, Closing::After)).try_for_each(Crowd::close)?;
        let mut stalls = Vec::new();
        for crowd in crowds {
            stalls.extend(crowd.end()?);
        }
        end_unbroken(wire, machines.service)?;
        let tally = crowds.first().map_or(Ok(Vec::new()), |crowd| crowd.tally(struck_at))?;
        Ok(Outcome { report, stalls, tally })
    }
}
