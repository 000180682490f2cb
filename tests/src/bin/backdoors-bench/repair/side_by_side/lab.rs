//! The virtual machines, and one run in them.

use super::answers::{Answer, again, answers, limit, longest, short_since, undisturbed};
use super::bystanders::Bystanders;
use super::contestant::{Contestant, LOG};
use super::hog::Hog;
use super::table::Row;
use super::{Run, Scene};
use anyhow::{Context, Result, anyhow};
use backdoors_tests::deployment::{Deployment, Plan};
use backdoors_tests::machine::Machine;
use backdoors_tests::vm::{GuestCommand, Kernel, Priority, Running, SWAP_DISK, Vm, VmConfig, Wire};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Of the target, MiB; its swap space is as large.
pub const MEMORY: u32 = 1024;
/// How long the machine is asked before the hog comes.
const BEFORE: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(500);
/// How long a machine may take to be as it was, once nobody asks anything of it.
const CLEAN: Duration = Duration::from_secs(30);
/// Available memory may differ by so much between a run's beginning and the one before, bytes.
const ALIKE: u64 = 48 << 20;
const NO_SWAP: &str = "while read -r disk _; do [[ $disk == Filename ]] || swapoff $disk; done </proc/swaps";
/// What Debian sets for everybody's own systemd, set for everybody's slice: sessions of these guests are not below the
/// former.
const PRESSURE: &str = "[Slice]\nManagedOOMMemoryPressure=kill\nManagedOOMMemoryPressureLimit=50%\n";

/// Two guests with Backdoors installed.
pub struct Lab<'vm> {
    deployment: Deployment<'vm, Vm>,
    memory: u64,
    /// Available when nobody has begun yet, bytes.
    at_rest: u64,
    keep: Option<&'vm Path>,
}

/// A run that the hog has begun.
struct Begun<'vm> {
    bystanders: Bystanders,
    /// Entries that the monitor's journal had before.
    known: usize,
    /// Processes that the kernel had killed before.
    killed: u64,
    asker: Running<'vm>,
    hog: Hog,
}

/// Why a run has no row.
pub enum Failure {
    /// It shows nothing: the hog did not start, or had no effect.
    NotBegun(anyhow::Error),
    /// The guest does not answer the lab any more.
    Lost(anyhow::Error),
}

pub fn boot(wire: &Wire) -> Result<[Vm; 2]> {
    let programs = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let target = VmConfig {
        name: "target",
        kernel: Kernel::Newest,
        memory_mib: MEMORY,
        swap_mib: MEMORY,
        cpus: 1,
        network: Some(wire),
        systemd: true,
        programs: programs(&[
            "backdoors-nic",
            "backdoors-agent",
            "backdoors-hog",
            "backdoors-bystander",
            "backdoors-asker",
        ]),
        ..VmConfig::default()
    };
    let monitor = VmConfig {
        name: "monitor",
        kernel: Kernel::Newest,
        memory_mib: 512,
        network: Some(wire),
        programs: programs(&["backdoors"]),
        ..VmConfig::default()
    };
    Ok(Vm::boot_all([target, monitor])?)
}

impl<'vm> Lab<'vm> {
    pub fn install(target: &'vm Vm, monitor: &'vm Vm, keep: Option<&'vm Path>) -> Result<Lab<'vm>> {
        target.write_file("/etc/systemd/system/user-.slice.d/10-pressure.conf", 0o644, PRESSURE)?;
        for service in ["earlyoom", "systemd-oomd"] {
            // Only where they write: there is no journal.
            let log = format!(
                "[Service]\nStandardOutput=append:{LOG}\nStandardError=append:{LOG}\nEnvironment=SYSTEMD_LOG_TARGET=console\n"
            );
            target.write_file(&format!("/etc/systemd/system/{service}.service.d/log.conf"), 0o644, log)?;
        }
        target.shell(format!("systemctl daemon-reload && {NO_SWAP}"))?;
        Contestant::forbid(target)?;
        let plan = Plan {
            provider: "verbs",
            watch: "period = \"50ms\"\ndeadline = \"3s\"\nconnections = 8\nlost_after = \"10s\"\npatience = \"60s\"\n".to_owned(),
            healers: "[[target.healer]]\nname = \"memory-hog\"\nmode = \"act\"\n".to_owned(),
            ..Plan::default()
        };
        let deployment = Deployment::install(target, monitor, plan)?;
        let memory = memory(target, "MemTotal")?;
        let at_rest = memory_at_rest(target)?;
        Ok(Lab { deployment, memory, at_rest, keep })
    }

    /// Makes a run. Says whether the machine is as good as before.
    pub fn make(&mut self, run: Run, deadline: Duration) -> Result<(Row, bool), Failure> {
        let mut begun = self.begin(run).map_err(Failure::NotBegun)?;
        let row = self.observe(run, &mut begun, deadline).map_err(Failure::Lost)?;
        let row = row.ok_or_else(|| Failure::NotBegun(anyhow!("the hog has not made memory short")))?;
        let usable = begun.asker.signal(9).map_err(Into::into).and_then(|()| self.clean(run.contestant));
        if let Err(error) = &usable {
            eprintln!("{run:?}: the guests start anew: {error:#}");
        }
        Ok((row, usable.is_ok()))
    }

    /// Everything up to the hog's start.
    fn begin(&mut self, run: Run) -> Result<Begun<'vm>> {
        let target = self.deployment.target;
        let swap = if run.scene == Scene::Swap { format!("swapon {SWAP_DISK}") } else { ":".to_owned() };
        target.shell(format!("{swap}; dmesg -c >/dev/null"))?;
        let known = self.deployment.journal().map(|journal| journal.len()).unwrap_or(0);
        let bystanders = Bystanders::start(target)?;
        run.contestant.start(&mut self.deployment)?;
        let killed = kernel_kills(target)?;
        let asker = GuestCommand::new("echo -900 >/proc/self/oom_score_adj; exec backdoors-asker");
        let asker = target.spawn(asker.priority(Priority::Normal))?;
        sleep(BEFORE);
        Ok(Begun { bystanders, known, killed, asker, hog: Hog::start(target)? })
    }

    /// What there is to see until the machine answers again, or the deadline; nothing if memory was never short.
    fn observe(&self, run: Run, begun: &mut Begun<'_>, deadline: Duration) -> Result<Option<Row>> {
        let target = self.deployment.target;
        let Some(seen) = self.watch(&mut begun.asker, begun.hog.at, deadline)? else { return Ok(None) };
        let deeds = run.contestant.deeds(&self.deployment, begun.known)?;
        if let Some(folder) = self.keep {
            self.keep(folder, run, begun)?;
        }
        Ok(Some(Row {
            gone: begun.bystanders.gone(target)?.into_iter().map(str::to_owned).collect(),
            hog_ended: Hog::is_gone(target)?,
            kernel_kills: kernel_kills(target)? - begun.killed,
            deeds: deeds.len(),
            note: deeds.first().cloned().unwrap_or_default(),
            ..seen
        }))
    }

    /// Until the machine answers again, or the deadline. A row with times only.
    fn watch(&self, asker: &mut Running<'_>, hog_at: u64, deadline: Duration) -> Result<Option<Row>> {
        let started = Instant::now();
        loop {
            sleep(LOOK);
            let answers: Vec<Answer> = answers(&asker.output()?.stdout);
            let undisturbed = undisturbed(&answers, hog_at).context("no answers before the hog")?;
            let short = short_since(&answers, hog_at, self.memory);
            let limit = limit(undisturbed);
            let again = short.and_then(|since| Some(again(&answers, since, limit)? - since));
            if again.is_some() || started.elapsed() > deadline {
                let nanos = Duration::from_nanos;
                return Ok(short.map(|since| Row {
                    undisturbed: nanos(undisturbed),
                    again: again.map(nanos),
                    longest: nanos(longest(&answers, since)),
                    ..Row::default()
                }));
            }
        }
    }

    fn keep(&self, folder: &Path, run: Run, begun: &mut Begun<'_>) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let name = format!("{}-{:?}-{:?}", run.number, run.scene, run.contestant);
        let logs =
            self.deployment.target.shell(format!("dmesg | grep -i 'killed process'; cat {LOG}; true"))?;
        let (hog, answers) = (begun.hog.at, begun.asker.output()?.stdout);
        std::fs::write(folder.join(&name), format!("hog {hog}\n{answers}{logs}\n"))?;
        let journal = self.deployment.journal().unwrap_or_default().into_iter().skip(begun.known);
        let journal: String = journal.map(|entry| format!("{entry}\n")).collect();
        std::fs::write(folder.join(name + ".journal"), journal)?;
        Ok(())
    }

    /// Ends everybody, and waits until the machine is as it was.
    fn clean(&self, contestant: Contestant) -> Result<()> {
        let target = self.deployment.target;
        Hog::end(target)?;
        Bystanders::end(target)?;
        contestant.stop(&self.deployment)?;
        target.shell("systemctl reset-failed")?;
        target.wait_for("the machine to be as it was", CLEAN, || {
            target.shell(NO_SWAP)?;
            let left = target.shell(
                "cat /proc/[0-9]*/status 2>/dev/null | awk '/^Uid:/ && $2 >= 1000 && $2 < 1010' | wc -l",
            )?;
            Ok((left == "0" && memory_at_rest(target)? + ALIKE > self.at_rest).then_some(()))
        })?;
        for pid in [self.deployment.owner, self.deployment.agent] {
            target.shell(format!("test -d /proc/{pid}")).context("Backdoors' part on the target is gone")?;
        }
        Ok(())
    }
}

fn memory_at_rest(target: &Vm) -> Result<u64> {
    target.shell("echo 3 >/proc/sys/vm/drop_caches")?;
    memory(target, "MemAvailable")
}

fn memory(target: &Vm, name: &str) -> Result<u64> {
    let kibibytes = target.shell(format!("awk '/^{name}:/ {{ print $2 }}' /proc/meminfo"))?;
    Ok(kibibytes.parse::<u64>().with_context(|| format!("{name} is `{kibibytes}`"))? << 10)
}

fn kernel_kills(target: &Vm) -> Result<u64> {
    let text = target.shell("awk '/^oom_kill / { print $2 }' /proc/vmstat")?;
    text.parse().with_context(|| format!("`{text}` kills"))
}
