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

    /// Gives the network namespace of process `pid` an interface `eth0` with this address, in a /24.
    pub(super) fn plug(&self, pid: u32, address: Ipv4Addr) -> Result<()> {
        let port = self.ports.fetch_add(1, Ordering::Relaxed);
        let bridge = self.holder.pid;
        let script = format!(
            "nsenter -t {bridge} -n ip link add port{port} type veth peer name eth0 netns {pid} && \
             nsenter -t {bridge} -n ip link set port{port} master bridge0 up && \
             nsenter -t {pid} -n ip address add {address}/24 dev eth0 && \
             nsenter -t {pid} -n ip link set eth0 up"
        );
        let output = Command::new("sh").args(["-c", &script]).output().context("plugging a host in")?;
        text(&script, &output).map(drop)
    }
}
