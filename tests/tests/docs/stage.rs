//! The machines that documents speak of, with their names and addresses, as hosts of a lab.

use crate::files::{self, Place};
use crate::markdown::Block;
use crate::script::{Step, is_as_shown};
use backdoors_rdma::handshake::Identity;
use backdoors_target_agent::config::Config;
use backdoors_tests::host::{Host, HostLimits, Network};
use backdoors_tests::sessions::group::Group;
use std::io::{Read, Seek, SeekFrom};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What `machine$` types as. No other test's hosts have this user.
const USER: u32 = 62_300;
const PATIENCE: Duration = Duration::from_secs(30);
/// What a machine is called in commands, its own name, and its address.
const MACHINES: [(&str, &str, u8); 4] =
    [("target", "web1", 5), ("monitor", "watch1", 7), ("second", "watch2", 8), ("client", "laptop", 9)];
/// Where a document may write. What it writes is seen on that machine alone, and gone with it.
/// What was there stays to be seen: the programs may be anywhere.
const OWN_FOLDERS: &str = "/etc /usr/local /var/lib /srv /tmp";
/// What only looks, and may look again until what is shown has come.
const LOOKS: [&str; 8] = ["targets", "sensors", "verdicts", "events", "boxes", "offers", "audit", "ps"];

/// The machines. Everything in them ends with this.
pub struct Stage {
    machines: Vec<(&'static str, Host, Group)>,
    started: usize,
    _network: Network,
}

impl Stage {
    pub fn boot() -> Stage {
        let network = Network::new().unwrap();
        let limits = HostLimits { processes: 400, ..HostLimits::default() };
        let boot = |(called, name, last)| {
            let host = Host::boot(&network, name, Ipv4Addr::new(10, 0, 0, last), limits).unwrap();
            let own = format!(
                "for folder in {OWN_FOLDERS}; do
                     mkdir -p /run/own/upper$folder /run/own/work$folder || exit
                     chmod --reference=$folder /run/own/upper$folder || exit
                     mount -t overlay -o lowerdir=$folder,upperdir=/run/own/upper$folder,workdir=/run/own/work$folder own $folder || exit
                 done
                 mkdir -p /etc/backdoors /var/lib/backdoors /srv"
            );
            host.shell(&own).unwrap();
            (called, host, Group::create().unwrap())
        };
        let machines = MACHINES.map(boot).into();
        Stage { machines, started: 0, _network: network }
    }

    /// The same with keys on target and monitors, each of which knows the others' certificates.
    pub fn with_keys() -> Stage {
        let stage = Stage::boot();
        let keys = tempfile::tempdir().unwrap();
        for (_, name, _) in &MACHINES[..3] {
            Identity::generate(name).unwrap().save(keys.path()).unwrap();
        }
        for (machine, name, _) in &MACHINES[..3] {
            for file in ["web1.crt", "watch1.crt", "watch2.crt", &format!("{name}.key")] {
                let to = stage.host(machine).path(&format!("/etc/backdoors/{file}"));
                std::fs::copy(keys.path().join(file), to).unwrap();
            }
        }
        stage
    }

    fn at(&self, machine: &str) -> Option<&(&'static str, Host, Group)> {
        self.machines.iter().find(|(called, ..)| *called == machine)
    }

    fn host(&self, machine: &str) -> &Host {
        &self.at(machine).unwrap().1
    }

    /// Puts a file of a document where it says, or what it says of one into that; and has the program that reads it look at it.
    pub fn put(&self, place: &Place, block: &Block) -> Result<(), String> {
        let (_, host, group) = self.at(place.machine).ok_or("no such machine")?;
        let path = host.path(place.path);
        let text = if block.language == "toml" && !place.is_bad {
            let before = std::fs::read_to_string(&path).unwrap_or_default();
            files::merged(&before, &block.text, group.path())?
        } else {
            block.text.clone()
        };
        std::fs::create_dir_all(path.parent().unwrap()).map_err(|error| error.to_string())?;
        std::fs::write(&path, &text).map_err(|error| format!("{}: {error}", place.path))?;
        let checked = match place.path.rsplit('/').next() {
            _ if place.is_bad => Ok(()),
            Some("agent.toml") => Config::load(&path).map(drop).map_err(|error| error.to_string()),
            Some("monitor.toml") => self
                .root_script(place.machine, &format!("backdoors config check {}", place.path))
                .and_then(|(code, said)| if code == 0 { Ok(()) } else { Err(said) }),
            _ => {
                host.shell(&format!("chmod 755 {}", place.path)).map(drop).map_err(|error| error.to_string())
            }
        };
        checked.map_err(|error| format!("{error}\n{text}"))
    }

    /// Does what a line says, and looks whether it ends as it says and prints what is shown.
    pub fn perform(&mut self, step: &Step) -> Result<(), String> {
        if let Some(copied) = self.copy(step) {
            return copied;
        }
        if step.stays {
            return self.start(step);
        }
        let may_repeat = step.command.strip_prefix("backdoors ").is_some_and(|rest| {
            rest.split_whitespace().next().is_some_and(|command| LOOKS.contains(&command))
        });
        let begun = Instant::now();
        loop {
            let (code, said) = self.run(step)?;
            if code == step.exit_code && is_as_shown(&step.shown, &said) {
                return Ok(());
            }
            if !may_repeat || begun.elapsed() > PATIENCE {
                let (wanted, shown) = (step.exit_code, step.shown.join("\n"));
                return Err(format!(
                    "exits with {code} ({wanted}) and prints\n{said}\nwhere is shown\n{shown}"
                ));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// There is no SSH between the machines: what `scp` would do is done.
    fn copy(&self, step: &Step) -> Option<Result<(), String>> {
        let command = step.command.split(" # ").next()?.strip_prefix("scp ")?;
        let (keeping, ends) = match command.strip_prefix("-p ") {
            Some(ends) => ("-p", ends),
            None => ("--", command),
        };
        let find = |end: &str| match end.split_once(':') {
            Some((address, path)) => {
                let found =
                    self.machines.iter().find(|(_, host, _)| host.address().to_string() == address)?;
                Some(found.1.path(path))
            }
            None => Some(self.host(&step.machine).path(end)),
        };
        let ends: Vec<_> = ends.split_whitespace().filter_map(find).collect();
        let copied = output(Command::new("cp").arg(keeping).args(ends));
        Some(copied.and_then(|(code, said)| if code == 0 { Ok(()) } else { Err(said) }))
    }

    fn run(&self, step: &Step) -> Result<(i32, String), String> {
        if step.is_root {
            return self.root_script(&step.machine, &step.command);
        }
        let (_, host, _) = self.at(&step.machine).ok_or("no such machine")?;
        output(&mut host.script_as(USER, &with_path(&step.command)))
    }

    fn root_script(&self, machine: &str, script: &str) -> Result<(i32, String), String> {
        let (_, host, group) = self.at(machine).ok_or(format!("no machine is called {machine}"))?;
        // Whoever serves or rebuilds connections is in the group of its machine: all hosts share a kernel.
        let script = format!("echo 0 > {}/cgroup.procs; {}", group.path().display(), with_path(script));
        output(host.command("sh").args(["-c", &script]))
    }

    /// Starts what goes on, and waits until it says that it is ready. A monitor is when it answers.
    fn start(&mut self, step: &Step) -> Result<(), String> {
        self.started += 1;
        let (log, pid) = (format!("/tmp/{}.log", self.started), format!("/tmp/{}.pid", self.started));
        let background = Step {
            command: format!("{{ {}\n}} > {log} 2>&1 < /dev/null & echo $! > {pid}", step.command),
            ..step.clone()
        };
        self.run(&background)?;
        let host = self.host(&step.machine);
        let is_up = || {
            let said = std::fs::read_to_string(host.path(&log)).unwrap_or_default();
            if step.command.contains("backdoors monitor") {
                let (code, told) = self.root_script(&step.machine, "backdoors targets")?;
                return Ok::<_, String>((code == 0, told + &said));
            }
            let is_ready =
                said.contains("ready") || !step.shown.is_empty() && is_as_shown(&step.shown, &said);
            Ok((is_ready || step.shown.is_empty() && !step.command.contains("backdoors-"), said))
        };
        let begun = Instant::now();
        loop {
            let (is_up, said) = is_up()?;
            if is_up {
                return Ok(());
            }
            let has_ended = host.shell(&format!("test -d /proc/$(cat {pid})")).is_err();
            if has_ended || begun.elapsed() > PATIENCE {
                return Err(format!("it does not come up (ended: {has_ended}):\n{said}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The programs of this workspace are found first, as if they were installed.
fn with_path(script: &str) -> String {
    let folder = Path::new(env!("CARGO_BIN_EXE_backdoors-demo")).parent().unwrap();
    format!("cd /tmp; PATH={}:$PATH; {script}", folder.display())
}

/// Runs it to its end, whatever it leaves behind. Its output is a file, which nobody who is left behind keeps from ending.
fn output(command: &mut Command) -> Result<(i32, String), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut said = tempfile::tempfile().map_err(failed)?;
    let outputs = (said.try_clone().map_err(failed)?, said.try_clone().map_err(failed)?);
    let mut child =
        command.stdin(Stdio::null()).stdout(outputs.0).stderr(outputs.1).spawn().map_err(failed)?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill().and_then(|()| child.wait()).map_err(failed)?;
            return Err(format!("it has not ended after {PATIENCE:?}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut text = Vec::new();
    said.seek(SeekFrom::Start(0)).and_then(|_| said.read_to_end(&mut text)).map_err(failed)?;
    Ok((status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned()))
}
