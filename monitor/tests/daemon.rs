//! The daemon as a process: what it refuses to start on, and what it takes in while it runs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

struct Daemon {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Daemon {
    /// A folder with keys, and no daemon yet.
    fn new() -> Daemon {
        let daemon = Daemon { folder: tempfile::tempdir().unwrap(), child: None };
        for name in ["watch1", "web1"] {
            let made =
                backdoors(&["keys", "new", "--name", name, "--dir", &daemon.path("").display().to_string()]);
            assert!(made.status.success());
        }
        daemon
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a configuration with these lines for its target, which nobody can reach.
    fn configure(&self, lines: &str) {
        let text = format!(
            "name = 'watch1'\nidentity = '.'\njournal = 'journal'\nsocket = 'socket'\n\
             [[target]]\nname = 'web1'\naddress = '127.0.0.1:1'\ncertificate = 'web1.crt'\n{lines}"
        );
        std::fs::write(self.path("monitor.toml"), text).unwrap();
    }

    fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backdoors"));
        command.arg("monitor").arg("--config").arg(self.path("monitor.toml")).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        self.wait_for(|daemon| daemon.ask(&["targets"]).status.success());
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let socket = self.path("socket").display().to_string();
        backdoors(&[arguments, &["--socket", &socket]].concat())
    }

    fn healers(&self) -> Vec<(String, String)> {
        let answer: Value = serde_json::from_slice(&self.ask(&["healers", "web1", "--json"]).stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let healers = answer[0]["healers"].as_array().unwrap();
        healers.iter().map(|healer| (text(&healer["name"]), text(&healer["mode"]))).collect()
    }

    fn hang_up(&self) {
        let id = self.child.as_ref().unwrap().id().cast_signed();
        kill_process(Pid::from_raw(id).unwrap(), Signal::HUP).unwrap();
    }

    fn journal(&self) -> String {
        std::fs::read_to_string(self.path("journal")).unwrap_or_default()
    }

    fn wait_for(&self, good: impl Fn(&Daemon) -> bool) {
        let begun = Instant::now();
        while !good(self) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{}", self.journal());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn backdoors(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_backdoors")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn healer(name: &str, mode: &str) -> String {
    format!("[[target.healer]]\nname = '{name}'\nmode = '{mode}'\n")
}

const BAD: &str = "perid = '1s'\n[[target.healer]]\nname = 'leeches'\n[[target.healer]]\nname = 'own'\n\
                   command = ['/nonexistent/own']\nwatches = ['processes']\n";

fn complaints(file: &Path) -> String {
    let file = file.display();
    format!(
        "{file}:9:1: unknown key `perid`: there are `name`, `address`, `certificate`, `provider`, `device`, `period`, \
         `fastest`, `false_alarm`, `deadline`, `connections`, `lost_after`, `patience`, `limits`, `users`, `lease`, \
         `budget`, `spare`, `proposal_lifetime`, `healer`, `service`, `rule`\n\
         {file}:11:1: target `web1`: no healer is called `leeches`; there are: forkbomb, memory-hog, runaway, stuck-application; \
         one of your own needs a `command`\n\
         {file}:14:1: target `web1`: `/nonexistent/own` does not exist: install it, or correct its path\n"
    )
}

#[test]
fn a_bad_configuration_is_refused_with_the_words_of_the_check() {
    let daemon = Daemon::new();
    daemon.configure(BAD);
    let file = daemon.path("monitor.toml");
    let checked = backdoors(&["config", "check", &file.display().to_string()]);
    assert_eq!(checked.status.code(), Some(2));
    assert_eq!(text(&checked.stdout), complaints(&file));
    let started = backdoors(&["monitor", "--config", &file.display().to_string()]);
    assert_eq!(started.status.code(), Some(1));
    assert_eq!(text(&started.stderr), format!("backdoors: {}", complaints(&file)));
    daemon.configure("");
    let checked = backdoors(&["config", "check", &file.display().to_string()]);
    assert_eq!(text(&checked.stdout), format!("{}: good, 1 targets, 0 healers\n", file.display()));
    assert!(checked.status.success());
    let missing = backdoors(&["config", "check", "/nonexistent/monitor.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("cannot read /nonexistent/monitor.toml"));
}

#[test]
fn a_good_configuration_is_taken_in_while_the_daemon_runs_and_a_bad_one_is_not() {
    let mut daemon = Daemon::new();
    daemon.configure(&healer("forkbomb", "propose"));
    daemon.start();
    assert_eq!(daemon.healers(), [("forkbomb".into(), "propose".into())]);

    daemon.configure(&format!(
        "period = '50ms'\n{}{}",
        healer("forkbomb", "act"),
        healer("runaway", "observe")
    ));
    daemon.hang_up();
    let both = [("forkbomb".to_owned(), "act".to_owned()), ("runaway".to_owned(), "observe".to_owned())];
    daemon.wait_for(|daemon| daemon.healers() == both);
    daemon.wait_for(|daemon| {
        daemon.journal().contains("in force after a restart only: `period` of target `web1`")
    });
    assert!(
        daemon.journal().contains("new configuration in force: healers forkbomb, runaway; 0 rules; 0 limits")
    );

    daemon.configure(BAD);
    daemon.hang_up();
    daemon.wait_for(|daemon| daemon.journal().contains("the old one stays in force"));
    let file = daemon.path("monitor.toml");
    let asked = daemon.ask(&["reload"]);
    assert_eq!(asked.status.code(), Some(2));
    assert_eq!(text(&asked.stderr), format!("backdoors: {}", complaints(&file)));
    assert_eq!(daemon.healers(), both);

    daemon.configure(&format!("period = '50ms'\n{}", healer("stuck-application", "propose")));
    let asked = daemon.ask(&["reload"]);
    assert_eq!(
        text(&asked.stdout),
        "limits, rules, healers and users are renewed: web1\nin force after a restart only: `period` of target `web1`\n"
    );
    daemon.wait_for(|daemon| daemon.healers() == [("stuck-application".to_owned(), "propose".to_owned())]);
}

#[test]
fn clients_of_other_machines_are_admitted_by_the_configuration_in_force() {
    let mut daemon = Daemon::new();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let admitting = |client: &str| format!("[api]\nlisten = '{address}'\n{client}");
    let web1 = "[[api.client]]\nname = 'web1'\ncertificate = 'web1.crt'\n";
    daemon.configure(&admitting(web1));
    daemon.start();
    let ask = |daemon: &Daemon| {
        let (trust, identity) = (daemon.path("watch1.crt"), daemon.path("web1"));
        let (trust, identity) = (trust.display().to_string(), identity.display().to_string());
        backdoors(&["targets", "--remote", &address, "--trust", &trust, "--identity", &identity])
    };
    assert!(ask(&daemon).status.success(), "{}", text(&ask(&daemon).stderr));

    daemon.configure(&admitting(""));
    assert!(!text(&daemon.ask(&["reload"]).stdout).contains("restart"));
    assert!(text(&ask(&daemon).stderr).contains("does not admit this certificate"));
    daemon.configure(&admitting(&web1.replace("web1.crt", "missing.crt")));
    let asked = daemon.ask(&["reload"]);
    assert_eq!(asked.status.code(), Some(2));
    assert!(text(&asked.stderr).contains("client `web1`: "), "{}", text(&asked.stderr));
    daemon.configure(&admitting(web1));
    daemon.ask(&["reload"]);
    assert!(ask(&daemon).status.success());
    daemon.configure("");
    assert!(
        text(&daemon.ask(&["reload"]).stdout).contains("in force after a restart only: `listen` of `api`")
    );
    assert!(text(&ask(&daemon).stderr).contains("does not admit this certificate"));
}

#[test]
fn what_is_built_in_is_listed_without_a_daemon() {
    let daemon = Daemon::new();
    let listed = daemon.ask(&["healers"]);
    assert!(listed.status.success());
    assert!(text(&listed.stderr).contains("only what is built in is shown: no monitor listens on "));
    let shown = text(&listed.stdout);
    assert!(shown.starts_with("built in, with default settings:\nHEALER"), "{shown}");
    for line in
        ["runaway", "every 1.0 s", "kill-process", "any application", "least_share = 0.5", "level = 0.9"]
    {
        assert!(shown.contains(line), "{line} is missing: {shown}");
    }
    assert_eq!(daemon.ask(&["healers", "web1"]).status.code(), Some(1));
}

#[test]
fn a_healer_of_ones_own_is_listed_with_its_command_and_settings() {
    let mut daemon = Daemon::new();
    daemon.configure(
        "[[target.healer]]\nname = 'own'\ncommand = ['/bin/true', '-x']\nwatches = ['processes']\ntimeout = '5s'\n",
    );
    daemon.start();
    let listed = text(&daemon.ask(&["healers", "web1"]).stdout);
    for part in [
        "own",
        "propose",
        "processes",
        "kill-user",
        "runs /bin/true -x",
        "timeout = \"5s\"",
        "most_output = 65536",
    ] {
        assert!(listed.contains(part), "{part} is missing: {listed}");
    }
}
