//! The network that hosts are plugged into: a bridge in a namespace of its own.

use super::{FirstProcess, text};
use anyhow::{Context, Result};
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A bridge. Hosts plugged into it see each other and nothing else.
#[derive(Debug)]
pub struct Network {
    holder: FirstProcess,
    ports: AtomicU32,
}

impl Network {
    /// Makes an empty network.
    ///
    /// # Errors
    /// If not root or without namespaces.
    pub fn new() -> Result<Network> {
        let holder = FirstProcess::start("ip link add bridge0 type bridge && ip link set bridge0 up")?;
        Ok(Network { holder, ports: AtomicU32::new(0) })
    }

    /// Gives the network namespace of process `pid` an interface with this address, in a /24.
    pub(super) fn plug(&self, pid: u32, interface: &str, address: Ipv4Addr) -> Result<Port> {
        let port = self.ports.fetch_add(1, Ordering::Relaxed);
        let bridge = self.holder.pid;
        let script = format!(
            "nsenter -t {bridge} -n ip link add port{port} type veth peer name {interface} netns {pid} && \
             nsenter -t {bridge} -n ip link set port{port} master bridge0 up && \
             nsenter -t {pid} -n ip address add {address}/24 dev {interface} && \
             nsenter -t {pid} -n ip link set {interface} up"
        );
        let output = Command::new("sh").args(["-c", &script]).output().context("plugging a host in")?;
        text(&script, &output)?;
        Ok(Port { bridge, number: port })
    }

    /// Adds a tap device: its frames come from a program, which may open it once it is in this network.
    pub(crate) fn add_tap(&self, name: &str) -> Result<()> {
        let add = format!("ip tuntap add dev {name} mode tap && ip link set {name} master bridge0 up");
        in_network(self.holder.pid, &add)
    }

    /// The beginning of a command whose program runs in this network.
    pub(crate) fn entering(&self) -> [String; 4] {
        entering(self.holder.pid)
    }
}

fn entering(holder: u32) -> [String; 4] {
    ["nsenter", "-t", &holder.to_string(), "-n"].map(str::to_owned)
}

fn in_network(holder: u32, script: &str) -> Result<()> {
    let [program, options @ ..] = entering(holder);
    let output = Command::new(program).args(options).args(["sh", "-c", script]).output();
    text(script, &output.context("changing a network")?).map(drop)
}

/// Where a host is plugged into a network.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    bridge: u32,
    number: u32,
}

impl Port {
    /// Cuts the host off from this network: its frames, and those to it, are lost from now on.
    ///
    /// # Errors
    /// If the network is gone.
    pub fn cut(self) -> Result<()> {
        in_network(self.bridge, &format!("ip link set port{} down", self.number))
    }

    /// Lets so many bytes a second through to the host at most of what comes from these ports of TCP; what does not fit is lost on
    /// the way, and who sends does not know. Only answers to who connects are never lost: who lost some in a row would try again
    /// after a minute. The rate can be changed.
    ///
    /// # Errors
    /// If the network is gone, or the kernel has no hierarchical token buckets.
    pub fn narrow(self, rate: usize, from: &[u16]) -> Result<()> {
        let (rate, port) = (8 * rate, format!("dev port{}", self.number));
        // Where TCP's header is, behind one of IP without options; its flags are byte 13, SYN is the second bit.
        let mut filters = Vec::new();
        for (protocol, order, header) in [("ip", 10, 20), ("ipv6", 11, 40)] {
            let filter = |order: usize, what: &str, class| {
                format!(
                    "tc filter replace {port} parent 1: protocol {protocol} prio {order} u32 {what} flowid 1:{class}"
                )
            };
            filters.push(filter(order, &format!("match u8 0x02 0x02 at {}", header + 13), 2));
            for (number, from) in from.iter().enumerate() {
                let order = order + 10 * (number + 1);
                filters.push(filter(order, &format!("match u16 {from} 0xffff at {header}"), 1));
            }
        }
        let script = format!(
            "tc qdisc show {port} | grep -q 'htb 1:' || tc qdisc add {port} root handle 1: htb default 2 || exit
             tc class replace {port} parent 1: classid 1:1 htb rate {rate}bit burst 64kb || exit
             tc class replace {port} parent 1: classid 1:2 htb rate 10gbit || exit
             tc qdisc replace {port} parent 1:1 handle 2: bfifo limit {limit} || exit
             {filters}",
            // As much as goes through in a tenth of a second, and a few packets at least.
            limit = (rate / 80).max(16 << 10),
            filters = filters.join(" && ")
        );
        in_network(self.bridge, &script)
    }
}
