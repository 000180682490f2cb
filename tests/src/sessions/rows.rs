//! What can happen to a node while it serves, and to whom: each row is one fault and one kind of client.

use super::scene::{Machines, Node, PORT, Scene, SceneConfig};
use super::wire::Wire;
use crate::deployment::FOLDER;
use crate::host::Host;
use crate::machine::Machine;
use anyhow::{Context, Result, bail, ensure};
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

/// Who is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// Reads a long stream.
    Downloads,
    /// Does so with a pause in which its window closes.
    Stalls,
    /// Writes small pieces all the time, also while nobody serves it, and reads what comes back.
    Dribbles,
    /// Writes a long stream, and hears at the end what came.
    Uploads,
    /// Has said all that it has to say, and reads.
    HalfCloses,
    /// Reads slowly what its server has written and ended long ago.
    Lags,
    /// Has everything, its end too, and does not close yet.
    Stays,
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
    /// The longest time that each client was without a byte.
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
            Fault::ServerStopped | Fault::StoppedBeforeAccept => machines.node.signal("STOP", server),
            Fault::NodeStarved => {
                machines.node.signal("STOP", server)?;
                scene.deployment.freeze_agent()
            }
            Fault::NodeCutOff => machines.cut_off(),
        }
    }
}

impl Client {
    /// All of them.
    pub const ALL: [Client; 7] = [
        Client::Downloads,
        Client::Stalls,
        Client::Dribbles,
        Client::Uploads,
        Client::HalfCloses,
        Client::Lags,
        Client::Stays,
    ];

    /// What it is told, so that it is in the middle of it for some seconds.
    fn arguments(self, sessions: usize) -> String {
        // Much more than buffers hold, and not more than a small machine can check while it lasts.
        let each = |all: usize| (all / sessions).max(all / 40);
        let (bytes, rate) = (each(20_000_000), each(5_000_000));
        match self {
            Client::Downloads => format!("'download {bytes}' --rate {rate}"),
            Client::Stalls => format!("'download {bytes}' --rate {} --stall 2500", 4 * rate),
            Client::Dribbles => {
                // As many pieces as there is time for, all the same for one as for many.
                let pieces = 400;
                format!("echo --write {} --piece 777 --pause 7", 777 * pieces)
            }
            Client::Uploads => {
                let piece = each(100_000);
                format!("sink --write {} --piece {piece} --pause 20", 150 * piece)
            }
            Client::HalfCloses => format!("'download {bytes}' --rate {rate} --half-close"),
            // As much as goes into the buffers of both ends.
            Client::Lags => "'download 300000' --rate 50000".to_owned(),
            Client::Stays => "'download 100000' --stay 5000".to_owned(),
        }
    }

    /// What the node's end of its connection is in when the server has nothing more to do with it; none if it has.
    fn ended_state(self) -> Option<&'static str> {
        match self {
            Client::Lags => Some("fin-wait-1"),
            Client::Stays => Some("fin-wait-2"),
            _ => None,
        }
    }
}

impl Row {
    /// Runs the row on hosts of its own. All clients must get, byte by byte, what they would have got without the fault, and no
    /// connection may be reset.
    ///
    /// # Errors
    /// What was not so; the message has what everybody printed.
    pub fn run(self) -> Result<Outcome> {
        let machines = Machines::hosts()?;
        let room = self.sessions.next_power_of_two().max(16);
        let output_ring = if self.client == Client::Lags { "1MiB" } else { "256KiB" };
        let config = SceneConfig {
            lines: format!("sessions = {room}\nring = \"128KiB\"\noutput_ring = \"{output_ring}\"\n"),
            ..SceneConfig::default()
        };
        let scene = Scene::install(&machines, &config)?;
        self.happen(&machines, &scene).with_context(|| format!("{self:?}\n{}", scene.logs()))
    }

    fn happen(self, machines: &Machines<Host>, scene: &Scene<'_, Host>) -> Result<Outcome> {
        let (server, at) = (machines.node.program("backdoors-echo")?, PORT.to_string());
        let first = scene.serve(Node::First, &server, &at)?;
        scene.serve(Node::Standby, &server, &at)?;
        if self.fault == Fault::StoppedBeforeAccept {
            self.fault.strike(scene, first)?;
        }
        let clients = Clients::connect(machines, self.client, self.sessions)?;
        // In the middle of it.
        std::thread::sleep(Duration::from_secs(1));
        clients.are_served()?;
        if let Some(state) = self.client.ended_state() {
            let count = format!("ss -Htn state {state} sport = :{PORT} | wc -l");
            machines.node.wait_for("sessions that were ended", Duration::from_secs(5), || {
                Ok((machines.node.shell(&count)?.trim() == self.sessions.to_string()).then_some(()))
            })?;
        }
        let struck_at = crate::healing::now();
        if self.fault != Fault::StoppedBeforeAccept {
            self.fault.strike(scene, first)?;
        }
        let (code, text) = scene.deployment.try_backdoors("recover target --json")?;
        let report: Value = serde_json::from_str(&text).with_context(|| format!("{code}: {text}"))?;
        ensure!(code == 0, "not all were resumed: {text}");
        let stalls = clients.end()?;
        let tally = tally(&machines.client.shell(&format!("cat {FOLDER}/tally"))?, struck_at);
        Ok(Outcome { report, stalls, tally })
    }
}

/// Clients of one kind that are served, while somebody looks for resets.
pub(super) struct Clients<'m> {
    machines: &'m Machines<Host>,
    sessions: usize,
    resets: Wire,
}

const CLIENT_LOG: &str = "/run/backdoors/client.log";

impl<'m> Clients<'m> {
    /// Has them connect.
    pub fn connect(machines: &'m Machines<Host>, client: Client, sessions: usize) -> Result<Clients<'m>> {
        let clients = Clients { machines, sessions, resets: Wire::watch_resets(&machines.client, PORT)? };
        let program = machines.client.program("backdoors-client")?;
        let arguments = client.arguments(sessions);
        let command = format!(
            "{program} {}:{PORT} {arguments} --sessions {sessions} --tally {FOLDER}/tally",
            machines.service
        );
        machines.client.start(&command, CLIENT_LOG)?;
        machines.client.wait_for("clients that are connected", Duration::from_secs(40), || {
            Ok((clients.said()?.matches("connected").count() == sessions).then_some(()))
        })?;
        Ok(clients)
    }

    fn said(&self) -> Result<String> {
        self.machines.client.shell(&format!("cat {CLIENT_LOG}"))
    }

    /// Sees that none is done.
    pub fn are_served(&self) -> Result<()> {
        let said = self.said()?;
        ensure!(!said.contains("ok"), "a client was done before anything happened: {said}");
        Ok(())
    }

    /// Waits until all have what they wanted, and a clean end; returns how long each was without a byte at most.
    pub fn end(self) -> Result<Vec<Duration>> {
        let lines = self.machines.client.wait_for("the clients' end", Duration::from_secs(90), || {
            let text = self.said()?;
            let lines: Vec<String> =
                text.lines().filter(|line| line.contains(' ')).map(str::to_owned).collect();
            Ok((lines.len() >= self.sessions).then_some(lines))
        })?;
        let stalls = lines.iter().map(|line| stall(line)).collect::<Result<_>>()?;
        let mut seen = self.resets.end()?;
        // All clients have said that they got everything and a clean end. After that a client's kernel answers with a reset
        // what comes late, of packets that overtook each other on two processors; nobody hears of it.
        let service = format!(" {}.{PORT} > ", self.machines.service);
        seen.retain(|line| line.contains(&service));
        ensure!(seen.is_empty(), "connections were reset: {seen:?}");
        Ok(stalls)
    }
}

/// The longest time without a byte, of what a client printed at its end.
fn stall(line: &str) -> Result<Duration> {
    let mut words = line.split(' ');
    let (Some(_), Some(stall), Some("ok")) = (words.next(), words.next(), words.next()) else {
        bail!("a client says: {line}");
    };
    Ok(Duration::from_millis(stall.parse()?))
}

/// What the clients wrote down as they went.
fn tally(text: &str, struck_at: u64) -> Vec<(f64, f64)> {
    let line = |line: &str| {
        let (at, bytes) = line.split_once(' ')?;
        Some(((at.parse::<f64>().ok()? - struck_at as f64) / 1e9, bytes.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}
