//! A guest with little memory and one processor, a hostile program in it, and a useful one: what becomes of the useful one's
//! work, with somebody who helps the machine and without (figures 3.13 and 3.14 of the thesis).
//!
//! [`Scene::run`] is one run: the useful program works undisturbed for a while, the hostile program starts, and is watched
//! until it is gone and the same work is done once more, or until the deadline. Then all that was started is ended. What was
//! seen is judged by the useful program's own times only, see [`Measured`]. A run leaves the guest clean, or says that it is
//! lost ([`Outcome::lost`]); then a new one must be booted.

mod help;
mod hostile;
mod measured;

pub use help::Help;
pub use hostile::{GROUP, Hostile, USER};
pub use measured::{Measured, Times};

use crate::deployment::{Deployment, Plan};
use crate::healing::useful::{Round, rounds};
use crate::machine::Machine;
use crate::vm::{GuestCommand, Kernel, Priority, Running, SWAP_DISK, Vm, VmConfig, VmError, Wire};
use anyhow::{Context, Result, bail};
use std::time::{Duration, Instant};

/// Who runs the useful program.
const ALICE: u32 = 1000;
/// How long a round of the useful program takes undisturbed, milliseconds.
const ROUND: u32 = 100;
/// Memory that the useful program works on, MiB.
const MEMORY: u32 = 32;
/// Between two looks at what the guest reports by itself.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two looks at the useful program's rounds, which cost the guest something.
const LOOK: Duration = Duration::from_millis(500);
/// How long undisturbed work may take at most, as a multiple of what it should.
const CALM: u32 = 20;
/// With help a run ends by itself, so it may take longer: [`Setting::deadline`] so many times.
pub const PATIENCE: u32 = 3;
/// How long a guest may take to answer what it should at once.
const ANSWER: Duration = Duration::from_secs(30);

/// What all runs of a scene have in common.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The useful work, in rounds of a tenth of a second.
    pub work: u32,
    /// How long a run is watched at most while the hostile program lives; [`PATIENCE`] times as long if somebody helps.
    pub deadline: Duration,
    /// Swap space in those runs that have any, MiB.
    pub swap_mib: u32,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// What disturbs.
    pub hostile: Hostile,
    /// Its size: children, workers or processes.
    pub size: u32,
    /// Whether the machine has swap space.
    pub swap: bool,
    /// Who helps.
    pub help: Help,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The useful program's times.
    pub measured: Measured,
    /// Processes that the kernel killed for want of memory.
    pub kernel_kills: u64,
    /// What the helper noted, in its own words.
    pub notes: Vec<String>,
    /// What happened, in a few words.
    pub happened: String,
    /// Why the guest cannot be used any more, if so.
    pub lost: Option<String>,
}

/// The guests, with nothing on them.
#[derive(Debug)]
pub struct Guests {
    /// The machine that is disturbed: one processor and 1 GiB.
    pub target: Vm,
    /// The machine that may help.
    pub monitor: Vm,
    _wire: Wire,
}

impl Guests {
    /// Boots them.
    ///
    /// # Errors
    /// If they do not come up.
    pub fn boot(setting: Setting) -> Result<Guests, VmError> {
        let wire = Wire::new()?;
        let config = |name, memory_mib, swap_mib, programs: &[&str]| VmConfig {
            name,
            kernel: Kernel::Newest,
            memory_mib,
            swap_mib,
            network: Some(&wire),
            programs: programs.iter().map(|program| (*program).to_owned()).collect(),
            ..VmConfig::default()
        };
        let programs =
            ["backdoors-nic", "backdoors-agent", "backdoors-hog", "backdoors-bomb", "backdoors-useful"];
        let [target, monitor] = Vm::boot_all([
            config("target", 1024, setting.swap_mib, &programs),
            config("monitor", 512, 0, &["backdoors"]),
        ])?;
        Ok(Guests { target, monitor, _wire: wire })
    }
}

/// The guests with all that helps on them.
#[derive(Debug)]
pub struct Scene<'lab> {
    setting: Setting,
    deployment: Deployment<'lab, Vm>,
}

impl<'lab> Scene<'lab> {
    /// Installs Backdoors on the guests, with these healers.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn install(guests: &'lab Guests, setting: Setting, plan: Plan) -> Result<Scene<'lab>> {
        hostile::prepare(&guests.target)?;
        let deployment = Deployment::install(&guests.target, &guests.monitor, plan)?;
        Ok(Scene { setting, deployment })
    }

    /// What a healer needs to act in every run: the usual bounds are for machines that are brought down less often.
    #[must_use]
    pub fn plan(healer: &str, agent: &str) -> Plan {
        Plan {
            provider: "verbs",
            agent: agent.to_owned(),
            watch: "period = \"50ms\"\ndeadline = \"3s\"\nconnections = 8\nlost_after = \"10s\"\npatience = \"60s\"\n".to_owned(),
            healers: format!(
                "[[target.healer]]\nname = \"{healer}\"\nmode = \"act\"\ncooldown = \"100ms\"\n[target.budget]\n\
                 repairs_per_minute = 60\nvictims_per_minute = 100000\nvictim_cooldown = \"100ms\"\n"
            ),
            ..Plan::default()
        }
    }

    /// One run.
    ///
    /// # Errors
    /// If it could not begin; the guests should be booted anew.
    pub fn run(&mut self, run: Run) -> Result<Outcome> {
        let target = self.deployment.target;
        self.set_swap(run.swap)?;
        let known = run.help.begin(&mut self.deployment)?;
        let mut useful =
            target.spawn(GuestCommand::new(format!("exec backdoors-useful {ROUND} {MEMORY}")).user(ALICE))?;
        let longest = CALM * self.setting.work * Duration::from_millis(ROUND.into());
        let calm = wait_for_rounds(&mut useful, self.setting.work as usize, 0, longest)?;
        if calm.len() < self.setting.work as usize {
            bail!("the useful program did {} rounds in {longest:?}, undisturbed", calm.len());
        }
        let kills = kernel_kills(target)?;
        let watch = target.spawn(hostile::watch())?;
        let hostile = target.spawn(run.hostile.start(run.size))?;
        let started = Instant::now();

        let mut outcome = match self.observe(run, &mut useful, hostile, watch) {
            Ok(outcome) => outcome,
            Err(error) => Outcome {
                measured: Measured::lost(&calm, self.setting.work as usize, started.elapsed().as_secs_f64()),
                happened: format!("the machine does not answer: {error:#}"),
                ..Outcome::default()
            },
        };
        outcome.notes = run.help.notes(&self.deployment, known).unwrap_or_default();
        match self.clean(&useful, run.help) {
            Ok(()) => outcome.kernel_kills = kernel_kills(target).map_or(0, |now| now.saturating_sub(kills)),
            Err(error) => outcome.lost = Some(format!("{error:#}")),
        }
        Ok(outcome)
    }

    /// Watches from the hostile program's start to the end of what is to be seen.
    fn observe(
        &self,
        run: Run,
        useful: &mut Running<'_>,
        mut hostile: Running<'_>,
        mut watch: Running<'_>,
    ) -> Result<Outcome> {
        let work = self.setting.work as usize;
        let patience = if run.help == Help::Nobody { 1 } else { PATIENCE };
        let (started, deadline) = (Instant::now(), patience * self.setting.deadline);
        while watch.is_running()? && useful.is_running()? && started.elapsed() < deadline {
            std::thread::sleep(PAUSE);
        }
        let begun = stamp(&hostile.output()?.stdout).context("the hostile program did not start")?;
        let gone = if watch.is_running()? { None } else { stamp(&watch.output()?.stdout) };
        if let Some(gone) = gone {
            wait_for_rounds(useful, work, gone, self.setting.deadline)?;
        }
        let until = self.now()?;
        let is_alive = useful.is_running()?;
        let seen = rounds(&useful.output()?.stdout);
        let measured = Measured::new(&seen, Times { begun, gone, until }, work)
            .context("no round of the useful program before the hostile one")?;
        let ended =
            if gone.is_some() { "the hostile program is gone" } else { "the hostile program lives on" };
        let happened = match (is_alive, measured.is_done) {
            (false, _) => "the useful program was killed".to_owned(),
            (true, true) => format!("done; {ended}"),
            (true, false) => format!("not done after {:.0} s; {ended}", measured.disturbed),
        };
        Ok(Outcome { measured, happened, ..Outcome::default() })
    }

    /// Ends what the run started, and makes sure that everything else is still there.
    fn clean(&self, useful: &Running<'_>, help: Help) -> Result<()> {
        let target = self.deployment.target;
        hostile::end(target)?;
        // It may have been killed.
        let _ = useful.signal(9);
        help.end(&self.deployment)?;
        target.run_within(ANSWER, GuestCommand::new("true").user(ALICE))?;
        for (name, pid) in [("owner", self.deployment.owner), ("agent", self.deployment.agent)] {
            target.shell(format!("test -d /proc/{pid}")).with_context(|| format!("the {name} is gone"))?;
        }
        Ok(())
    }

    fn set_swap(&self, wanted: bool) -> Result<()> {
        let is_on = format!("grep -q ^{SWAP_DISK} /proc/swaps");
        let script = if wanted {
            format!("{is_on} || swapon {SWAP_DISK}")
        } else {
            format!("! {is_on} || swapoff {SWAP_DISK}")
        };
        // Without a disk there is nothing to take away, and nothing to bring back.
        if wanted && self.setting.swap_mib == 0 {
            bail!("the guest has no disk to swap to");
        }
        Machine::shell(self.deployment.target, &script).map(drop)
    }

    /// The target's clock.
    fn now(&self) -> Result<u64> {
        let clock = GuestCommand::new("echo $EPOCHREALTIME").priority(Priority::RealTime);
        stamp(&self.deployment.target.run_within(ANSWER, clock)?.stdout).context("a time")
    }
}

/// Waits until so many rounds that began from a moment on are done; all rounds. Fewer if it takes too long, or the program
/// ends.
fn wait_for_rounds(
    useful: &mut Running<'_>,
    count: usize,
    from: u64,
    longest: Duration,
) -> Result<Vec<Round>> {
    let begun = Instant::now();
    loop {
        let is_running = useful.is_running()?;
        let seen = rounds(&useful.output()?.stdout);
        let done = seen.iter().filter(|round| round.at >= from).count() >= count;
        if done || !is_running || begun.elapsed() > longest {
            return Ok(seen);
        }
        std::thread::sleep(LOOK);
    }
}

/// How many processes the kernel has killed for want of memory.
fn kernel_kills(target: &Vm) -> Result<u64> {
    let count = target.shell("awk '$1 == \"oom_kill\" { print $2 }' /proc/vmstat")?;
    count.trim().parse().context("counting the kernel's kills")
}

/// Bash's seconds since 1970 UTC, in nanoseconds.
fn stamp(text: &str) -> Option<u64> {
    let (seconds, micros) = text.lines().next()?.trim().split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1_000_000_000 + micros.parse::<u64>().ok()? * 1000)
}
