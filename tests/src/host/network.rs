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
        self.change("ip link set", "down")
    }

    /// Lets so many bytes a second through to the host at most; what does not fit is lost on the way, and who sends does not know.
    /// Can be said again.
    ///
    /// # Errors
    /// If the network is gone, or the kernel has no token bucket filter.
    pub fn narrow(self, rate: usize) -> Result<()> {
        let rate = 8 * rate;
        self.change("tc qdisc replace dev", &format!("root tbf rate {rate}bit burst 64kb latency 100ms"))
    }

    fn change(self, what: &str, how: &str) -> Result<()> {
        let Port { bridge, number } = self;
        let script = format!("nsenter -t {bridge} -n {what} port{number} {how}");
        let output = Command::new("sh").args(["-c", &script]).output().context("changing a port")?;
        text(&script, &output).map(drop)
    }
}
