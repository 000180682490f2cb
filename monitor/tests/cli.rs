//! The program `backdoors` against a daemon's API in this process, which looks after a simulated machine.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

// Parts of it serve the other test.
#[allow(dead_code, unused_imports)]
mod simulation;

use backdoors_monitor::api::Server;
use serde_json::Value;
use simulation::lab::Lab;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_names_every_command_and_exit_code() {
    let output = Command::new(env!("CARGO_BIN_EXE_backdoors")).arg("--help").output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), include_str!("help.txt"));
}

#[test]
fn a_wrong_command_line_has_an_exit_code_of_its_own() {
    for arguments in [
        &["heel"][..],
        &["heal", "web1"],
        &["heal", "web1", "--uid", "1", "--pid", "2"],
        &["heal", "web1", "--uid", "1", "--signal", "TERM", "--stop"],
        &["heal", "web1", "--uid", "1", "--freeze"],
        &["heal", "web1", "--cgroup", "1", "--nice", "5"],
        &["heal", "web1", "--pid", "1", "--refuse-forks", "10s"],
        &["heal", "web1", "--pid", "1", "--stop", "--grace", "2s"],
        &["heal", "web1", "--pid", "1", "--dry-run", "--grace", "2s"],
        &["heal", "web1", "--pid", "1", "--grace", "soon"],
        &["heal", "web1", "--set", "level"],
        &["heal", "web1", "--set", "level", "5", "--thaw"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_backdoors")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
    }
}

#[test]
fn without_a_daemon_the_remedy_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_backdoors"))
        .args(["targets", "--socket", "/nonexistent/socket"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("start one with `backdoors monitor --config FILE`"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_socket_is_its_owners_alone() {
    let lab = Lab::new();
    let mode = std::fs::metadata(lab.folder.path().join("socket")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = Server::bind(&lab.folder.path().join("socket")).unwrap_err().to_string();
    assert!(second.contains("another monitor already listens"), "{second}");
}

#[test]
fn sensors_are_shown_with_limits_and_marks() {
    let lab = Lab::new();
    // The first samples are taken before the plan has their sensors.
    let text = lab.wait_for(&["sensors", "web1"], |text| text.contains("sampled every 1.0 ms"));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "web1: reachable");
    assert!(lines[1].ends_with("2 CPUs; ticks every 1.0 ms"), "{text}");
    assert_eq!(lines[2], "capabilities: kernel-half, kernel-kills-all; generation 1; slot 3");
    assert!(
        lines[3].starts_with(
            "sampled every 1.0 ms at most: user.processes[60001] is over its limit; 0.00 % lost, round trip "
        ),
        "{text}"
    );
    assert!(lines[3].ends_with("; healthy"), "{text}");
    assert_eq!(lines[4], "SENSOR                         CLASS     VALUE     LIMIT", "{text}");
    assert!(lines[5].starts_with("kernel.timer ") && lines[5].ends_with("moves within 500.0 ms"), "{text}");
    assert_eq!(lines[6].split_whitespace().collect::<Vec<_>>(), ["processes", "level", "34", "≤", "4096"]);
    let marked: Vec<&str> = lines[8].split_whitespace().collect();
    assert_eq!(marked, ["user.processes[60001]", "mallory", "level", "30", "!", "≤", "20"]);
    let json = lab.json(&["sensors", "web1", "--json"]);
    assert_eq!(json["sensors"][3]["name"], "user.processes[60001]");
    assert_eq!(json["sensors"][3]["exceeded"], true);
    assert_eq!(json["sensors"][3]["limit"], 20);
    assert!(json["target"]["age_ns"].as_u64().unwrap() < 5_000_000_000);
}

#[test]
fn verdicts_name_every_layer_with_evidence() {
    let lab = Lab::new();
    let json = lab.json(&["verdicts", "web1", "--json"]);
    assert_eq!(json[0]["target"], "web1");
    assert_eq!(json[0]["overall"], "healthy");
    let layers = json[0]["layers"].as_array().unwrap();
    let names: Vec<&str> = layers.iter().map(|layer| layer["layer"].as_str().unwrap()).collect();
    assert_eq!(names, ["path", "host", "kernel", "user-space", "application"]);
    assert!(layers.iter().all(|layer| !layer["evidence"][0].as_str().unwrap().is_empty()));
    let text = lab.text(&["verdicts"]);
    assert!(text.starts_with("web1: healthy\n"), "{text}");
    assert!(text.contains("\nLAYER "), "{text}");
}

#[test]
fn processes_are_listed_also_as_a_tree() {
    let lab = Lab::new();
    let text = lab.text(&["ps", "web1", "--tree"]);
    assert_eq!(text.lines().count(), 1 + 34 + 1);
    assert!(text.lines().nth(1).unwrap().ends_with("  init"), "{text}");
    assert!(text.lines().nth(2).unwrap().ends_with("    sh"), "{text}");
    assert!(text.contains(" mallory "), "{text}");
    assert!(text.ends_with("\n34 processes\n"), "{text}");
    assert_eq!(lab.json(&["ps", "web1", "--json"])["processes"].as_array().unwrap().len(), 34);
}

#[test]
fn an_order_is_tried_dry_then_carried_out_and_both_are_in_the_journal() {
    let lab = Lab::new();
    let dry = lab.text(&["heal", "web1", "--uid", "mallory", "--dry-run"]);
    assert!(
        dry.starts_with(
            "web1: kill-user 60001: dry run, nobody was killed\ncommand 1: 30 matched, 0 signalled"
        ),
        "{dry}"
    );
    assert!(dry.contains("would be killed, of 30 in the process table:\n"), "{dry}");
    assert!(dry.ends_with("and 10 more\n"), "{dry}");
    assert_eq!(lab.machine.lock().unwrap().alive(60001), 30);
    let done = lab.json(&["heal", "web1", "--uid", "60001", "--json"]);
    assert_eq!(done["outcome"], "done");
    assert_eq!(done["end"]["signalled"], 30);
    assert_eq!(lab.machine.lock().unwrap().alive(60001), 0);
    let journal = lab.wait_for(&["events", "web1"], |text| text.contains("cleared"));
    let kinds: Vec<&str> = journal.lines().map(|line| line.split_whitespace().nth(2).unwrap()).collect();
    let of_orders = ["command-written", "acknowledged", "repaired"];
    let told: Vec<&str> = kinds.into_iter().filter(|kind| of_orders.contains(kind)).collect();
    assert_eq!(told, [of_orders, of_orders].concat(), "{journal}");
    assert!(
        journal
            .contains(&format!("(by user {} of the monitor's machine)", rustix::process::getuid().as_raw()))
    );
}

#[test]
fn processes_can_be_signalled_stopped_and_slowed_instead_of_killed() {
    let lab = Lab::new();
    (10..15).for_each(|index| lab.machine.lock().unwrap().move_to(index, 77, "batch"));
    lab.machine.lock().unwrap().move_to(15, 78, "twice");
    lab.machine.lock().unwrap().move_to(16, 79, "twice");
    for (order, told) in [
        (&["--uid", "mallory", "--signal", "hup"][..], "signal-user 60001"),
        (&["--tree", "110", "--stop"], "signal-tree 110"),
        (&["--pid", "110", "--continue"], "signal-process 110"),
        (&["--cgroup", "batch", "--freeze"], "freeze-cgroup 77"),
        (&["--cgroup", "77", "--thaw"], "thaw-cgroup 77"),
        (&["--pid", "110", "--nice", "10"], "set-priority 110"),
        (&["--uid", "60001", "--refuse-forks", "10s"], "refuse-forks 60001"),
    ] {
        let text = lab.text(&[&["heal", "web1"], order].concat());
        assert!(text.starts_with(&format!("web1: {told}: done in ")), "{text}");
    }
    let arguments: Vec<u64> =
        lab.machine.lock().unwrap().obeyed.iter().map(|command| command.argument).collect();
    assert_eq!(arguments, [1, 19, 18, 0, 0, 10, 10_000_000_000]);
    assert_eq!(lab.machine.lock().unwrap().alive(60001), 30);
    let dry = lab.text(&["heal", "web1", "--cgroup", "batch", "--signal", "TERM", "--dry-run"]);
    assert!(dry.starts_with("web1: signal-cgroup 77: dry run, nothing was done\n"), "{dry}");
    assert!(dry.contains("would get the signal, of 5 in the process table:\n"), "{dry}");
    for (order, complaint) in [
        (&["--cgroup", "twice"][..], "`twice`: 78 with 1 processes, 79 with 1 processes; give the id"),
        (&["--cgroup", "nobody"], "no process of the target is in a control group `nobody`"),
        (&["--pid", "110", "--signal", "KILL"], "to kill leave `--signal` out"),
        (&["--pid", "110", "--nice", "20"], "a value out of its range"),
        (&["--cgroup", "batch", "--freeze", "--most", "3"], "leave `--most` out"),
        (&["--set", "lever", "5"], "the target offers no variable `lever`"),
        (&["--set", "level", "10"], "`level` takes 1 to 9, not 10"),
        (&["--call", "shop", "drain"], "no application `shop` is attached that offers hooks"),
        (&["--set", "level", "much"], "`much` is no number"),
        (&["--pid", "110", "--grace", "2h"], "`--grace` is 60s at most"),
    ] {
        let refused = lab.run(&[&["heal", "web1"], order].concat());
        assert_eq!(refused.status.code(), Some(1), "{order:?}");
        assert!(stderr(&refused).contains(complaint), "{order:?}: {}", stderr(&refused));
    }
    let killed = lab.text(&["heal", "web1", "--cgroup", "batch"]);
    assert!(killed.starts_with("web1: kill-cgroup 77: done in "), "{killed}");
    assert_eq!(lab.machine.lock().unwrap().alive(60001), 25);
}

#[test]
fn who_ends_by_itself_within_the_grace_of_an_order_is_not_killed() {
    let lab = Lab::new();
    let text = lab.text(&["heal", "web1", "--uid", "60001", "--grace", "20s"]);
    assert!(text.starts_with("web1: signal-user 60001: done in "), "{text}");
    assert!(
        text.contains("\nnobody was left to be killed after ") && text.ends_with(" of grace\n"),
        "{text}"
    );
    assert_eq!(lab.machine.lock().unwrap().alive(60001), 0);
}

#[test]
fn a_refusal_and_a_lost_target_have_exit_codes_and_reasons() {
    let lab = Lab::new();
    let output = lab.run(&["heal", "web1", "--pid", "1"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "web1: kill-process 1: the target refused: the init process\n"
    );
    let unknown = lab.run(&["heal", "web1", "--pid", "4711"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("no process 4711 on the target"), "{}", stderr(&unknown));
    lab.path.set_agent_answers(false);
    lab.path.break_connections();
    lab.wait_for(&["targets"], |text| text.contains("lost"));
    let lost = lab.run(&["heal", "web1", "--uid", "60001"]);
    assert_eq!(lost.status.code(), Some(3));
    assert!(stderr(&lost).contains("nothing was written"), "{}", stderr(&lost));
    assert_eq!(lab.run(&["ps", "web1"]).status.code(), Some(3));
    assert!(lab.text(&["sensors", "web1"]).starts_with("web1: lost ("), "the last reading is still shown");
}

#[test]
fn an_order_that_a_stuck_machine_does_not_take_has_an_exit_code_of_its_own() {
    let lab = Lab::new();
    let stuck = lab.machine.lock().unwrap();
    let output = lab.run(&["heal", "web1", "--uid", "60001"]);
    drop(stuck);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
}

#[test]
fn proposals_are_listed_tried_approved_and_rejected() {
    let lab = Lab::with("[[target.healer]]\nname = 'forkbomb'\ncooldown = '100ms'\n");
    let listed = lab.wait_for(&["proposals", "web1", "--json"], |text| text.contains("\"open\""));
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let id = listed[0]["id"].to_string();
    assert_eq!(listed[0]["orders"][0], "backdoors heal web1 --uid 60001");
    assert_eq!((&listed[0]["victims"], &listed[0]["user_name"]), (&30.into(), &"mallory".into()));
    let text = lab.text(&["proposals"]);
    let first = format!("web1 {id}: open; forkbomb blames user 60001 (mallory); 30 to strike\n");
    assert!(text.starts_with(&first), "{text}");
    assert!(text.contains("\n  user 60001 has 30 of 34 processes (limit 20)\n"), "{text}");

    let dry = lab.text(&["approve", "web1", &id, "--dry-run"]);
    assert!(dry.starts_with("web1: kill-user 60001: dry run, nobody was killed\n"), "{dry}");
    assert!(dry.contains("would be killed, of 30 in the process table:\n"), "{dry}");
    let rejected = lab.text(&["reject", "web1", &id]);
    assert_eq!(rejected, format!("web1: proposal {id} is rejected, and not made again for a while\n"));
    assert_eq!(lab.text(&["proposals"]), "no proposals\n");
    assert!(lab.text(&["proposals", "--all"]).contains(&format!("web1 {id}: rejected; ")));
    let over = lab.run(&["approve", "web1", &id]);
    assert_eq!(over.status.code(), Some(1));
    assert!(
        stderr(&over).contains(&format!("proposal {id} is rejected; nothing was written")),
        "{}",
        stderr(&over)
    );

    let journal = lab.text(&["events", "--audit"]);
    let kinds: Vec<&str> = journal.lines().map(|line| line.split_whitespace().nth(2).unwrap()).collect();
    let expected = [
        "lease",
        "diagnosis",
        "proposal",
        "approved",
        "command-written",
        "acknowledged",
        "repaired",
        "rejected",
    ];
    let kinds: Vec<&str> = kinds.into_iter().filter(|kind| expected.contains(kind)).collect();
    assert_eq!(kinds, expected, "{journal}");
    assert!(!journal.contains(" connected ") && !journal.contains(" event "), "{journal}");
}

#[test]
fn an_approved_proposal_is_carried_out_unless_its_victims_are_gone() {
    let lab = Lab::with("[[target.healer]]\nname = 'forkbomb'\n");
    let listed = lab.wait_for(&["proposals", "web1", "--json"], |text| text.contains("\"open\""));
    let id = serde_json::from_str::<Value>(&listed).unwrap()[0]["id"].to_string();
    (10..40).for_each(|index| lab.machine.lock().unwrap().bury(index));
    let gone = lab.run(&["approve", "web1", &id]);
    assert_eq!(gone.status.code(), Some(2));
    assert!(stderr(&gone).contains("user 60001 has no process in the process table"), "{}", stderr(&gone));
    lab.machine.lock().unwrap().crowd(10, 60001, 30, 20);
    let done = lab.json(&["approve", "web1", &id, "--json"]);
    assert_eq!(
        (&done["outcome"], &done["asked"], &done["commands"][0]["end"]["signalled"]),
        (&"done".into(), &1.into(), &30.into())
    );
    assert_eq!(lab.machine.lock().unwrap().alive(60001), 0);
    assert_eq!(lab.run(&["approve", "web1", "4711"]).status.code(), Some(1));
    assert_eq!(lab.run(&["approve", "web2", "1"]).status.code(), Some(1));
}

#[test]
fn an_unknown_target_or_user_is_named_with_what_there_is() {
    let lab = Lab::new();
    for (arguments, complaint) in [
        (&["sensors", "web2"][..], "no target is called `web2`; there are: web1"),
        (&["events", "web2"], "no target is called `web2`; there are: web1"),
        (&["heal", "web1", "--uid", "eve"], "user `eve` is unknown: users belong to the target"),
    ] {
        let output = lab.run(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(complaint), "{}", stderr(&output));
    }
}

#[test]
fn events_are_followed_as_they_happen() {
    let lab = Lab::new();
    let mut child = lab.command(&["events", "-f", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()["kind"].clone();
    assert_eq!([next(), next()], ["connected", "event"]);
    lab.text(&["heal", "web1", "--uid", "60001"]);
    // A sample may come between any two of them.
    for kind in ["command-written", "acknowledged", "repaired"] {
        while next() != kind {}
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn whatever_comes_over_the_socket_the_daemon_goes_on() {
    let lab = Lab::new();
    let post = |path: &str, body: &[u8]| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: m\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let get =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n").into_bytes();
    let heal = "/v1/targets/web1/heal";
    for (request, complaint) in [
        (b"\n".to_vec(), ""),
        (b"\xff\xfe\r\n\r\n".to_vec(), "400 Bad Request"),
        (vec![b'x'; 1 << 20], ""),
        (get("/v1/explode"), "there is no such path"),
        (get(heal), "another method"),
        (get("/v1/targets/..%2F..%2Fetc/sensors"), "no target is called"),
        (get("/v1/targets?target=web1"), "unknown field `target`"),
        (get("/v1/events?lines=-1"), "must be a number"),
        (post(heal, b"\xff"), "not a JSON object"),
        (post(heal, "[".repeat(10_000).as_bytes()), "not a JSON object"),
        (post(heal, &vec![b' '; 1 << 20]), "at most 16384 bytes"),
        (post(heal, b"{}"), "missing field"),
        (post(heal, b"{\"subject\":{\"process\":1},\"dry_run\":true,\"and\":1}"), "unknown field `and`"),
        (
            post(heal, b"{\"subject\":{\"process\":1},\"dry_run\":true,\"target\":\"web2\"}"),
            "belongs in the path",
        ),
    ] {
        let answer = lab.raw(&request);
        let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
        assert!(answer.contains(complaint), "{shown} is answered by {answer}");
    }
    // More silent askers than there is room for: the next ones are told so.
    let silent: Vec<UnixStream> =
        (0..64).map(|_| UnixStream::connect(lab.folder.path().join("socket")).unwrap()).collect();
    assert!(lab.wait_for(&["targets"], |_| true).is_empty());
    drop(silent);
    lab.wait_for(&["targets"], |text| text.contains("reachable"));
}

#[test]
fn errors_are_json_where_answers_would_be() {
    let lab = Lab::new();
    let error = |arguments: &[&str]| -> Value {
        let output = lab.run(&[arguments, &["--json"]].concat());
        assert!(output.stdout.is_empty(), "{output:?}");
        assert_eq!(stderr(&output).lines().count(), 1, "{output:?}");
        let error: Value = serde_json::from_str(&stderr(&output)).unwrap();
        assert_eq!(error["exit_code"].as_i64(), output.status.code().map(i64::from), "{error}");
        error
    };
    let unknown = error(&["sensors", "web2"]);
    assert_eq!((&unknown["kind"], &unknown["exit_code"]), (&"unknown-target".into(), &1.into()));
    assert_eq!(unknown["error"], "no target is called `web2`; there are: web1");
    let usage = error(&["heal", "web1"]);
    assert_eq!((&usage["kind"], &usage["exit_code"]), (&"usage".into(), &64.into()));
    let no_file = error(&["record", "web1", "--config", "/nonexistent/monitor.toml"]);
    assert_eq!((&no_file["kind"], &no_file["exit_code"]), (&"failed".into(), &1.into()));
    let over = error(&["reject", "web1", "4711"]);
    assert_eq!((&over["kind"], &over["exit_code"]), (&"not-open".into(), &1.into()));
    lab.path.set_agent_answers(false);
    lab.path.break_connections();
    lab.wait_for(&["targets"], |text| text.contains("lost"));
    let lost = error(&["ps", "web1"]);
    assert_eq!((&lost["kind"], &lost["exit_code"]), (&"unreachable".into(), &3.into()));
}

#[test]
fn what_is_done_with_keys_is_told_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display().to_string();
    let keys = |arguments: &[&str]| -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backdoors"));
        let output = command.arg("keys").args(arguments).args(["--dir", &place, "--json"]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let made = keys(&["new", "--name", "watch1"]);
    assert_eq!(keys(&["list"])[0]["fingerprint"], made["fingerprint"]);
    let next = keys(&["roll", "--name", "watch1"]);
    assert_eq!(next["certificate"], folder.path().join("watch1.next.crt").display().to_string());
    let rolled = keys(&["roll", "--name", "watch1", "--finish"]);
    assert_eq!(rolled["fingerprint"], next["fingerprint"]);
    let revoked = keys(&["revoke", "--name", "watch1.old"]);
    assert_eq!((&revoked["fingerprint"], &revoked["key"]), (&made["fingerprint"], &Value::Null));
}

#[test]
fn keys_are_made_once_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let make = || {
        let arguments = ["keys", "new", "--name", "monitor1", "--dir"];
        Command::new(env!("CARGO_BIN_EXE_backdoors")).args(arguments).arg(folder.path()).output().unwrap()
    };
    assert!(make().status.success());
    let key = std::fs::read(folder.path().join("monitor1.key")).unwrap();
    assert_eq!(make().status.code(), Some(1));
    assert_eq!(std::fs::read(folder.path().join("monitor1.key")).unwrap(), key);
    assert!(folder.path().join("monitor1.crt").exists());
}

#[test]
fn a_configuration_is_checked_without_running_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("monitor.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let arguments = ["monitor", "--check", "--config"];
        Command::new(env!("CARGO_BIN_EXE_backdoors")).args(arguments).arg(&file).output().unwrap()
    };
    assert!(check("name = 'm'\nidentity = '.'\njournal = 'j'\n").status.success());
    let bad = check("name = 'm'\nidentity = '.'\n");
    assert_eq!(bad.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bad.stdout).contains("missing key `journal`"), "{bad:?}");
    let arguments = ["config", "check", "--json"];
    let told = Command::new(env!("CARGO_BIN_EXE_backdoors")).args(arguments).arg(&file).output().unwrap();
    assert_eq!(told.status.code(), Some(2));
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((&told["good"], &told["problems"][0]["line"]), (&false.into(), &1.into()), "{told}");
}
