//! The kernel half as a source.

use crate::config::{Config, Kills};
use crate::helper;
use crate::kernel::{
    FencePlan, Held, KernelHalf, LoadError, Pins, PinsError, Plan, Reach, RemoveError, SessionPlan, load,
    online_cpus, remove,
};
use crate::limits::Limits;
use crate::memory::TargetMemory;
use crate::seat::Seat;
use std::io;
use std::net::IpAddr;
use std::process::Child;
use std::sync::Arc;

/// A kernel half, and the helper it may need.
#[derive(Debug)]
pub struct KernelSource {
    half: KernelHalf,
    pins: Pins,
    helper: Option<Child>,
    /// What was last found of the fence.
    reach: Option<Reach>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum KernelSourceError {
    /// None can be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The pins of another one cannot be removed.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// A fence holds around an address that is not to be fenced any more. Nothing was changed.
    #[error(
        "a monitor's fence holds ({held}) around {address}, which the configuration does not name any more: another machine may \
         have that address by now; see to that, then run `backdoors-agent unfence`, or put it back into `service_addresses`"
    )]
    Fenced {
        /// Which fences.
        held: Held,
        /// The address.
        address: IpAddr,
    },
    /// The kernel half cannot be removed.
    #[error(transparent)]
    Remove(#[from] RemoveError),
}

fn plan(config: &Config, limits: Limits) -> Plan {
    Plan {
        scope: config.scope,
        helper_kills: config.kills == Kills::Helper,
        capacity: config.process_table,
        cpus: cpus(),
        limits,
        sessions: SessionPlan { services: config.services.clone(), cgroup: config.service_cgroup.clone() },
        fence: FencePlan {
            addresses: config.service_addresses.clone(),
            interfaces: config.service_interfaces.clone(),
        },
    }
}

impl KernelSource {
    pub(super) fn bring_up(
        config: &Config,
        limits: Limits,
        protected: &[u32],
    ) -> Result<KernelSource, KernelSourceError> {
        let plan = plan(config, limits);
        let pins = Pins::new(&config.pins);
        let fingerprint = plan.fingerprint().map_err(LoadError::from)?;
        let half = match KernelHalf::adopt(&pins, fingerprint) {
            Ok(half) => {
                tracing::info!("took up the kernel half that runs");
                half.spare(&config.spared_users);
                half
            }
            Err(misfit) => {
                tracing::info!("loading a new kernel half: {misfit}");
                let earlier = KernelHalf::attach(&pins);
                let seats = earlier.as_ref().ok().and_then(|earlier| earlier.seats().ok());
                if let Ok(earlier) = &earlier {
                    check_fence(earlier, &plan.fence)?;
                }
                pins.remove()?;
                let half = load(&pins, &plan, &config.spared_users, protected)?;
                half.demand(&config.agreement).map_err(|error| LoadError::Memory(error.to_string()))?;
                // Monitors find the new memory by themselves, and go on with the keys that they have.
                for (slot, seat) in (0..).zip(seats.iter().flatten()) {
                    half.set_seat(slot, seat).map_err(|error| LoadError::Memory(error.to_string()))?;
                }
                // Until the new program is in its place the old one looks at packets, and at the old words.
                earlier.iter().for_each(|earlier| half.carry_fence_over(earlier));
                half
            }
        };
        half.demand(&config.agreement).map_err(|error| LoadError::Memory(error.to_string()))?;
        half.name_agent(std::process::id()).map_err(|error| LoadError::Memory(error.to_string()))?;
        let mut source = KernelSource { half, pins, helper: None, reach: None };
        source.look_after_fence(config);
        Ok(source)
    }

    pub(super) fn memory(&self) -> &Arc<TargetMemory> {
        &self.half.memory
    }

    pub(super) fn look_after(&mut self, config: &Config, others: &[u32]) {
        self.look_after_helper(config);
        self.look_after_fence(config);
        let mut protected = others.to_vec();
        let helper = self.half.helper().1;
        if helper != 0 {
            protected.push(helper);
        }
        self.half.protect(&protected);
        if let Err(error) = self.half.survey() {
            tracing::warn!(%error, "the process table may be out of date");
        }
    }

    fn look_after_fence(&mut self, config: &Config) {
        if let Err(error) = self.half.forget_earlier_fences() {
            tracing::warn!(%error, "fence words of earlier keys may count");
        }
        match self.half.watch_interfaces(&config.service_interfaces) {
            Ok(reach) if self.reach.as_ref() != Some(&reach) => {
                for failed in &reach.failed {
                    tracing::error!("a fence would have a hole at interface {failed}");
                }
                let held = self.half.fences_held().unwrap_or_default();
                if !held.0.is_empty() {
                    tracing::warn!(%held, "a monitor's fence holds: nothing is sent from the service addresses");
                }
                self.reach = Some(reach);
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "interfaces that are new are not fenced"),
        }
    }

    fn look_after_helper(&mut self, config: &Config) {
        let runs = match &mut self.helper {
            // Without an answer it is better not to start another one.
            Some(child) => child.try_wait().map_or(true, |end| end.is_none()),
            None => false,
        };
        if runs {
            return;
        }
        match helper::ensure(&self.half, &config.pins) {
            Ok(Some(child)) => {
                tracing::info!(pid = child.id(), "started the helper");
                self.helper = Some(child);
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "no helper: sleeping processes cannot be killed"),
        }
    }

    pub(super) fn change_seat(&self, slot: u32, change: impl FnOnce(Seat) -> Seat) -> io::Result<()> {
        self.half.change_seat(slot, change)
    }

    /// The helper ends by itself when it notices. While a fence holds all of it stays, for the next agent to take up.
    pub(super) fn take_down(&mut self) -> Result<(), KernelSourceError> {
        match remove(&self.pins) {
            Err(RemoveError::Fenced(held)) => {
                tracing::warn!(%held, "a monitor's fence holds: the kernel half stays, and keeps it");
                return Ok(());
            }
            removed => removed?,
        }
        if let Some(helper) = &mut self.helper {
            // It was about to end by itself; that it is gone already is no error.
            let _ = helper.kill();
            let _ = helper.wait();
        }
        Ok(())
    }
}

/// Whether a fence that holds goes on with these plans.
fn check_fence(earlier: &KernelHalf, plan: &FencePlan) -> Result<(), KernelSourceError> {
    let held = earlier.fences_held().map_err(RemoveError::from)?;
    let covered = earlier.fence().map(|fence| fence.addresses).unwrap_or_default();
    let lost = covered.into_iter().find(|address| !plan.addresses.contains(address));
    match lost {
        Some(address) if !held.0.is_empty() => Err(KernelSourceError::Fenced { held, address }),
        _ => Ok(()),
    }
}

/// CPUs that are online, counted up to the highest.
pub(super) fn cpus() -> u32 {
    online_cpus().last().map_or(1, |highest| highest + 1)
}
