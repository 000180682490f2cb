//! The kernel half as a source.

use crate::config::{Config, Kills};
use crate::helper;
use crate::kernel::{KernelHalf, LoadError, Pins, PinsError, Plan, SessionPlan, load, online_cpus};
use crate::limits::Limits;
use crate::memory::TargetMemory;
use crate::seat::Seat;
use std::io;
use std::process::Child;
use std::sync::Arc;

/// A kernel half, and the helper it may need.
#[derive(Debug)]
pub struct KernelSource {
    half: KernelHalf,
    pins: Pins,
    helper: Option<Child>,
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
}

fn plan(config: &Config, limits: Limits) -> Plan {
    Plan {
        scope: config.scope,
        helper_kills: config.kills == Kills::Helper,
        capacity: config.process_table,
        cpus: cpus(),
        limits,
        sessions: SessionPlan { services: config.services.clone(), cgroup: config.service_cgroup.clone() },
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
                let seats = KernelHalf::attach(&pins).and_then(|earlier| earlier.seats());
                pins.remove()?;
                let half = load(&pins, &plan, &config.spared_users, protected)?;
                half.demand(&config.agreement).map_err(|error| LoadError::Memory(error.to_string()))?;
                // Monitors find the new memory by themselves, and go on with the keys that they have.
                for (slot, seat) in (0..).zip(seats.iter().flatten()) {
                    half.set_seat(slot, seat).map_err(|error| LoadError::Memory(error.to_string()))?;
                }
                half
            }
        };
        half.demand(&config.agreement).map_err(|error| LoadError::Memory(error.to_string()))?;
        half.name_agent(std::process::id()).map_err(|error| LoadError::Memory(error.to_string()))?;
        Ok(KernelSource { half, pins, helper: None })
    }

    pub(super) fn memory(&self) -> &Arc<TargetMemory> {
        &self.half.memory
    }

    pub(super) fn look_after(&mut self, config: &Config, others: &[u32]) {
        self.look_after_helper(config);
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
        let before = self.half.seat(slot)?;
        let after = change(before);
        if after == before { Ok(()) } else { self.half.set_seat(slot, &after) }
    }

    /// The helper ends by itself when it notices.
    pub(super) fn take_down(&mut self) -> Result<(), KernelSourceError> {
        self.pins.remove()?;
        if let Some(helper) = &mut self.helper {
            // It was about to end by itself; that it is gone already is no error.
            let _ = helper.kill();
            let _ = helper.wait();
        }
        Ok(())
    }
}

/// CPUs that are online, counted up to the highest.
pub(super) fn cpus() -> u32 {
    online_cpus().last().map_or(1, |highest| highest + 1)
}
