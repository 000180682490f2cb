//! Healers at work on a simulated machine: programs of their own, and those that are called without a sensor.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

// Parts of it serve other tests.
#[allow(dead_code, unused_imports)]
mod simulation;

use backdoors_monitor::clock::Clock;
use backdoors_monitor::journal::What;
use backdoors_monitor::sampler::Request;
use simulation::Simulation;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const BOMBER: u32 = 60001;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn connected(lines: &str) -> Simulation {
    let mut simulation = Simulation::new(lines);
    simulation.machine.crowd(1, 1000, 10, 200);
    simulation.run(ms(500));
    assert_eq!(simulation.take_kinds(), ["connected", "lease"]);
    simulation
}

/// A program of these lines of shell.
fn script(folder: &Path, lines: &str) -> PathBuf {
    let path = folder.join("healer");
    // Written under another name: a file that is open for writing cannot be executed.
    let draft = folder.join("draft");
    std::fs::write(&draft, format!("#!/bin/sh\n{lines}\n")).unwrap();
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(std::process::Command::new("cp").arg(&draft).arg(&path).status().unwrap().success());
    path
}

fn external(program: &Path, mode: &str) -> String {
    format!(
        "[[target.healer]]\nname = 'own'\ncommand = ['{}']\nwatches = ['user.processes']\nmode = '{mode}'\ncooldown = '1s'\n",
        program.display()
    )
}

/// Lets time pass on both clocks until the journal has something of one of these kinds; returns it with all before it.
fn run_until(simulation: &mut Simulation, kinds: &[&str]) -> Vec<What> {
    let begun = Instant::now();
    let mut journal = Vec::new();
    loop {
        simulation.run(ms(20));
        journal.extend(simulation.take());
        let kind = |what: &What| serde_json::to_value(what).unwrap()["kind"].as_str().unwrap().to_owned();
        if journal.iter().any(|what| kinds.contains(&kind(what).as_str())) {
            return journal;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{journal:?}");
        std::thread::sleep(ms(2));
    }
}

fn last_text(journal: &[What]) -> String {
    journal.last().unwrap().text()
}

const BLAME_THE_BOMBER: &str = r#"
grep -q '"sensor":"user.processes","instance":60001' || exit 9
echo '{"version":1,"culprit":{"user":60001},"evidence":[{"name":"own","text":"too many, says the script","value":300,"limit":200}],
  "repair":{"opcode":"kill-user","subject":60001}}'"#;

#[test]
fn a_program_that_blames_rightly_heals() {
    let folder = tempfile::tempdir().unwrap();
    let mut simulation = connected(&external(&script(folder.path(), BLAME_THE_BOMBER), "act"));
    simulation.machine.crowd(20, BOMBER, 300, 200);
    let journal = run_until(&mut simulation, &["repaired"]);
    let texts: Vec<String> = journal.iter().map(What::text).collect();
    assert_eq!(texts[1], "own blames user 60001: too many, says the script; 300 to strike");
    assert_eq!(simulation.machine.alive(BOMBER), 0);
    assert_eq!(simulation.machine.alive(1000), 10);
}

#[test]
fn a_program_only_proposes_unless_told_to_act() {
    let folder = tempfile::tempdir().unwrap();
    let mut simulation = connected(&external(&script(folder.path(), BLAME_THE_BOMBER), "propose"));
    simulation.machine.crowd(20, BOMBER, 300, 200);
    let journal = run_until(&mut simulation, &["proposal"]);
    assert_eq!(
        last_text(&journal),
        "own proposes 1: backdoors heal web1 --uid 60001 --grace 2s; to have it done: backdoors approve web1 1"
    );
    assert!(simulation.machine.slot_is_blank());
}

#[test]
fn sampling_goes_on_while_a_program_thinks_and_it_is_not_started_twice() {
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("started");
    let gate = folder.path().join("gate");
    assert!(std::process::Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let lines = format!(
        "echo x >> {}\nread go < {}\necho '{{\"version\":1,\"nothing\":\"well after all\"}}'",
        started.display(),
        gate.display()
    );
    let config = format!("{}timeout = '30s'\n", external(&script(folder.path(), &lines), "act"));
    let mut simulation = connected(&config);
    simulation.machine.crowd(20, BOMBER, 300, 200);
    let before = simulation.sampler.status().lock().unwrap().samples;
    simulation.run(ms(10_000));
    let samples = simulation.sampler.status().lock().unwrap().samples - before;
    assert!(samples >= 100, "{samples}");
    assert_eq!(simulation.take_kinds(), ["event"]);
    std::fs::write(&gate, "go\n").unwrap();
    let journal = run_until(&mut simulation, &["nothing-found"]);
    assert_eq!(last_text(&journal), "own blames nobody: well after all");
    assert_eq!(std::fs::read_to_string(started).unwrap(), "x\n");
}

#[test]
fn programs_that_break_are_told_and_rest() {
    let folder = tempfile::tempdir().unwrap();
    let calls = folder.path().join("calls");
    for (lines, complaint) in [
        ("sleep 1000", "healer own broke: it did not answer within 300ms, and was killed"),
        ("yes", "healer own broke: it answered more than 65536 bytes, and was killed"),
        ("echo nonsense", "healer own broke: its answer is not what was expected: expected a JSON object"),
        ("echo no disk >&2; exit 3", "healer own broke: it failed: exit status: 3; it said: no disk"),
    ] {
        std::fs::write(&calls, "").unwrap();
        let lines = format!("echo x >> {}\n{lines}", calls.display());
        let config = format!("{}timeout = '300ms'\n", external(&script(folder.path(), &lines), "act"));
        let config = if lines.contains("sleep") { config } else { config.replace("'300ms'", "'30s'") };
        let mut simulation = connected(&config);
        simulation.machine.crowd(20, BOMBER, 300, 200);
        let journal = run_until(&mut simulation, &["healer-broke"]);
        assert!(last_text(&journal).starts_with(complaint), "{}", last_text(&journal));
        assert!(simulation.machine.slot_is_blank());
        // The cooldown is a second.
        simulation.run(ms(900));
        assert_eq!(std::fs::read_to_string(&calls).unwrap(), "x\n", "{lines}");
        run_until(&mut simulation, &["healer-broke"]);
    }
}

#[test]
fn whatever_a_program_wants_the_pillars_of_the_machine_stand() {
    let folder = tempfile::tempdir().unwrap();
    for (culprit, repair, reason) in [
        (
            r#"{"process":1}"#,
            r#"{"opcode":"kill-process","subject":1,"start_ns":1000}"#,
            "it would strike process 1",
        ),
        (
            r#"{"tree":1}"#,
            r#"{"opcode":"kill-tree","subject":1,"start_ns":1000}"#,
            "it would strike process 1",
        ),
        (r#"{"user":0}"#, r#"{"opcode":"kill-user","subject":0}"#, "it would strike all of root's processes"),
        (
            r#"{"process":101}"#,
            r#"{"opcode":"kill-process","subject":101,"start_ns":7}"#,
            "started at another time",
        ),
    ] {
        let lines = format!(
            r#"echo '{{"version":1,"culprit":{culprit},"evidence":[{{"name":"own","text":"so it is"}}],"repair":{repair}}}'"#
        );
        let mut simulation = connected(&external(&script(folder.path(), &lines), "act"));
        simulation.machine.crowd(20, BOMBER, 300, 200);
        let journal = run_until(&mut simulation, &["withheld", "command-written", "healer-broke"]);
        let text = last_text(&journal);
        assert!(text.contains("withheld: ") && text.contains(reason), "{text}");
        assert!(simulation.machine.slot_is_blank());
    }
}

#[test]
fn what_is_gone_when_the_program_answers_is_not_killed() {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    assert!(std::process::Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let lines = format!(
        "read go < {}\necho '{{\"version\":1,\"culprit\":{{\"process\":120}},\"evidence\":[{{\"name\":\"own\",\"text\":\"it was there\"}}],\
         \"repair\":{{\"opcode\":\"kill-process\",\"subject\":120,\"start_ns\":120000}}}}'",
        gate.display()
    );
    let config = format!("{}timeout = '30s'\n", external(&script(folder.path(), &lines), "act"));
    let mut simulation = connected(&config);
    simulation.machine.crowd(20, BOMBER, 300, 200);
    simulation.run(ms(500));
    // Its number is another process's by now.
    simulation.machine.put(20, 9999, 1, BOMBER, 3, "sh");
    std::fs::write(&gate, "go\n").unwrap();
    let journal = run_until(&mut simulation, &["withheld", "command-written"]);
    assert!(
        last_text(&journal).contains("process 120 is not in the process table"),
        "{}",
        last_text(&journal)
    );
}

const RUNAWAY: &str = "[[target.healer]]\nname = 'runaway'\nfor = '5s'\nmode = 'act'\n";

#[test]
fn a_runaway_process_is_found_and_killed_though_no_sensor_is_exceptional() {
    let mut simulation = connected(RUNAWAY);
    let begun = simulation.clock.monotonic();
    let found = (0..).find(|step| {
        simulation.machine.use_processor(3, ms(10 * step));
        simulation.run(ms(10));
        simulation.machine.alive(1000) < 10
    });
    let took = simulation.clock.monotonic() - begun;
    assert!(found.is_some() && took >= ms(4500) && took < ms(8000), "{took:?}");
    let texts = simulation.take_texts();
    assert!(
        texts[0].starts_with("runaway blames process 103: process 103 (sh) of user 1000 held "),
        "{texts:?}"
    );
    assert_eq!(simulation.machine.obeyed.len(), 1);
    assert_eq!(simulation.machine.obeyed[0].subject, 103);
}

#[test]
fn looking_for_runaways_is_no_news_and_needs_a_target_that_can_be_read() {
    let mut simulation = connected(RUNAWAY);
    simulation.run(ms(10_000));
    assert_eq!(simulation.take_kinds(), [""; 0]);
    simulation.path.set_answers(false);
    simulation.run(ms(10_000));
    let kinds = simulation.take_kinds();
    assert!(!kinds.iter().any(|kind| kind == "diagnosis" || kind == "nothing-found"), "{kinds:?}");
}

/// A machine on which two applications get on until one of them stops.
fn with_applications(lines: &str) -> Simulation {
    let mut simulation = connected(lines);
    let now = simulation.clock.monotonic();
    for (name, pid) in [("shop", 103), ("mail", 104)] {
        simulation.machine.attach(name, pid, now + ms(1));
    }
    simulation.path.serve(&simulation.machine);
    for step in 0..100 {
        simulation.machine.progress(0, step);
        simulation.machine.progress(1, step);
        simulation.run(ms(20));
    }
    drop(simulation.take());
    simulation
}

fn let_the_shop_stand_still(simulation: &mut Simulation, time: Duration) {
    for step in 0..time.as_millis() as u64 / 20 {
        simulation.machine.progress(1, 1000 + step);
        simulation.run(ms(20));
    }
}

#[test]
fn a_stuck_application_is_told_with_evidence_and_left_alone() {
    let mut simulation = with_applications("[[target.healer]]\nname = 'stuck-application'\nmode = 'act'\n");
    let_the_shop_stand_still(&mut simulation, ms(4000));
    let texts = simulation.take_texts();
    assert!(texts[0].starts_with("application shop is failed"), "{texts:?}");
    assert_eq!(
        texts[1],
        "stuck-application blames nobody: shop stands still; its process 103 is being watched for 1s"
    );
    assert!(
        texts[2].starts_with("stuck-application blames process 103: shop.orders stood still for "),
        "{texts:?}"
    );
    assert!(texts[2].contains("its process 103 (sh) of user 1000 waits"), "{texts:?}");
    assert!(simulation.machine.slot_is_blank());
}

#[test]
fn a_stuck_application_is_killed_if_that_was_configured_and_the_process_is_its_users() {
    let healer = "[[target.healer]]\nname = 'stuck-application'\napplication = 'shop'\nrepair = 'kill-process'\nmode = 'act'\n";
    let mut simulation = with_applications(&format!("{healer}user = 1000\n"));
    let_the_shop_stand_still(&mut simulation, ms(4000));
    assert_eq!(simulation.machine.obeyed.iter().map(|command| command.subject).collect::<Vec<_>>(), [103]);
    assert_eq!(simulation.machine.alive(1000), 9);

    let mut simulation = with_applications(&format!("{healer}user = 1001\n"));
    let_the_shop_stand_still(&mut simulation, ms(4000));
    assert!(simulation.machine.slot_is_blank());

    // Another application's healer has nothing to do with it.
    let mut simulation = with_applications(&format!("{}user = 1000\n", healer.replace("'shop'", "'post'")));
    let_the_shop_stand_still(&mut simulation, ms(4000));
    assert!(!simulation.take_kinds().iter().any(|kind| kind == "diagnosis"));
}

fn reload(simulation: &mut Simulation, lines: &str) {
    simulation.sampler.request(Request::Reconfigure(Box::new(simulation::config(lines))));
}

#[test]
fn a_reload_takes_in_limits_and_healers_and_keeps_cooldowns() {
    let bomb =
        |mode: &str| format!("[[target.healer]]\nname = 'forkbomb'\nmode = '{mode}'\ncooldown = '10s'\n");
    let mut simulation = connected(&bomb("propose"));
    simulation.machine.crowd(20, BOMBER, 100, 200);
    simulation.run(ms(500));
    assert_eq!(simulation.take_kinds(), [""; 0]);
    let limits = "limits = { \"user.processes\" = 50 }\n";
    reload(&mut simulation, &format!("{limits}{}", bomb("propose")));
    simulation.run(ms(500));
    let texts = simulation.take_texts();
    assert_eq!(texts[0], "new configuration in force: healers forkbomb; 0 rules; 1 limits");
    assert_eq!(texts[1], "user.processes[60001] is 100 (limit 50)");
    assert_eq!(
        texts.last().unwrap(),
        "forkbomb proposes 1: backdoors heal web1 --uid 60001; to have it done: backdoors approve web1 1"
    );
    // It may act now, and rests all the same. What it proposed is withdrawn, because its lines changed.
    reload(&mut simulation, &format!("{limits}{}", bomb("act")));
    simulation.run(ms(8000));
    assert_eq!(simulation.take_kinds(), ["proposal-ended", "reconfigured"]);
    simulation.run(ms(2500));
    assert_eq!(simulation.machine.alive(BOMBER), 0);
    drop(simulation.take());
    reload(&mut simulation, "");
    simulation.run(ms(500));
    simulation.machine.crowd(20, BOMBER, 300, 200);
    simulation.run(ms(2000));
    assert_eq!(simulation.take_kinds(), ["reconfigured", "event"]);
    assert!(simulation.sampler.status().lock().unwrap().healers.is_empty());
}

#[test]
fn a_reload_waits_for_the_end_of_a_repair() {
    let act = "patience = '2s'\n[[target.healer]]\nname = 'forkbomb'\nmode = 'act'\n";
    let mut simulation = connected(act);
    simulation.machine.deaf = true;
    simulation.machine.crowd(20, BOMBER, 300, 200);
    simulation.run(ms(500));
    reload(&mut simulation, "");
    simulation.run(ms(500));
    assert_eq!(simulation.take_kinds(), ["event", "diagnosis", "command-written"]);
    simulation.run(ms(2000));
    assert_eq!(simulation.take_kinds(), ["timed-out", "reconfigured"]);
}

#[test]
fn a_program_that_is_asked_answers_after_a_reload_too() {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    assert!(std::process::Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let lines =
        format!("read go < {}\necho '{{\"version\":1,\"nothing\":\"well after all\"}}'", gate.display());
    let own = format!("{}timeout = '30s'\n", external(&script(folder.path(), &lines), "act"));
    let mut simulation = connected(&own);
    simulation.machine.crowd(20, BOMBER, 300, 200);
    simulation.run(ms(500));
    reload(&mut simulation, &format!("limits = {{ processes = 9000 }}\n{own}"));
    simulation.run(ms(500));
    assert_eq!(simulation.take_kinds(), ["event", "reconfigured"]);
    std::fs::write(&gate, "go\n").unwrap();
    let journal = run_until(&mut simulation, &["nothing-found", "healer-broke"]);
    assert_eq!(last_text(&journal), "own blames nobody: well after all");
}
