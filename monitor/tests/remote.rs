//! Who asks the daemon from another machine, and what it may.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, unused_imports, reason = "parts of it serve other tests")]
mod simulation;

use backdoors_monitor::api::{Admission, AdmitError, Remote, Role};
use backdoors_monitor::config::{ApiClientConfig, ApiConfig};
use backdoors_rdma::handshake::Identity;
use simulation::lab::Lab;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A daemon that knows `grafana`, who may look, and `anna`, who may act.
struct Remotely {
    lab: Lab,
    keys: tempfile::TempDir,
    address: SocketAddr,
    admission: Admission,
}

fn client(keys: &Path, name: &str, may: Role) -> ApiClientConfig {
    ApiClientConfig { name: name.to_owned(), certificate: keys.join(format!("{name}.crt")), may }
}

impl Remotely {
    fn new() -> Remotely {
        let keys = tempfile::tempdir().unwrap();
        for name in ["watch1", "grafana", "anna", "mallory"] {
            Identity::generate(name).unwrap().save(keys.path()).unwrap();
        }
        let own = Identity::load(keys.path(), "watch1").unwrap();
        // A port that is free now; the daemon takes it at once.
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let clients =
            vec![client(keys.path(), "grafana", Role::Look), client(keys.path(), "anna", Role::Act)];
        let remote = Remote::bind(&own, &ApiConfig { listen, clients }).unwrap();
        let admission = remote.admission();
        Remotely { lab: Lab::answering("", Some(remote)), keys, address: listen, admission }
    }

    fn key(&self, file: &str) -> PathBuf {
        self.keys.path().join(file)
    }

    fn command(&self, who: &str, trust: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backdoors"));
        command.args(arguments).arg("--remote").arg(self.address.to_string());
        command.arg("--trust").arg(self.key(trust)).arg("--identity").arg(self.key(who));
        command
    }

    fn run(&self, who: &str, arguments: &[&str]) -> Output {
        self.command(who, "watch1.crt", arguments).output().unwrap()
    }
}

fn failed_with(output: &Output, code: i32, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(words), "{said}");
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn who_may_look_sees_everything_and_changes_nothing() {
    let there = Remotely::new();
    assert!(succeeded(&there.run("grafana", &["targets"])).contains("web1"));
    assert!(succeeded(&there.run("grafana", &["ps", "web1"])).contains("115"));
    for change in [&["heal", "web1", "--pid", "115"][..], &["reload"], &["recover", "web1", "--dry-run"]] {
        failed_with(&there.run("grafana", change), 2, "grafana from 127.0.0.1 may only look");
    }
    let journal = there.lab.text(&["events", "--audit"]);
    assert!(!journal.contains("grafana"), "{journal}");
}

#[test]
fn who_may_act_is_named_in_the_journal() {
    let there = Remotely::new();
    succeeded(&there.run("anna", &["heal", "web1", "--pid", "115"]));
    let journal = there.lab.text(&["events"]);
    assert!(journal.contains("(by anna from 127.0.0.1)"), "{journal}");
}

#[test]
fn strangers_are_told_why_nobody_answers_them() {
    let there = Remotely::new();
    failed_with(&there.run("mallory", &["targets"]), 1, "does not admit this certificate");
    let deceived = there.command("anna", "mallory.crt", &["targets"]).output().unwrap();
    failed_with(&deceived, 1, "is not the monitor whose certificate is known here");
    let mut nowhere = Command::new(env!("CARGO_BIN_EXE_backdoors"));
    nowhere.args(["targets", "--remote", "127.0.0.1:9"]).arg("--trust").arg(there.key("watch1.crt"));
    let nowhere = nowhere.arg("--identity").arg(there.key("anna")).output().unwrap();
    failed_with(&nowhere, 1, "no monitor answers at 127.0.0.1:9");
}

#[test]
fn who_is_taken_off_the_list_is_cut_off_at_once() {
    let there = Remotely::new();
    let mut follower = there.command("grafana", "watch1.crt", &["events", "--follow"]);
    let mut follower = follower.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(follower.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    there.admission.admit(&[client(there.keys.path(), "anna", Role::Act)]).unwrap();
    let code = follower.wait().unwrap().code();
    let mut said = String::new();
    follower.stderr.unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(code, Some(1), "{said}");
    failed_with(&there.run("grafana", &["targets"]), 1, "does not admit this certificate");
    succeeded(&there.run("anna", &["targets"]));
}

#[test]
fn a_list_that_cannot_serve_leaves_the_one_before_in_force() {
    let there = Remotely::new();
    let keys = there.keys.path();
    let twice = [
        client(keys, "anna", Role::Act),
        ApiClientConfig { name: "bert".into(), ..client(keys, "anna", Role::Look) },
    ];
    let refused = there.admission.admit(&twice);
    assert!(matches!(refused, Err(AdmitError::SameCertificate { .. })), "{refused:?}");
    let refused = there.admission.admit(&[client(keys, "nobody", Role::Look)]);
    assert!(matches!(refused, Err(AdmitError::Certificate { .. })), "{refused:?}");
    succeeded(&there.run("grafana", &["targets"]));
}

#[test]
fn a_crowd_of_silent_strangers_locks_nobody_out() {
    let there = Remotely::new();
    let crowd: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(there.address).unwrap()).collect();
    let begun = Instant::now();
    succeeded(&there.run("anna", &["targets"]));
    succeeded(&there.lab.run(&["targets"]));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    drop(crowd);
}

#[test]
fn programs_that_look_for_a_name_in_certificates_find_it() {
    let there = Remotely::new();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--resolve"])
        .arg(format!("watch1:{}:127.0.0.1", there.address.port()));
    curl.arg("--cacert").arg(there.key("watch1.crt"));
    curl.arg("--cert").arg(there.key("grafana.crt")).arg("--key").arg(there.key("grafana.key"));
    let output = curl.arg(format!("https://watch1:{}/v1/targets", there.address.port())).output().unwrap();
    assert!(succeeded(&output).contains("\"name\":\"web1\""), "{output:?}");
}
