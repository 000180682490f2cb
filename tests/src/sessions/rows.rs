//! What can happen to a node while it serves, and to whom: each row is one fault and one kind of client.

pub use super::clients::Client;
use super::clients::{Closing, connections, count};
use super::scene::{Family, Machines, Node, PORT, Scene, SceneConfig};
use super::wire::{Wire, breaks};
use crate::deployment::FOLDER;
use crate::host::Host;
use crate::machine::Machine;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
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

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What happens.
    pub fault: Fault,
    /// To whom.
    pub client: Client,
    /// How many of them.
    pub sessions: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the monitor reported.
    pub report: Value,
    /// The longest time that each client was without a byte, of those that tell.
    pub stalls: Vec<Duration>,
    /// How many bytes all clients together had got, over time: seconds since the fault.
    pub tally: Vec<(f64, f64)>,
}

impl Fault {
    /// Those that happen to who is served.
    pub const ALL: [Fault; 4] =
        [Fault::ServerKilled, Fault::ServerStopped, Fault::NodeStarved, Fault::NodeCutOff];

    fn strike(self, scene: &Scene<'_, Host>, server: u32) -> Result<()> {
        let machines = scene.machines();
        match self {
            Fault::ServerKilled => machines.node.signal("KILL", server),
            Fault::ServerStopped | Fault::StoppedBeforeAccept => stop(scene, server),
            Fault::NodeStarved => {
                stop(scene, server)?;
                scene.deployment.freeze_agent()
            }
            Fault::NodeCutOff => machines.cut_off(),
        }
    }
}

/// Waits until the server has accepted all: the kernel of a server that is killed resets the others.
fn wait_until_accepted(machines: &Machines<Host>) -> Result<()> {
    let queue = format!("ss -Htln sport = :{PORT} | awk '{{print $2}}'");
    machines.node.wait_for("a server that has accepted all", Duration::from_secs(20), || {
        Ok((machines.node.shell(&queue)?.trim() == "0").then_some(()))
    })
}

/// Waits until the node's ends of so many connections are in this state.
fn wait_for_ends(machines: &Machines<Host>, state: &str, sessions: usize) -> Result<()> {
    let filter = format!("state {state} sport = :{PORT}");
    let ended = machines.node.wait_for("sessions that were ended", Duration::from_secs(20), || {
        Ok((count(&machines.node, &filter)? == sessions).then_some(()))
    });
    let others = || machines.node.shell(&format!("ss -Htan sport = :{PORT}")).unwrap_or_default();
    ended.with_context(|| format!("{state} is not the state of all of\n{}", others()))
}

/// One of a server's threads must have its turn before all of them stand still.
fn stop(scene: &Scene<'_, Host>, server: u32) -> Result<()> {
    let node = &scene.machines().node;
    node.signal("STOP", server)?;
    node.wait_for("the server to stand still", Duration::from_secs(10), || {
        Ok(scene.deployment.stands_still(server)?.then_some(()))
    })
}

impl Row {
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
        let machines = Machines::hosts_of(family)?;
        let room = self.client.connections(self.sessions).next_power_of_two().max(16);
        let output_ring = if self.client.is_behind() { "1MiB" } else { "256KiB" };
        let config = SceneConfig {
            lines: format!("sessions = {room}\nring = \"128KiB\"\noutput_ring = \"{output_ring}\"\n"),
            ..SceneConfig::default()
        };
        let scene = Scene::install(&machines, &config)?;
        self.happen(&machines, &scene).with_context(|| format!("{self:?}\n{}", scene.logs()))
    }

    fn happen(self, machines: &Machines<Host>, scene: &Scene<'_, Host>) -> Result<Outcome> {
        let Row { fault, client, sessions } = self;
        let script = client.script(machines, sessions)?;
        let (server, arguments) = client.server(machines.service);
        let server = machines.node.program(server)?;
        let first = scene.serve(Node::First, &server, &arguments)?;
        scene.serve(Node::Standby, &server, &arguments)?;
        if fault == Fault::StoppedBeforeAccept {
            fault.strike(scene, first)?;
        }
        let clients = Clients::connect(machines, client, sessions, &script)?;
        if fault != Fault::StoppedBeforeAccept {
            wait_until_accepted(machines)?;
        }
        Client::begin(&machines.client)?;
        // In the middle of it.
        std::thread::sleep(Duration::from_secs(1));
        clients.are_served()?;
        let closing = match client.closing() {
            // A node that hears of it ends the session with its client.
            Some(Closing::Meanwhile) if fault != Fault::NodeCutOff => Some(Closing::After),
            closing => closing,
        };
        if let Some(Closing::Before(state)) = closing {
            wait_for_ends(machines, state, sessions)?;
            Client::close(&machines.client)?;
        }
        if let Some(state) = client.ended_state() {
            wait_for_ends(machines, state, sessions)?;
        }
        client.let_go(&machines.client, sessions)?;
        let struck_at = crate::healing::now();
        if fault != Fault::StoppedBeforeAccept {
            fault.strike(scene, first)?;
        }
        if closing == Some(Closing::Meanwhile) {
            Client::close(&machines.client)?;
        }
        if let (Fault::NodeCutOff, Some(state)) = (fault, client.unheard_state()) {
            machines.client.wait_for("clients that close", Duration::from_secs(10), || {
                Ok((connections(&machines.client, state)? == sessions).then_some(()))
            })?;
        }
        let (code, text) = scene.deployment.try_backdoors("recover target --json")?;
        let report: Value = serde_json::from_str(&text).with_context(|| format!("{code}: {text}"))?;
        ensure!(code == 0, "not all were resumed: {text}");
        if closing == Some(Closing::After) {
            Client::close(&machines.client)?;
        }
        let stalls = clients.end()?;
        let tally = machines.client.shell(&format!("cat {FOLDER}/tally 2>/dev/null || true"))?;
        Ok(Outcome { report, stalls, tally: self::tally(&tally, struck_at) })
    }
}

/// Clients of one kind that are served, while somebody looks for resets.
pub(super) struct Clients<'m> {
    machines: &'m Machines<Host>,
    client: Client,
    sessions: usize,
    wire: Wire,
}

const CLIENT_LOG: &str = "/run/backdoors/client.log";

impl<'m> Clients<'m> {
    /// Has them connect, by the script of [`Client::script`].
    pub fn connect(
        machines: &'m Machines<Host>,
        client: Client,
        sessions: usize,
        script: &str,
    ) -> Result<Clients<'m>> {
        let host = &machines.client;
        host.write(&format!("{FOLDER}/client.sh"), &format!("cd {FOLDER}\n{script}"))?;
        let wire = Wire::watch_ends(host, PORT)?;
        client.hold_back(host)?;
        host.start(&format!("bash {FOLDER}/client.sh"), CLIENT_LOG)?;
        client.wait_until_connected(machines, CLIENT_LOG, sessions)?;
        Ok(Clients { machines, client, sessions, wire })
    }

    /// Sees that none is done.
    pub fn are_served(&self) -> Result<()> {
        let said = self.machines.client.shell(&format!("cat {CLIENT_LOG}"))?;
        ensure!(!said.contains(' '), "a client was done too early: {said}");
        Ok(())
    }

    /// Waits until all have what they wanted, and a clean end; returns how long each was without a byte at most, of those that
    /// tell.
    pub fn end(self) -> Result<Vec<Duration>> {
        let host = &self.machines.client;
        let stalls = self.client.wait_for_the_end(host, CLIENT_LOG, self.sessions)?;
        // Their kernel still closes what they left behind; what only waits for its time to be over is closed.
        host.wait_for("the connections' end", Duration::from_secs(20), || {
            let waiting = connections(host, "time-wait")?;
            Ok((connections(host, "all")? == waiting).then_some(()))
        })?;
        let broken = breaks(&self.wire.end()?, self.machines.service_at(PORT));
        ensure!(broken.is_empty(), "connections were reset: {broken:?}");
        Ok(stalls)
    }
}

/// What the clients wrote down as they went.
fn tally(text: &str, struck_at: u64) -> Vec<(f64, f64)> {
    let line = |line: &str| {
        let (at, bytes) = line.split_once(' ')?;
        Some(((at.parse::<f64>().ok()? - struck_at as f64) / 1e9, bytes.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}
