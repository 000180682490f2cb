//! A target and its monitors on one network, which most scenarios need.

use crate::deployment::{Deployment, Plan};
use crate::host::{Host, HostLimits, Network};
use anyhow::Result;
use std::net::Ipv4Addr;

/// A target and a monitor, without programs. Everything in them ends when it is dropped.
#[derive(Debug)]
pub struct Pair {
    /// The host that is looked after.
    pub target: Host,
    /// The host that looks.
    pub monitor: Host,
    network: Network,
}

impl Pair {
    /// Boots both. The target's users have at most `processes` processes and threads.
    ///
    /// # Errors
    /// As [`Host::boot`].
    pub fn boot(processes: u64) -> Result<Pair> {
        let limits = HostLimits { processes, ..HostLimits::default() };
        let network = Network::new()?;
        let target = Host::boot(&network, "target", Ipv4Addr::new(10, 88, 0, 1), limits)?;
        let monitor = Host::boot(&network, "monitor", Ipv4Addr::new(10, 88, 0, 2), limits)?;
        Ok(Pair { target, monitor, network })
    }

    /// Installs owner and agent on the target, and configures the monitor, whose daemon is not started.
    ///
    /// # Errors
    /// As [`Deployment::install`].
    pub fn install(&self, plan: Plan) -> Result<Deployment<'_, Host>> {
        Deployment::install(&self.target, &self.monitor, plan)
    }
}

/// A target and two monitors, without programs.
#[derive(Debug)]
pub struct Trio {
    /// Target and first monitor.
    pub pair: Pair,
    /// The second monitor.
    pub monitor2: Host,
}

impl Trio {
    /// Boots all three. The target's users have at most `processes` processes and threads.
    ///
    /// # Errors
    /// As [`Host::boot`].
    pub fn boot(processes: u64) -> Result<Trio> {
        let pair = Pair::boot(processes)?;
        let address = Ipv4Addr::new(10, 88, 0, 3);
        let monitor2 = Host::boot(&pair.network, "monitor2", address, HostLimits::default())?;
        Ok(Trio { pair, monitor2 })
    }

    /// Installs owner and agent on the target, and configures both monitors, whose daemons are not started.
    ///
    /// # Errors
    /// As [`Deployment::install`].
    pub fn install(&self, plan: Plan) -> Result<Deployment<'_, Host>> {
        Deployment::install_with(&self.pair.target, &[&self.pair.monitor, &self.monitor2], plan)
    }
}
