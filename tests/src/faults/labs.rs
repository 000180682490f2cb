//! The labs that rows of the matrix run in: a target and two monitors that know each other.

use crate::deployment::{Deployment, Plan};
use crate::host::Host;
use crate::machine::Machine;
use crate::pair::Trio;
use crate::vm::{Kernel, SeenFrom, Vm, VmConfig, Wire};
use anyhow::Result;
use std::time::Duration;

/// Most processes of the target's users, in labs that bound them all together.
const PROCESSES: u64 = 400;

/// A kind of lab.
pub trait Lab: Sized {
    /// What its machines are.
    type Machine: Machine;

    /// Its name in tables.
    const NAME: &'static str;

    /// How long the target's application may stand still.
    const APPLICATION_LIMIT: Duration;

    /// Boots its machines.
    ///
    /// # Errors
    /// If one of them does not come up.
    fn boot() -> Result<Self>;

    /// Installs everything, and starts all of it but the monitors.
    ///
    /// # Errors
    /// As [`Deployment::install_with`].
    fn install(&self) -> Result<Deployment<'_, Self::Machine>>;
}

/// Hosts on this machine's kernel, with the software NIC. What would break a kernel cannot be tried here.
#[derive(Debug)]
pub struct Hosts(Trio);

impl Lab for Hosts {
    type Machine = Host;
    const NAME: &'static str = "hosts, emulated";
    const APPLICATION_LIMIT: Duration = Duration::from_secs(1);

    fn boot() -> Result<Hosts> {
        Trio::boot(PROCESSES).map(Hosts)
    }

    fn install(&self) -> Result<Deployment<'_, Host>> {
        self.0.install(Plan {
            provider: "emulated",
            agent: "scope = \"pid-namespace\"\napplications = \"/run/backdoors/applications.sock\"\n[limits]\n\"agent.heartbeat\" = 1000000000\n".to_owned(),
            watch: "period = \"100ms\"\n".to_owned(),
            acquainted: true,
            // Load on the target is to slow down the target, as it would on a machine of its own.
            monitor_prefix: "chrt --rr 10",
            ..Plan::default()
        })
    }
}

/// Guests with soft-RoCE, which answers for the target as long as the target's kernel lives.
#[derive(Debug)]
pub struct SoftRoce {
    target: Vm,
    monitors: [Vm; 2],
}

impl Lab for SoftRoce {
    type Machine = Vm;
    const NAME: &'static str = "guests, verbs";
    const APPLICATION_LIMIT: Duration = Duration::from_secs(3);

    fn boot() -> Result<SoftRoce> {
        let [target, monitors @ ..] = boot_guests(None)?;
        Ok(SoftRoce { target, monitors })
    }

    fn install(&self) -> Result<Deployment<'_, Vm>> {
        install_in_guests(&self.target, &self.monitors, "verbs")
    }
}

/// Guests, of which the target has a NIC outside of it, which answers for it whatever becomes of its kernel.
#[derive(Debug)]
pub struct OutsideNic {
    target: Vm,
    monitors: [Vm; 2],
}

impl Lab for OutsideNic {
    type Machine = Vm;
    const NAME: &'static str = "guests, NIC outside";
    const APPLICATION_LIMIT: Duration = Duration::from_secs(3);

    fn boot() -> Result<OutsideNic> {
        let [target, monitors @ ..] = boot_guests(Some(SeenFrom::Guests))?;
        Ok(OutsideNic { target, monitors })
    }

    fn install(&self) -> Result<Deployment<'_, Vm>> {
        install_in_guests(&self.target, &self.monitors, "attached")
    }
}

/// Target and monitors. The target has two processors, so that one of them can be stuck.
fn boot_guests(outside_nic: Option<SeenFrom>) -> Result<[Vm; 3]> {
    let wire = Wire::switch(3)?;
    let config = |name, cpus, outside_nic: Option<SeenFrom>, programs: &[&str]| VmConfig {
        // What breaks the target's kernel for good is undone by its reset button.
        reboots: true,
        name,
        cpus,
        kernel: Kernel::Newest,
        network: Some(&wire),
        outside_nic,
        programs: programs.iter().map(|program| (*program).to_owned()).collect(),
        ..VmConfig::default()
    };
    let monitor =
        |name| VmConfig { host_link: outside_nic.is_some(), ..config(name, 1, None, &["backdoors"]) };
    Ok(Vm::boot_all([
        config("target", 2, outside_nic, &["backdoors-nic", "backdoors-agent", "backdoors-ticker"]),
        monitor("monitor"),
        monitor("monitor2"),
    ])?)
}

fn install_in_guests<'lab>(
    target: &'lab Vm,
    [monitor, monitor2]: &'lab [Vm; 2],
    provider: &'static str,
) -> Result<Deployment<'lab, Vm>> {
    let plan = Plan {
        provider,
        // Emulated processors are slow, and soft-RoCE answers on those the load runs on.
        agent: "applications = \"/run/backdoors/applications.sock\"\n[limits]\n\"agent.heartbeat\" = 3000000000\n\
                \"kernel.timer\" = 2000000000\n"
            .to_owned(),
        watch: "period = \"100ms\"\ndeadline = \"1s\"\n".to_owned(),
        acquainted: true,
        // What the lab asks there, at the expense of an emulated processor, is not to make monitors late.
        monitor_prefix: "chrt --rr 10",
        ..Plan::default()
    };
    Deployment::install_with(target, &[monitor, monitor2], plan)
}
