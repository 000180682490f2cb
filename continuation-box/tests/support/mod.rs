//! Three hosts in network namespaces of this process: nothing is left when it ends.

// Every test program uses a part of it.
#![allow(dead_code)]

pub mod capture;
pub mod dump;
pub mod scene;

use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;

/// A host: a network namespace with a card `eth0`.
#[derive(Debug)]
pub struct Host {
    network: File,
}

impl Host {
    pub fn new() -> Host {
        let network = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("network namespaces need root");
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let host = Host { network: network.join().unwrap() };
        host.ip("link set lo up");
        host
    }

    /// Does something in the host's network: sockets stay in the network that they were made in.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter();
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread into the host's network for good.
    pub fn enter(&self) {
        setns(&self.network, CloneFlags::CLONE_NEWNET).unwrap();
    }

    /// Runs `ip` with these arguments, in the host.
    pub fn ip(&self, arguments: &str) {
        let output = self.run(|| Command::new("ip").args(arguments.split(' ')).output().unwrap());
        assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Sets a variable of the host's kernel.
    pub fn sysctl(&self, file: &str, value: &str) {
        self.run(|| std::fs::write(format!("/proc/sys/net/{file}"), value).unwrap());
    }

    /// What a variable of the host's kernel is.
    pub fn read(&self, file: &str) -> String {
        self.run(|| std::fs::read_to_string(format!("/proc/sys/net/{file}")).unwrap().trim().to_owned())
    }
}

/// A switch that hosts are plugged into.
#[derive(Debug)]
pub struct Switch(Host);

impl Switch {
    pub fn new() -> Switch {
        let switch = Host::new();
        switch.ip("link add bridge0 type bridge");
        switch.ip("link set bridge0 up");
        Switch(switch)
    }

    /// Plugs a host in, at port `name`, with these addresses.
    pub fn plug(&self, host: &Host, name: &str, addresses: &[&str]) {
        let network = format!("/proc/{}/fd/{}", std::process::id(), host.network.as_raw_fd());
        self.0.ip(&format!("link add {name} type veth peer name eth0 netns {network}"));
        self.0.ip(&format!("link set {name} master bridge0 up"));
        for address in addresses {
            let detection = if address.contains(':') { " nodad" } else { "" };
            host.ip(&format!("address add {address} dev eth0{detection}"));
        }
        host.ip("link set eth0 up");
    }

    /// From now on nothing gets to the host at that port or away from it, and it cannot tell.
    pub fn cut_off(&self, name: &str) {
        self.0.ip(&format!("link set {name} nomaster"));
    }

    /// The opposite.
    pub fn let_back(&self, name: &str) {
        self.0.ip(&format!("link set {name} master bridge0"));
    }
}
