//! A deployment that faults are tried on.

use super::observe::ailment;
use super::rows::{Row, Step};
use super::{Lab, observe};
use crate::deployment::Deployment;
use crate::machine::Machine;
use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

/// The application on the target, and its name in verdicts.
pub const TICKER: &str = "ticker";
/// Longest time until everything is healthy, also after a fault. Connections are made anew, by emulated processors.
const HEALTHY: Duration = Duration::from_secs(60);
/// Each look costs the monitors' machines processor time.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
/// Who makes the load. Nobody else has this number.
const LOAD_USER: u32 = 61_301;
/// More than any target has processors.
const LOAD: u32 = 4;

/// A deployment with an application on the target.
#[derive(Debug)]
pub struct Scene<'lab, M> {
    /// What is deployed.
    pub deployment: Deployment<'lab, M>,
    /// Process id of the application.
    pub ticker: u32,
    /// How long it may stand still.
    limit: Duration,
    prepared: Vec<&'static str>,
    loaded: bool,
}

impl<'lab, M: Machine> Scene<'lab, M> {
    /// Installs everything in a lab, starts it, and waits until every layer is healthy.
    ///
    /// # Errors
    /// If something does not come up.
    pub fn set<L: Lab<Machine = M>>(lab: &'lab L) -> Result<Scene<'lab, M>> {
        let mut deployment = lab.install()?;
        deployment.start_daemons()?;
        let limit = L::APPLICATION_LIMIT;
        let mut scene = Scene { deployment, ticker: 0, limit, prepared: Vec::new(), loaded: false };
        scene.start_ticker()?;
        scene.wait_until_healthy()?;
        Ok(scene)
    }

    /// Installs everything on a target on which nothing is left, starts it, and waits until every layer is healthy. The
    /// monitors go on as they are.
    ///
    /// # Errors
    /// If something does not come up, or the monitors do not come back to it.
    pub(super) fn set_anew(&mut self) -> Result<()> {
        self.prepared.clear();
        self.loaded = false;
        self.deployment.install_on_target()?;
        self.start_ticker()?;
        self.wait_until_healthy()
    }

    fn start_ticker(&mut self) -> Result<()> {
        let target = self.deployment.target;
        let program = target.program("backdoors-ticker")?;
        let limit = self.limit.as_millis();
        let command = format!("{program} /run/backdoors/applications.sock {TICKER} 20 {limit} 0");
        self.ticker = target.start(&command, "/run/backdoors/ticker.log")?;
        Ok(())
    }

    /// Waits until every monitor calls every layer healthy.
    ///
    /// # Errors
    /// If that takes too long; the message says what is not.
    pub fn wait_until_healthy(&self) -> Result<()> {
        let begun = Instant::now();
        for watcher in &self.deployment.watchers {
            // A monitor that is just connecting has no verdicts to show.
            while let Some(ailment) =
                ailment(watcher, TICKER).unwrap_or_else(|error| Some(format!("{error:#}")))
            {
                if begun.elapsed() > HEALTHY {
                    bail!("not healthy after {HEALTHY:?}: {ailment}");
                }
                std::thread::sleep(BETWEEN_LOOKS);
            }
        }
        Ok(())
    }

    /// Makes the scene fit for a row: prepares it, once, and puts load on the target if there is to be some.
    pub(super) fn prepare(&mut self, row: &Row<M>, load: bool) -> Result<()> {
        if load {
            self.load()?;
        }
        if !self.prepared.contains(&row.name) {
            self.step(row.prepare).with_context(|| format!("preparing for: {}", row.name))?;
            self.prepared.push(row.name);
        }
        self.wait_until_healthy()
    }

    /// Puts load on the target, unless there is some already.
    pub(super) fn load(&mut self) -> Result<()> {
        if !self.loaded {
            let spin = format!("for i in $(seq {LOAD}); do while :; do :; done & done; wait");
            self.deployment.target.shell_as(LOAD_USER, 2 * LOAD, &spin)?;
            self.loaded = true;
        }
        Ok(())
    }

    pub(super) fn step(&mut self, step: Step<M>) -> Result<()> {
        step(self)
    }

    /// Length of every monitor's journal.
    pub(super) fn known(&self) -> Result<Vec<usize>> {
        self.deployment.watchers.iter().map(|watcher| Ok(watcher.journal()?.len())).collect()
    }

    /// The clock of every monitor's machine.
    pub(super) fn clocks(&self) -> Result<Vec<u64>> {
        self.deployment.watchers.iter().map(|watcher| observe::clock(watcher.machine)).collect()
    }
}
