//! Three machines of a network: a client, the node that serves it, and a standby that looks after the node.

use super::clients::{Pace, Server};
use super::group::Group;
use crate::deployment::{Deployment, FOLDER, Plan};
use crate::host::{Host, HostLimits, Network, Port};
use crate::machine::Machine;
use crate::vm::{Kernel, SeenFrom, Uplink, Vm, VmConfig, Wire};
use anyhow::{Context, Result};
use backdoors_rdma::handshake::Identity;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Where the service is served.
pub const PORT: u16 = 8080;
/// Its name.
pub const NAME: &str = "pages";
const UP: Duration = Duration::from_secs(120);
/// For a thousand clients, each of some processes.
const CLIENTS: HostLimits = HostLimits { processes: 8192, memory: 8 << 30 };
/// Who looks after the standby.
pub(super) const SECOND: &str = "second";
/// The last byte of the service's address, which moves.
const SERVICE: u8 = 80;

/// The machines of a lab. All in them ends when it is dropped.
#[derive(Debug)]
pub struct Machines<M> {
    /// Who is served: always a host, whose clients are at this machine's full speed.
    pub client: Host,
    /// Who serves.
    pub node: M,
    /// Who goes on.
    pub standby: M,
    /// The groups of node's and standby's services; none where each machine has a kernel of its own.
    groups: Option<[Group; 2]>,
    provider: &'static str,
    /// Lines of the target in the monitor's configuration.
    watch: &'static str,
    /// The address that moves.
    pub service: IpAddr,
    /// Name of the interface that leads to the clients.
    pub(super) interface: &'static str,
    /// Where the node is plugged into the clients' network, if that is one of its own.
    port: Option<Port>,
    /// What clients may want of them.
    pub(super) pace: Pace,
    /// Of the clients.
    pub(super) outside: Network,
    /// Of node and standby, where they are hosts.
    pub(super) inside: Option<Network>,
    /// What connects guests with the clients.
    #[expect(dead_code, reason = "it is there as long as they are")]
    uplink: Option<Uplink>,
}

/// Family of the clients' addresses, and of the service's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A service of both nodes.
#[derive(Clone, Debug)]
pub struct Served {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Where it is served.
    pub port: u16,
    /// Lines of both agents' `[[service]]` of it alone.
    pub lines: String,
}

/// How a scene is set up.
#[derive(Clone, Debug)]
pub struct SceneConfig {
    /// The services.
    pub services: Vec<Served>,
    /// Lines of each of them, too.
    pub lines: String,
    /// Limits of the node's sensors, lines of `[limits]`.
    pub limits: String,
    /// Lines of the target's rules in the monitor's configuration.
    pub rules: String,
}

impl Default for SceneConfig {
    fn default() -> Self {
        SceneConfig {
            services: vec![Served { name: Cow::Borrowed(NAME), port: PORT, lines: String::new() }],
            lines: "sessions = 16\n".to_owned(),
            limits: String::new(),
            rules: String::new(),
        }
    }
}

/// Which of the two hosts that can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// The one that has the address first.
    First,
    /// The one that gets it.
    Standby,
}

/// The machines with all that runs on them, but servers and clients.
#[derive(Debug)]
pub struct Scene<'m, M> {
    machines: &'m Machines<M>,
    /// The node's owner of memory and agent, and the monitor on the standby.
    pub deployment: Deployment<'m, M>,
    /// Process id of the standby's own agent.
    pub standby_agent: u32,
    pub(super) config: SceneConfig,
    /// Of the standby, and of who looks after it.
    pub(super) keys: TempDir,
}

impl Machines<Host> {
    /// Hosts on this machine's kernel.
    ///
    /// # Errors
    /// As [`Host::boot`].
    pub fn hosts() -> Result<Machines<Host>> {
        Self::hosts_of(Family::V4)
    }

    /// The same, whose service and clients have addresses of this family.
    ///
    /// # Errors
    /// As [`Host::boot`].
    pub fn hosts_of(family: Family) -> Result<Machines<Host>> {
        let (inside, outside) = (Network::new()?, Network::new()?);
        let limits = HostLimits::default();
        let boot = |name, last| Host::boot(&inside, name, Ipv4Addr::new(10, 88, 0, last), limits);
        let (node, standby) = (boot("node", 1)?, boot("standby", 2)?);
        let at = |last| Ipv4Addr::new(10, 99, 0, last);
        let port = node.plug_in(&outside, "eth1", at(1))?;
        standby.plug_in(&outside, "eth1", at(2))?;
        let machines = Machines {
            client: Host::boot(&outside, "client", at(3), CLIENTS)?,
            node,
            standby,
            service: match family {
                Family::V4 => at(SERVICE).into(),
                Family::V6 => v6(SERVICE.into()),
            },
            interface: "eth1",
            groups: Some([Group::create()?, Group::create()?]),
            provider: "emulated",
            watch: "period = \"20ms\"\n",
            port: Some(port),
            pace: Pace { bytes: 20_000_000, slowness: 1 },
            outside,
            inside: Some(inside),
            uplink: None,
        };
        for (host, interface, last) in
            [(&machines.node, "eth1", 1), (&machines.standby, "eth1", 2), (&machines.client, "eth0", 3)]
        {
            host.shell(&format!("ip address add {}/64 dev {interface} nodad", v6(last)))?;
        }
        machines.give_address()?;
        Ok(machines)
    }
}

/// An address of the clients' network.
fn v6(last: u16) -> IpAddr {
    [0xfd00, 0x99, 0, 0, 0, 0, 0, last].into()
}

impl Machines<Host> {
    /// Cuts the node off from its clients. The monitor still reaches its memory, over another network.
    ///
    /// # Errors
    /// If the network is gone.
    pub fn cut_off(&self) -> Result<()> {
        self.port.context("the node has no port of its own")?.cut()
    }
}

impl Machines<Vm> {
    /// Guests, of which the node has a NIC outside of it, which answers for it whatever becomes of its kernel; and a host of clients
    /// in their network. There are so many crowds of so many clients.
    ///
    /// # Errors
    /// As [`Vm::boot_all`], [`Host::boot`] and [`Uplink::plug`].
    pub fn guests(kernel: Kernel, crowds: usize, sessions: usize) -> Result<Machines<Vm>> {
        // A crowd's rings take less than a MiB for each.
        let memory_mib = u32::try_from(1024 + crowds * sessions.next_power_of_two())?;
        let pace = Pace {
            // More than buffers hold for each.
            bytes: 320_000 * sessions.max(13),
            slowness: u32::try_from(6 + sessions / 4)?,
        };
        let (wire, outside) = (Wire::switch(3)?, Network::new()?);
        let config = |name, cpus, host_link, outside_nic: Option<SeenFrom>, own: &[&str]| VmConfig {
            name,
            cpus,
            host_link,
            kernel,
            reboots: true,
            network: Some(&wire),
            outside_nic,
            memory_mib,
            programs: ["backdoors-nic", "backdoors-agent"]
                .into_iter()
                .chain(Server::ALL.map(Server::program))
                .chain(own.iter().copied())
                .map(str::to_owned)
                .collect(),
            ..VmConfig::default()
        };
        let [node, standby] = Vm::boot_all([
            config("node", 2, false, Some(SeenFrom::Guests), &[]),
            config("standby", 1, true, None, &["backdoors"]),
        ])?;
        let uplink = Uplink::plug(&wire, &outside)?;
        let client = Host::boot(&outside, "client", uplink.address(), CLIENTS)?;
        client.shell(&format!("ip link set eth0 address {}", uplink.hardware_address()))?;
        let [a, b, c, _] = Machine::address(&node).octets();
        let machines = Machines {
            client,
            node,
            standby,
            service: Ipv4Addr::new(a, b, c, SERVICE).into(),
            interface: "eth0",
            groups: None,
            provider: "attached",
            // Emulated processors are slow.
            watch: "period = \"100ms\"\ndeadline = \"1s\"\n",
            port: None,
            pace,
            outside,
            inside: None,
            uplink: Some(uplink),
        };
        machines.give_address()?;
        Ok(machines)
    }
}

impl<M: Machine> Machines<M> {
    /// Where clients find what is served at this port.
    #[must_use]
    pub fn service_at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.service, port)
    }

    /// The service's address with the length of its network's prefix.
    pub(super) fn prefixed(&self) -> String {
        format!("{}/{}", self.service, if self.service.is_ipv4() { 24 } else { 64 })
    }

    fn give_address(&self) -> Result<()> {
        let nodad = if self.service.is_ipv6() { " nodad" } else { "" };
        self.node.shell(&format!("ip address add {} dev {}{nodad}", self.prefixed(), self.interface))?;
        for (number, machine) in [&self.node, &self.standby].into_iter().enumerate() {
            prepare(machine, self.groups.as_ref().and_then(|groups| groups.get(number)))?;
        }
        Ok(())
    }

    /// Where machines share a kernel each sees its own processes only.
    fn scope(&self) -> &'static str {
        if self.groups.is_some() { "scope = \"pid-namespace\"\n" } else { "" }
    }

    /// One of the two.
    pub(super) fn machine(&self, node: Node) -> &M {
        match node {
            Node::First => &self.node,
            Node::Standby => &self.standby,
        }
    }
}

impl<'m, M: Machine> Scene<'m, M> {
    /// Installs the agents and starts the monitor.
    ///
    /// # Errors
    /// If one of them does not come up; the message has what it printed.
    pub fn install(machines: &'m Machines<M>, config: &SceneConfig) -> Result<Scene<'m, M>> {
        let group = |number: usize| machines.groups.as_ref().and_then(|groups| groups.get(number));
        let services = |number: usize| config.agent_lines(machines.service, group(number));
        let moving = config.moving(&machines.prefixed(), machines.interface);
        let keys = tempfile::tempdir().context("making a folder for keys")?;
        Identity::generate(SECOND)?.save(keys.path())?;
        give(&machines.node, keys.path(), &format!("{SECOND}.crt"))?;
        let plan = Plan {
            provider: machines.provider,
            agent: format!("{}{}{}", machines.scope(), services(0), second_may_look(1)),
            watch: machines.watch.to_owned(),
            healers: moving + &config.rules,
            monitor_prefix: "sh /run/backdoors/enter",
            ..Plan::default()
        };
        let deployment = Deployment::install(&machines.node, &machines.standby, plan)?;
        let mut scene = Scene { machines, deployment, standby_agent: 0, config: config.clone(), keys };
        scene.start_standby_agent(&services(1))?;
        scene.deployment.start_daemon()?;
        Ok(scene)
    }

    /// Somebody may look after the standby, too.
    fn start_standby_agent(&mut self, services: &str) -> Result<()> {
        let standby = &self.machines.standby;
        give(standby, self.keys.path(), &format!("{SECOND}.crt"))?;
        self.standby_agent =
            self.start_agent(standby, "standby", &format!("{services}{}", second_may_look(0)))?;
        Ok(())
    }

    /// Starts an owner of memory and an agent with these services; returns the agent's process id.
    pub(super) fn start_agent(&self, host: &M, name: &str, services: &str) -> Result<u32> {
        Identity::generate(name)?.save(self.keys.path())?;
        for file in [format!("{name}.crt"), format!("{name}.key")] {
            give(host, self.keys.path(), &file)?;
        }
        let config = format!(
            "name = \"{name}\"\nlisten = \"0.0.0.0:7801\"\nidentity = \"{FOLDER}\"\nowner = \"{FOLDER}/nic.sock\"\n\
             {}{services}",
            self.machines.scope()
        );
        host.write(&format!("{FOLDER}/agent.toml"), &config)?;
        let nic = host.program("backdoors-nic")?;
        let nic = format!("{nic} --provider emulated --listen 0.0.0.0:7802 --socket {FOLDER}/nic.sock");
        start_and_wait(host, &nic, "nic.log", "ready")?;
        let agent = format!("{} run --config {FOLDER}/agent.toml", host.program("backdoors-agent")?);
        start_and_wait(host, &agent, "agent.log", "ready")
    }

    /// The machines.
    #[must_use]
    pub fn machines(&self) -> &'m Machines<M> {
        self.machines
    }

    /// Starts a server of the service on a node, and waits until it says `ready`.
    ///
    /// # Errors
    /// If it does not; the message has what it printed.
    pub fn serve(&self, node: Node, program: &str, arguments: &str) -> Result<u32> {
        serve(self.machines.machine(node), program, arguments)
    }

    /// What everybody printed, for messages.
    #[must_use]
    pub fn logs(&self) -> String {
        let tail = |host: &M| {
            let script = format!("cd {FOLDER}; tail -n 20 agent.log backdoors-*.log 2>&1 || true");
            host.shell(&script).unwrap_or_else(|error| error.to_string())
        };
        format!(
            "{}\n--- node ---\n{}\n--- standby ---\n{}",
            self.deployment.logs(),
            tail(&self.machines.node),
            tail(&self.machines.standby)
        )
    }
}

impl SceneConfig {
    /// Lines of an agent's configuration, for a machine whose services are in this group.
    pub(super) fn agent_lines(&self, address: IpAddr, group: Option<&Group>) -> String {
        let group =
            group.map_or(String::new(), |group| format!("service_cgroup = \"{}\"\n", group.path().display()));
        let services = self.services.iter().map(|Served { name, port, lines }| {
            format!("[[service]]\nname = \"{name}\"\nports = [{port}]\n{}{lines}\n", self.lines)
        });
        format!(
            "service_socket = \"{FOLDER}/services.sock\"\n{group}service_addresses = [\"{address}\"]\n\
             [limits]\n{}\n{}",
            self.limits,
            services.collect::<String>()
        )
    }

    /// Lines of a target in a monitor's configuration: what goes on at the monitor's machine.
    pub(super) fn moving(&self, prefixed: &str, interface: &str) -> String {
        let services = self.services.iter().map(|Served { name, .. }| {
            format!(
                "[[target.service]]\nname = \"{name}\"\naddresses = [\"{prefixed}\"]\ninterface = \"{interface}\"\n\
                 local = \"{FOLDER}/services.sock\"\n"
            )
        });
        services.collect()
    }
}

/// Lines of an agent's configuration that give the second standby this slot.
fn second_may_look(slot: u32) -> String {
    format!("[[monitor]]\nname = \"{SECOND}\"\ncertificate = \"{FOLDER}/{SECOND}.crt\"\nslot = {slot}\n")
}

/// Makes a machine ready for agents, servers and monitors. Whoever has sockets of the service must be in its group: the server, and
/// the monitor that goes on with them.
pub(super) fn prepare<M: Machine>(machine: &M, group: Option<&Group>) -> Result<()> {
    let enter =
        group.map_or(String::new(), |group| format!("echo 0 > {}/cgroup.procs; ", group.path().display()));
    machine.shell(&format!("mkdir -p {FOLDER}"))?;
    machine.write(&format!("{FOLDER}/enter"), &format!("{enter}exec \"$@\""))
}

/// Gives a machine a certificate or a key.
pub(super) fn give<M: Machine>(machine: &M, keys: &Path, file: &str) -> Result<()> {
    machine.write(&format!("{FOLDER}/{file}"), &std::fs::read_to_string(keys.join(file))?)?;
    machine.shell(&format!("chmod 600 {FOLDER}/{file}")).map(drop)
}

/// Starts a server of the service on a machine, and waits until it says `ready`.
pub(super) fn serve<M: Machine>(host: &M, program: &str, arguments: &str) -> Result<u32> {
    let command =
        format!("env BACKDOORS_SERVICES={FOLDER}/services.sock sh {FOLDER}/enter {program} {arguments}");
    start_and_wait(host, &command, &log_of(program, arguments), "ready")
}

/// The file in [`FOLDER`] that a server writes to: each of several of one program has its own.
#[must_use]
pub fn log_of(program: &str, arguments: &str) -> String {
    let name = program.rsplit('/').next().unwrap_or(program);
    let arguments = arguments.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    format!("{name}-{arguments}.log")
}

fn start_and_wait<M: Machine>(host: &M, command: &str, log: &str, word: &str) -> Result<u32> {
    let log = format!("{FOLDER}/{log}");
    let pid = host.start(command, &log)?;
    host.wait_for(word, UP, || {
        let text = host.shell(&format!("cat {log}; test -d /proc/{pid} || echo ended"))?;
        anyhow::ensure!(!text.trim_end().ends_with("ended"), "`{command}` ended: {text}");
        Ok(text.contains(word).then_some(pid))
    })
}
