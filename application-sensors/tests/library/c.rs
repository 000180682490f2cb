//! The same from C: the header, and the example.

use crate::agent::{Agent, PATIENCE, eventually};
use backdoors_sensor_box::ApplicationState;
use backdoors_target_agent::applications::CallError;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the library is that was built along with this test.
fn libraries() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().into()
}

fn compile(compiler: &str, source: &Path, into: &Path, options: &[&str]) {
    let libraries = libraries();
    let compiled = Command::new(compiler)
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-o"])
        .arg(into)
        .arg(source)
        .args(options)
        .arg("-I")
        .arg(root().join("include"))
        .arg("-L")
        .arg(&libraries)
        .arg("-lbackdoors_application_sensors")
        .arg(format!("-Wl,-rpath,{}", libraries.display()))
        .status()
        .unwrap();
    assert!(compiled.success(), "{compiler} {}: {compiled}", source.display());
}

fn ticker(folder: &Path) -> PathBuf {
    let program = folder.join("ticker");
    compile("cc", &root().join("examples/ticker.c"), &program, &["-std=c11"]);
    program
}

/// Starts it and waits until it ticks.
fn ticking(program: &Path, arguments: &[&str], socket: &Path) -> Child {
    let mut child = Command::new(program).arg(socket).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ticking\n");
    child
}

#[test]
fn the_header_says_what_the_library_does() {
    let path = root().join("include/backdoors.h");
    let made = backdoors_application_sensors::c_header();
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(committed == made, "run `UPDATE_HEADER=1 cargo test -p backdoors-application-sensors`");
}

#[test]
fn the_header_is_good_cpp_and_good_twice() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("twice.cpp");
    let text = "#include \"backdoors.h\"\n#include \"backdoors.h\"\n\
                int main() { return backdoors_attach(nullptr, nullptr, nullptr, 0, BACKDOORS_WARN) != nullptr; }\n";
    std::fs::write(&source, text).unwrap();
    let program = folder.path().join("twice");
    compile("c++", &source, &program, &["-std=c++11"]);
    assert!(Command::new(&program).status().unwrap().success());
}

#[test]
fn the_example_in_c_ticks_is_seen_and_its_hook_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let mut child = ticking(&ticker(folder.path()), &["c-ticker", "100", "500", "77"], &agent.path);
    let view = agent.view("c-ticker");
    assert_eq!((view.pid, view.state), (child.id(), ApplicationState::Attached));
    assert_eq!(view.sensor("ticks").unwrap().limit, Some(500_000_000));
    assert_eq!(agent.value("c-ticker", "level"), 77);
    assert_eq!(agent.call(agent.want("c-ticker", "level", 99, PATIENCE)), Ok(()));
    assert_eq!(agent.value("c-ticker", "level"), 99);
    let refused = agent.call(agent.want("c-ticker", "level", 13, PATIENCE));
    assert_eq!(refused, Err(CallError::Failed(2)), "by what the hook's data says");
    let ticks = agent.value("c-ticker", "ticks");
    eventually("ticks", || (agent.value("c-ticker", "ticks") > ticks + 3).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("its death", || (agent.view("c-ticker").state == ApplicationState::Died).then_some(()));
    let frozen = agent.value("c-ticker", "ticks");
    assert!(frozen > 0);
    assert_eq!(agent.value("c-ticker", "ticks"), frozen);
}

#[test]
fn both_examples_say_goodbye_when_they_have_ticked_enough() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    for program in [ticker(folder.path()), PathBuf::from(env!("CARGO_BIN_EXE_backdoors-ticker"))] {
        let mut child = ticking(&program, &["ticker", "1000", "500", "77", "50"], &agent.path);
        assert!(child.wait().unwrap().success());
        assert!(agent.views().is_empty());
    }
}

#[test]
fn a_forked_child_shares_the_sensors_and_cannot_detach_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let source = folder.path().join("forked.c");
    std::fs::write(&source, include_str!("forked.c")).unwrap();
    let program = folder.path().join("forked");
    compile("cc", &source, &program, &["-std=c11"]);
    let mut parent = Command::new(&program).arg(&agent.path).stdin(Stdio::piped()).spawn().unwrap();
    eventually("what the child added", || {
        let views = agent.views();
        (views.first()?.sensor("p")?.value == 11).then_some(())
    });
    assert_eq!(agent.view("forked").state, ApplicationState::Attached);
    drop(parent.stdin.take());
    assert!(parent.wait().unwrap().success());
    assert!(agent.views().is_empty());
}

#[test]
fn what_is_refused_in_c_has_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let source = folder.path().join("refused.c");
    std::fs::write(&source, include_str!("refused.c")).unwrap();
    let program = folder.path().join("refused");
    compile("cc", &source, &program, &["-std=c11"]);
    let output = Command::new(&program).arg(&agent.path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let reasons: Vec<&str> = said.lines().collect();
    for (reason, expected) in reasons.iter().zip([
        "neither socket nor name may be NULL",
        "without_agent is none of",
        "progress sensor \"p\" has a limit of 0 ns",
        "unknown class 99",
        "unknown unit 99",
        "1000000 sensors, but an application has at most 62",
        "application name \"caf\u{fffd}\" has other characters",
        "no agent at /nowhere/at-all.sock",
        "hooks may not be NULL",
        "0 sensors and 1000000 hooks, but",
        "neither name nor callback of a hook may be NULL",
        "neither name nor callback of a hook may be NULL",
        "hook \"h\" takes 2 at least and 1 at most",
        "has no sensor \"q\"",
        "is attached already",
    ]) {
        assert!(reason.contains(expected), "{reason:?} instead of {expected:?}");
    }
    assert_eq!(reasons.len(), 15);
}
