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
        self.in_bridge(&format!("ip link set port{} down", self.number))
    }

    /// Lets so many bytes a second through to the host at most; what does not fit is lost on the way, and who sends does not know.
    /// Only answers to who connects are never lost: who lost some in a row would try again after a minute. Can be said again.
    ///
    /// # Errors
    /// If the network is gone, or the kernel has no hierarchical token buckets.
    pub fn narrow(self, rate: usize) -> Result<()> {
        let (rate, port) = (8 * rate, format!("dev port{}", self.number));
        // The flags of TCP are the 13th byte behind headers without options; SYN is the second bit.
        let answers = [("ip", 10, 20 + 13), ("ipv6", 11, 40 + 13)].map(|(protocol, order, place)| {
            let is_syn = format!("u32 match u8 0x02 0x02 at {place}");
            format!("tc filter replace {port} parent 1: protocol {protocol} prio {order} {is_syn} flowid 1:2")
        });
        let script = format!(
            "tc qdisc show {port} | grep -q 'htb 1:' || tc qdisc add {port} root handle 1: htb default 1 || exit
             tc class replace {port} parent 1: classid 1:1 htb rate {rate}bit burst 64kb || exit
             tc class replace {port} parent 1: classid 1:2 htb rate 1gbit || exit
             tc qdisc replace {port} parent 1:1 handle 2: bfifo limit {limit} || exit
             {answers}",
            // As much as goes through in a tenth of a second, and a few packets at least.
            limit = (rate / 80).max(16 << 10),
            answers = answers.join(" && ")
        );
        self.in_bridge(&script)
    }

    fn in_bridge(self, script: &str) -> Result<()> {
        let mut command = Command::new("nsenter");
        let output = command.args(["-t", &self.bridge.to_string(), "-n", "sh", "-c", script]).output();
        text(script, &output.context("changing a port")?).map(drop)
    }
}
