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
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 4] =
        [Fault::ServerKilled, Fault::ServerStopped, Fault::NodeStarved, Fault::NodeCutOff];

    fn strike(self, scene: &Scene<'_, Host>, server: u32) -> Result<()> {
        let machines = scene.machines();
        match self {
            Fault::ServerKilled => machines.node.signal("KILL", server),
            Fault::ServerStopped => machines.node.signal("STOP", server),
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
    pub const ALL: [Client; 5] =
        [Client::Downloads, Client::Stalls, Client::Dribbles, Client::Uploads, Client::HalfCloses];

    /// What it is told, so that it is in the middle of it for some seconds.
    fn arguments(self, sessions: usize) -> String {
        // Much more than buffers hold, and not more than a small machine can check while it lasts.
        let each = |all: usize| (all / sessions).max(all / 40);
        let (bytes, rate) = (each(20_000_000), each(5_000_000));
        match self {
            Client::Downloads => format!("'download {bytes}' --rate {rate}"),
            Client::Stalls => format!("'download {}' --stall 2500", 8 * bytes),
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
        let config = SceneConfig {
            service: format!("sessions = {room}\nring = \"128KiB\"\n"),
            ..SceneConfig::default()
        };
        let scene = Scene::install(&machines, &config)?;
        self.happen(&machines, &scene).with_context(|| format!("{self:?}\n{}", scene.logs()))
    }

    fn happen(self, machines: &Machines<Host>, scene: &Scene<'_, Host>) -> Result<Outcome> {
        let first = scene.serve(Node::First, "backdoors-echo", &PORT.to_string())?;
        scene.serve(Node::Standby, "backdoors-echo", &PORT.to_string())?;
        let resets = Wire::watch_resets(&machines.client, PORT)?;
        let program = machines.client.program("backdoors-client")?;
        let log = format!("{FOLDER}/client.log");
        let arguments = self.client.arguments(self.sessions);
        let command =
            format!("{program} {}:{PORT} {arguments} --sessions {}", machines.service, self.sessions);
        machines.client.start(&command, &log)?;
        let said = || machines.client.shell(&format!("cat {log}"));
        machines.client.wait_for("clients that are connected", Duration::from_secs(40), || {
            Ok((said()?.matches("connected").count() == self.sessions).then_some(()))
        })?;
        // In the middle of it.
        std::thread::sleep(Duration::from_secs(1));
        ensure!(!said()?.contains("ok"), "a client was done before anything happened: {}", said()?);
        self.fault.strike(scene, first)?;
        let (code, text) = scene.deployment.try_backdoors("recover target --json")?;
        let report: Value = serde_json::from_str(&text).with_context(|| format!("{code}: {text}"))?;
        ensure!(code == 0, "not all were resumed: {text}");
        let lines = machines.client.wait_for("the clients' end", Duration::from_secs(90), || {
            let text = said()?;
            let lines: Vec<String> =
                text.lines().filter(|line| line.contains(' ')).map(str::to_owned).collect();
            Ok((lines.len() >= self.sessions).then_some(lines))
        })?;
        let stalls = lines.iter().map(|line| stall(line)).collect::<Result<_>>()?;
        let mut seen = resets.end()?;
        // All clients have said that they got everything and a clean end. After that a client's kernel answers with a reset
        // what comes late, of packets that overtook each other on two processors; nobody hears of it.
        let service = format!(" {}.{PORT} > ", machines.service);
        seen.retain(|line| line.contains(&service));
        ensure!(seen.is_empty(), "connections were reset: {seen:?}");
        Ok(Outcome { report, stalls })
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
