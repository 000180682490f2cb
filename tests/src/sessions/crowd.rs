//! A crowd: clients of one kind, with a service and a server of their own.

use super::clients::{BEGIN, CLOSE, Client, Closing, Server};
use super::files;
use super::scene::{Machines, NAME, Node, PORT, Scene, SceneConfig, Served};
use crate::deployment::FOLDER;
use crate::host::Host;
use crate::machine::Machine;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// One of the crowds of a lab.
#[derive(Debug)]
pub(super) struct Crowd<'m, M> {
    machines: &'m Machines<M>,
    client: Client,
    sessions: usize,
    /// Its place among the crowds, from 0.
    number: u16,
}

impl<'m, M: Machine> Crowd<'m, M> {
    /// So many clients of each of these kinds.
    pub fn of(machines: &'m Machines<M>, clients: &[Client], sessions: usize) -> Vec<Crowd<'m, M>> {
        let crowd = |(number, client): (u16, &Client)| Crowd::new(machines, *client, sessions, number);
        (0..).zip(clients).map(crowd).collect()
    }

    /// One of them alone.
    pub fn new(machines: &'m Machines<M>, client: Client, sessions: usize, number: u16) -> Crowd<'m, M> {
        Crowd { machines, client, sessions, number }
    }

    /// Its service, with room for all of it.
    fn served(&self) -> Served {
        let name = if self.number == 0 { NAME.into() } else { format!("{NAME}{}", self.number).into() };
        let room = self.client.connections(self.sessions).next_power_of_two().max(16);
        let output_ring = if self.client.is_behind() { "1MiB" } else { "256KiB" };
        let lines = format!("sessions = {room}\nring = \"128KiB\"\noutput_ring = \"{output_ring}\"\n");
        Served { name, port: PORT + self.number, lines }
    }

    fn service(&self) -> SocketAddr {
        self.machines.service_at(PORT + self.number)
    }

    fn folder(&self) -> String {
        format!("{FOLDER}/crowd{}", self.number)
    }

    fn host(&self) -> &'m Host {
        &self.machines.client
    }

    fn patience(&self, seconds: u64) -> Duration {
        self.machines.pace.patience(Duration::from_secs(seconds))
    }

    /// The program of its server, and what that is told.
    pub fn server(&self) -> Result<(String, String)> {
        let server = self.client.server();
        let arguments = server.arguments(self.service(), &self.served().name);
        Ok((self.machines.node.program(server.program())?, arguments))
    }

    /// Starts its server on a node; returns its process id.
    pub fn serve(&self, scene: &Scene<'_, M>, node: Node) -> Result<u32> {
        if self.client.server() == Server::Files {
            files::put(self.machines.machine(node), self.machines.pace.bytes_each(self.sessions))?;
        }
        let (program, arguments) = self.server()?;
        scene.serve(node, &program, &arguments)
    }

    /// Has it connect. Those of the lab wait to be told to begin.
    pub fn connect(&self) -> Result<()> {
        let Machines { client: host, node, pace, .. } = self.machines;
        let sum = if self.client.server() == Server::Files { files::sum(node)? } else { String::new() };
        let program = host.program("backdoors-client")?;
        let script = self.client.script(&program, self.service(), *pace, self.sessions, &sum);
        let folder = self.folder();
        host.shell(&format!("mkdir {folder}"))?;
        host.write(&format!("{folder}/clients.sh"), &format!("cd {folder}\n{script}"))?;
        host.start(&format!("bash {folder}/clients.sh"), &format!("{folder}/log"))?;
        self.wait_until_connected()
    }

    /// By what they say and by what the node's kernel says: where its queue of connections to be accepted was full, it comes to know
    /// later than the client.
    fn wait_until_connected(&self) -> Result<()> {
        let wanted = self.client.connections(self.sessions);
        let known = "exclude listening exclude syn-recv exclude time-wait";
        self.host().wait_for("clients that are connected", self.patience(60), || {
            let said = if self.client.server() == Server::Echo {
                self.said()?.matches("connected").count()
            } else {
                self.connections("state established")?
            };
            Ok((said >= wanted && self.ends(known)? >= wanted).then_some(()))
        })
    }

    /// Waits until the server has accepted all: the kernel of a server that is killed resets the others.
    pub fn wait_until_accepted(&self) -> Result<()> {
        let queue = format!("ss -Htln sport = :{} | awk '{{print $2}}'", self.service().port());
        let node = &self.machines.node;
        node.wait_for("a server that has accepted all", self.patience(20), || {
            Ok((node.shell(&queue)?.trim() == "0").then_some(()))
        })
    }

    /// Tells those of the lab, which are connected, to begin.
    pub fn begin(&self) -> Result<()> {
        self.host().write(&format!("{}/{BEGIN}", self.folder()), "")
    }

    /// Sees that none is done.
    pub fn is_served(&self) -> Result<()> {
        let said = self.said()?;
        ensure!(!said.contains(' '), "one of {:?} was done too early: {said}", self.client);
        Ok(())
    }

    /// When it is to close, at a node that hears of it or does not.
    pub fn closing(&self, is_heard: bool) -> Option<Closing> {
        match self.client.closing() {
            // A node that hears of it ends the session with its client.
            Some(Closing::Meanwhile) if is_heard => Some(Closing::After),
            closing => closing,
        }
    }

    /// Tells it to.
    pub fn close(&self) -> Result<()> {
        self.host().write(&format!("{}/{CLOSE}", self.folder()), "")
    }

    /// Waits until the node's ends are in the state in which its server has nothing more to do with them, if there is one.
    pub fn wait_until_ended(&self) -> Result<()> {
        self.client.ended_state().map_or(Ok(()), |state| self.wait_for_ends(state))
    }

    /// Waits until the node's ends of all its connections are in this state.
    pub fn wait_for_ends(&self, state: &str) -> Result<()> {
        self.wait_for_state(&self.machines.node, "sport", state, self.patience(20))
    }

    /// Waits until its own ends are in the state in which nobody hears that they have closed.
    pub fn wait_until_unheard(&self) -> Result<()> {
        let Some(state) = self.client.unheard_state() else { return Ok(()) };
        self.wait_for_state(self.host(), "dport", state, self.patience(10))
    }

    /// Waits until all its connections are in this state at an end where the service's port is what `ss` calls `port`.
    fn wait_for_state<E: Machine>(&self, end: &E, port: &str, state: &str, patience: Duration) -> Result<()> {
        let filter = format!("{port} = :{}", self.service().port());
        let all = end.wait_for(&format!("connections that are in {state}"), patience, || {
            Ok((count(end, &format!("state {state} {filter}"))? == self.sessions).then_some(()))
        });
        all.with_context(|| {
            let ends = end.shell(&format!("ss -Htan {filter}")).unwrap_or_default();
            format!("{state} is not the state of all of\n{ends}")
        })
    }

    /// Waits for the end of all, which is to be a good one; returns the longest time that each had no byte, where that is known.
    pub fn end(&self) -> Result<Vec<Duration>> {
        let ends = self.client.ends(self.sessions);
        let lines = self.host().wait_for("the clients' end", self.patience(90), || {
            let said = self.said()?;
            let lines: Vec<String> =
                said.lines().filter(|line| line.contains(' ')).map(str::to_owned).collect();
            Ok((lines.len() >= ends).then_some(lines))
        });
        let lines = lines.with_context(|| format!("of {:?}", self.client))?;
        let mut stalls = Vec::new();
        for line in lines {
            if self.client.server() == Server::Iperf {
                let [status, number, _] = line.split(' ').collect::<Vec<_>>()[..] else {
                    anyhow::bail!("one of {:?} says: {line}", self.client)
                };
                let told = self.host().shell(&format!("cat {}/iperf.{number}", self.folder()))?;
                ensure!(status == "0", "iperf3 ended with {status}: {told}");
                both_ends_agree(&told)?;
            } else {
                let mut words = line.split(' ');
                let (_, stall) = (words.next(), words.next().unwrap_or_default());
                ensure!(words.eq(["ok"]), "one of {:?} says: {line}", self.client);
                stalls.extend(stall.parse().ok().map(Duration::from_millis));
            }
        }
        // Their kernel still closes what they left behind; what only waits for its time to be over is closed.
        self.host().wait_for("the connections' end", self.patience(20), || {
            Ok((self.connections("state all")? == self.connections("state time-wait")?).then_some(()))
        })?;
        Ok(stalls)
    }

    /// How many bytes those of the lab had got together, over time: seconds since this time, nanoseconds since 1970.
    pub fn tally(&self, since: u64) -> Result<Vec<(f64, f64)>> {
        let text = self.host().shell(&format!("cat {}/tally 2>/dev/null || true", self.folder()))?;
        let line = |line: &str| {
            let (at, bytes) = line.split_once(' ')?;
            Some(((at.parse::<f64>().ok()? - since as f64) / 1e9, bytes.parse().ok()?))
        };
        Ok(text.lines().filter_map(line).collect())
    }

    fn said(&self) -> Result<String> {
        self.host().shell(&format!("cat {}/log", self.folder()))
    }

    /// Its own ends that `ss` finds by this filter.
    fn connections(&self, filter: &str) -> Result<usize> {
        count(self.host(), &format!("{filter} dport = :{}", self.service().port()))
    }

    /// The node's ends.
    fn ends(&self, filter: &str) -> Result<usize> {
        count(&self.machines.node, &format!("{filter} sport = :{}", self.service().port()))
    }
}

/// A scene with the services of these crowds.
pub(super) fn scene<M: Machine>(crowds: &[Crowd<'_, M>]) -> SceneConfig {
    SceneConfig {
        services: crowds.iter().map(Crowd::served).collect(),
        lines: String::new(),
        ..SceneConfig::default()
    }
}

/// Has the network lose, until the fault, what those that read as fast as they can would read beyond a slow pace.
pub(super) fn hold_back<M: Machine>(crowds: &[Crowd<'_, M>]) -> Result<()> {
    narrow(crowds, |crowd| crowd.machines.pace.opening_rate())
}

/// And from the fault on at the pace of the others.
pub(super) fn let_go<M: Machine>(crowds: &[Crowd<'_, M>]) -> Result<()> {
    narrow(crowds, |crowd| crowd.machines.pace.rate(crowd.sessions))
}

fn narrow<M: Machine>(crowds: &[Crowd<'_, M>], rate: impl Fn(&Crowd<'_, M>) -> usize) -> Result<()> {
    let held: Vec<_> = crowds.iter().filter(|crowd| crowd.client.server() == Server::Files).collect();
    let Some(first) = held.first() else { return Ok(()) };
    let ports: Vec<u16> = held.iter().map(|crowd| crowd.service().port()).collect();
    first.host().port().narrow(held.iter().map(|crowd| rate(crowd)).sum(), &ports)
}

/// Connections of a machine that `ss` finds by this filter.
fn count<M: Machine>(machine: &M, filter: &str) -> Result<usize> {
    let count = machine.shell(&format!("ss -Htn {filter} | wc -l"))?;
    count.trim().parse().context("counting connections")
}

/// Whether as many bytes came as were sent, by what iperf3 tells of both ends, of each stream.
fn both_ends_agree(told: &str) -> Result<()> {
    let told: Value = serde_json::from_str(told).context("what iperf3 tells")?;
    let streams = told["end"]["streams"].as_array().with_context(|| format!("no streams: {told}"))?;
    ensure!(!streams.is_empty(), "no streams: {told}");
    for stream in streams {
        let [sent, received] = ["sender", "receiver"].map(|end| stream[end]["bytes"].as_u64());
        ensure!(sent > Some(0) && sent == received, "sent {sent:?}, received {received:?}: {told}");
    }
    Ok(())
}
