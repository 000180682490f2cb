//! A second standby, which looks after the first one, so that what went on there goes on here if that ends, too; or after the node,
//! so that it goes on here if the first one's monitor ends half-way.

use super::group::Group;
use super::scene::{Machines, SECOND, Scene, give, prepare, serve};
use crate::deployment::{FOLDER, Watcher};
use crate::host::{Host, HostLimits};
use crate::machine::Machine;
use anyhow::{Context, Result};
use std::net::Ipv4Addr;

/// The machine.
#[derive(Debug)]
pub struct Second {
    host: Host,
    group: Group,
}

impl Machines<Host> {
    /// Boots one more host.
    ///
    /// # Errors
    /// As [`Host::boot`].
    pub fn boot_second(&self) -> Result<Second> {
        let inside = self.inside.as_ref().context("these machines are no hosts")?;
        let host = Host::boot(inside, SECOND, Ipv4Addr::new(10, 88, 0, 4), HostLimits::default())?;
        host.plug_in(&self.outside, self.interface, Ipv4Addr::new(10, 99, 0, 4))?;
        Ok(Second { host, group: Group::create()? })
    }
}

impl Scene<'_, Host> {
    /// Starts an agent, a server and a monitor of the first standby there.
    ///
    /// # Errors
    /// If one of them does not come up.
    pub fn watch_standby<'s>(
        &self,
        second: &'s Second,
        program: &str,
        arguments: &str,
    ) -> Result<Watcher<'s, Host>> {
        self.watch(second, ("standby", &self.machines().standby, 0), program, arguments)
    }

    /// Starts an agent, a server and a monitor of the node there.
    ///
    /// # Errors
    /// If one of them does not come up.
    pub fn watch_node<'s>(
        &self,
        second: &'s Second,
        program: &str,
        arguments: &str,
    ) -> Result<Watcher<'s, Host>> {
        self.watch(second, ("target", &self.machines().node, 1), program, arguments)
    }

    fn watch<'s>(
        &self,
        second: &'s Second,
        (name, watched, slot): (&str, &Host, u32),
        program: &str,
        arguments: &str,
    ) -> Result<Watcher<'s, Host>> {
        let Second { host, group } = second;
        let machines = self.machines();
        prepare(host, Some(group))?;
        self.start_agent(host, "third", &self.config.agent_lines(machines.service, Some(group)))?;
        serve(host, program, arguments)?;
        for file in ["second.crt", "second.key"] {
            give(host, self.keys.path(), file)?;
        }
        let certificate = format!("{FOLDER}/{name}.crt");
        host.write(&certificate, &machines.standby.shell(&format!("cat {certificate}"))?)?;
        let config = format!(
            "name = \"{SECOND}\"\nidentity = \"{FOLDER}\"\nsocket = \"{FOLDER}/monitor.sock\"\n\
             journal = \"{FOLDER}/journal.jsonl\"\n\
             [[target]]\nname = \"{name}\"\naddress = \"{}:7801\"\ncertificate = \"{certificate}\"\n\
             provider = \"emulated\"\nperiod = \"20ms\"\n{}",
            watched.address(),
            self.config.moving(&machines.prefixed(), machines.interface)
        );
        host.write(&format!("{FOLDER}/monitor.toml"), &config)?;
        let prefix = "sh /run/backdoors/enter";
        let mut watcher = Watcher { name: SECOND, slot, machine: host, daemon: 0, prefix };
        watcher.start()?;
        Ok(watcher)
    }
}
