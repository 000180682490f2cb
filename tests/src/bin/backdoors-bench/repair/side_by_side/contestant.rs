//! Who watches over the machine.

use anyhow::{Result, ensure};
use backdoors_tests::deployment::{Deployment, FOLDER};
use backdoors_tests::machine::Machine;
use backdoors_tests::vm::Vm;

const DAEMONS: &str = "earlyoom.service systemd-oomd.service systemd-oomd.socket";
/// Where the daemons write what they do.
pub const LOG: &str = "/run/watcher.log";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Contestant {
    Nobody,
    Earlyoom,
    SystemdOomd,
    Backdoors,
    /// With another policy than the default one
    BackdoorsByUser,
}

impl Contestant {
    pub const ALL: [Contestant; 5] = [
        Contestant::Nobody,
        Contestant::Earlyoom,
        Contestant::SystemdOomd,
        Contestant::Backdoors,
        Contestant::BackdoorsByUser,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Contestant::Nobody => "no watcher",
            Contestant::Earlyoom => "earlyoom",
            Contestant::SystemdOomd => "systemd-oomd",
            Contestant::Backdoors => "Backdoors",
            Contestant::BackdoorsByUser => "... by user",
        }
    }

    /// What it says of each kill, if it is a daemon.
    fn daemon(self) -> Option<(&'static str, &'static str)> {
        match self {
            Contestant::Earlyoom => Some(("earlyoom", "to process")),
            Contestant::SystemdOomd => Some(("systemd-oomd", "Killed ")),
            Contestant::Nobody | Contestant::Backdoors | Contestant::BackdoorsByUser => None,
        }
    }

    /// The policies of `memory-hog`, if it is Backdoors; none are the default ones.
    fn policies(self) -> Option<&'static str> {
        match self {
            Contestant::Backdoors => Some(""),
            Contestant::BackdoorsByUser => Some("policies = [\"largest-user\"]"),
            Contestant::Nobody | Contestant::Earlyoom | Contestant::SystemdOomd => None,
        }
    }

    /// Keeps daemons from being started by anybody but [`Contestant::start`]: control groups that `systemd-oomd` is to watch
    /// pull it in.
    pub fn forbid(target: &Vm) -> Result<()> {
        target.shell(format!("systemctl mask --runtime --now {DAEMONS}"))?;
        Ok(())
    }

    /// Has it watch. Nobody else does then.
    pub fn start(self, deployment: &mut Deployment<'_, Vm>) -> Result<()> {
        let target = deployment.target;
        let running = target.shell("pgrep -x 'earlyoom|systemd-oomd' || true")?;
        ensure!(running.is_empty(), "another daemon watches: {running}");
        target.shell(format!("rm -f {LOG}"))?;
        if let Some((service, _)) = self.daemon() {
            target.shell(format!("systemctl unmask --runtime {DAEMONS} && systemctl start {service}"))?;
        } else if let Some(policies) = self.policies() {
            let settings = format!("sed -i '/^policies/ d; /^mode/ a {policies}' {FOLDER}/monitor.toml");
            deployment.monitor.shell(settings)?;
            deployment.start_daemon()?;
        }
        Ok(())
    }

    /// Ends it.
    pub fn stop(self, deployment: &Deployment<'_, Vm>) -> Result<()> {
        if self.daemon().is_some() {
            Self::forbid(deployment.target)?;
        } else if self.policies().is_some() {
            let daemon = deployment.daemon();
            let monitor = deployment.monitor;
            monitor.signal("KILL", daemon)?;
            monitor.shell(format!("while test -d /proc/{daemon}; do sleep 0.05; done"))?;
        }
        Ok(())
    }

    /// What it says that it did, a line for each kill or repair since `from` entries of the journal.
    pub fn deeds(self, deployment: &Deployment<'_, Vm>, from: usize) -> Result<Vec<String>> {
        if let Some((_, word)) = self.daemon() {
            let text = deployment.target.shell(format!("grep -F '{word}' {LOG} || true"))?;
            return Ok(text.lines().map(str::to_owned).collect());
        }
        if self.policies().is_none() {
            return Ok(Vec::new());
        }
        let journal = deployment.journal()?.into_iter().skip(from);
        let repaired = journal.filter(|entry| entry["kind"] == "repaired");
        Ok(repaired.map(|entry| entry["text"].as_str().unwrap_or_default().to_owned()).collect())
    }
}
