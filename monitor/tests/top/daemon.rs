//! A daemon that answers what it is told to answer.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// It answers until it is dropped or stopped.
pub struct Daemon {
    folder: Option<tempfile::TempDir>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    answers: Mutex<BTreeMap<String, Value>>,
    posted: Mutex<Vec<(String, Value)>>,
    is_over: AtomicBool,
}

impl Daemon {
    pub fn start() -> Daemon {
        Daemon::start_in(tempfile::tempdir().unwrap())
    }

    /// The same at the place where another one was.
    pub fn start_in(folder: tempfile::TempDir) -> Daemon {
        let shared = Arc::new(Shared { answers: Mutex::new(answers()), ..Shared::default() });
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            while !serving.is_over.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let serving = Arc::clone(&serving);
                        std::thread::spawn(move || serve(&stream, &serving));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Daemon { folder: Some(folder), shared }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.as_ref().unwrap().path().join("socket")
    }

    /// Ends, and leaves its place.
    pub fn stop(mut self) -> tempfile::TempDir {
        std::fs::remove_file(self.socket()).unwrap();
        self.folder.take().unwrap()
    }

    /// Answers so from now on.
    pub fn answer(&self, path: &str, answer: Value) {
        self.shared.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// Knows nothing of it any more.
    pub fn forget(&self, path: &str) {
        self.shared.answers.lock().unwrap().remove(path);
    }

    pub fn answered(&self, path: &str) -> Value {
        self.shared.answers.lock().unwrap()[path].clone()
    }

    /// What it was told to do.
    pub fn posted(&self) -> Vec<(String, Value)> {
        self.shared.posted.lock().unwrap().clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
    }
}

fn serve(stream: &UnixStream, shared: &Shared) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            head.push(line.trim().to_owned());
        }
        if shared.is_over.load(Ordering::SeqCst) {
            return;
        }
        let mut words = head[0].split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let path = path.split('?').next().unwrap().to_owned();
        let length =
            head.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        if method == "POST" {
            shared.posted.lock().unwrap().push((path.clone(), serde_json::from_slice(&body).unwrap()));
        }
        let answer = shared.answers.lock().unwrap().get(&path).cloned();
        let (status, answer) = match answer {
            Some(answer) => ("200 OK", answer),
            None => {
                ("404 Not Found", json!({"kind": "unknown-target", "message": "no target is called `web1`"}))
            }
        };
        let body = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if (&*stream).write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

fn target(name: &str, state: &str, verdict: &str, since_ms: u64) -> Value {
    json!({
        "name": name, "address": "10.0.0.5:7801", "reach": "reachable", "problem": null, "age_ns": 2_500_000,
        "clock_moved_ns": 1_000_000, "generation": 7, "capabilities": ["kernel-half"], "slot": 0, "connections": 3,
        "period_ns": 10_000_000, "samples": 1234, "failures": 0, "exceeded": [], "running": null,
        "state": state, "verdict": verdict, "since_ms": since_ms,
        "nearest": {"name": "processes", "share": 0.05},
    })
}

fn sensor(name: &str, class: &str, unit: &str, value: u64, limit: Option<u64>) -> Value {
    json!({"name": name, "kind": 1, "instance": 0, "class": class, "unit": unit, "value": value, "limit": limit,
           "exceeded": name.starts_with("user.processes")})
}

fn process(pid: u32, parent: u32, user: (u32, &str), command: &str, rss: u64) -> Value {
    json!({"pid": pid, "parent": parent, "user": user.0, "user_name": user.1, "depth": 1, "kernel": false, "protected": false,
           "start_ns": 1, "rss_bytes": rss, "cgroup_name": "user.slice", "cpu_ns": u64::from(pid) * 1_000_000, "command": command})
}

fn event(time: &str, kind: &str, text: &str, more: Value) -> Value {
    let mut event = json!({"time_ns": 1, "time": format!("2026-03-01T10:00:{time}Z"), "monotonic_ns": 1, "target": "web1",
                           "kind": kind, "text": text});
    for (name, value) in more.as_object().unwrap() {
        event[name] = value.clone();
    }
    event
}

fn recovery() -> Value {
    let marks = [
        ("prepared", 400_000),
        ("fenced", 900_000),
        ("pulled", 3_200_000),
        ("rebuilt", 7_000_000),
        ("announced", 7_300_000),
        ("first-resumed", 7_500_000),
        ("resumed", 8_900_000),
        ("begun", 14_000_000),
    ];
    let marks = marks.map(|(phase, after)| json!({"phase": phase, "after_ns": after}));
    json!({
        "target": "web1", "dry_run": false, "outcome": "done", "unreadable": [], "marks": marks, "notes": [],
        "sessions": [
            {"local": "10.99.0.80:443", "remote": "10.2.0.9:51000", "fate": {"resumed": {"after_ns": 7_500_000}}},
            {"local": "10.99.0.80:443", "remote": "10.2.0.9:51002", "fate": {"lost": "its snapshot is from long ago"}},
        ],
    })
}

/// What is answered unless told otherwise.
fn answers() -> BTreeMap<String, Value> {
    let mut web1 = target("web1", "failed", "user-space failed", 4_200);
    web1["nearest"] = json!({"name": "user.processes[1000]", "share": 1.0});
    web1["sessions"] = json!({"open": 2, "unprotected": 1});
    web1["open_proposals"] = json!(1);
    let mut web2 = target("web2", "suspect", "kernel suspect", 900);
    web2["last_event"] =
        json!({"time_ns": 1, "kind": "verdict", "text": "kernel is suspect (60 % sure): no tick for 80 ms"});
    let mut db2 = target("db2", "unknown", "unknown", 0);
    (db2["reach"], db2["problem"]) = (json!("lost"), json!("10.0.0.7:7801: connection refused"));
    let fleet = json!([target("db1", "healthy", "healthy", 7_200_000), web1, web2, db2]);
    let sensors = json!({
        "target": web1, "cpus": 2, "clock_ns": 99, "tick_period_ns": 1_000_000, "unknown": 0,
        "sensors": [
            sensor("kernel.timer", "progress", "count", 99_000, Some(500_000_000)),
            sensor("processes", "level", "count", 431, Some(4096)),
            sensor("user.processes[1000]", "level", "count", 402, Some(200)),
            sensor("memory.available", "floor", "bytes", 3 << 30, Some(256 << 20)),
            sensor("memory.stalled", "level", "nanoseconds", 0, Some(200_000_000)),
            sensor("cpu.switches[0]", "progress", "count", 5000, None),
            sensor("cpu.busy[0]", "level", "count", 1, None),
            sensor("cpu.switches[1]", "progress", "count", 7000, None),
            sensor("cpu.busy[1]", "level", "count", 0, None),
        ],
        "applications": [{"name": "shop", "pid": 77, "state": "attached", "hooks": [],
                          "sensors": [sensor("shop/orders", "progress", "count", 12, Some(2_000_000_000))]}],
    });
    let layer = |layer: &str, state: &str, confidence: f64, evidence: Value| json!({"layer": layer, "subject": null, "state": state, "since_ms": 4200, "confidence": confidence, "evidence": evidence});
    let verdicts = json!([{
        "target": "web1", "overall": "failed",
        "layers": [
            layer("path", "healthy", 1.0, json!([])),
            layer("host", "healthy", 1.0, json!([])),
            layer("kernel", "healthy", 0.98, json!(["ticks on both processors"])),
            layer("user-space", "failed", 0.9, json!(["the agent's heart did not beat for 4.2 s", "402 processes of user 1000"])),
        ],
        "lateness": {"score": 0, "multiplier": 1.0, "overloaded": false, "late_share": 0.0, "worst_ns": 0, "late_rounds": 0},
    }]);
    let proposals = json!([{
        "target": "web1", "id": 17, "state": "open", "healer": "forkbomb", "culprit": "user 1000", "user_name": "mallory",
        "evidence": ["402 processes"], "orders": ["backdoors heal web1 --uid 1000"], "victims": 402, "withheld": null,
        "made_ns": 1_000_000_000, "confirmed_ns": 500_000_000, "expires_in_ns": 9_000_000_000_u64,
    }]);
    let processes = json!({"target": "web1", "clock_ns": 5, "lost": 0, "torn": 0, "processes": [
        process(1, 0, (0, "root"), "systemd", 12 << 20),
        process(77, 1, (33, "www"), "shop", 200 << 20),
        process(4242, 1, (1000, "mallory"), "sh", 3 << 20),
        process(4243, 4242, (1000, "mallory"), "bomb", 1 << 20),
        process(4244, 4243, (1000, "mallory"), "bomb", 1 << 20),
    ]});
    let session = |remote: &str, lost: Value| {
        json!({"service": "shop", "local": "10.99.0.80:443", "remote": remote, "state": "established", "age_ns": 61_000_000_000_u64,
               "still_ns": 40_000_000, "snapshot": 12, "snapshot_bytes": 640, "received_bytes": 1024, "replayed_bytes": 0,
               "unacknowledged_bytes": 0, "lost": lost})
    };
    let sessions = json!([
        session("10.2.0.9:51000", Value::Null),
        session("10.2.0.9:51002", json!("its snapshot is from long ago"))
    ]);
    let events = json!([
        event("01.000000", "connected", "connected: slot 0, generation 7, 3 connections", json!({})),
        event(
            "05.250000",
            "sessions-recovered",
            "1 of 2 sessions go on here, 1 are lost",
            json!({"report": recovery()})
        ),
        event(
            "09.500000",
            "verdict",
            "user-space is failed (90 % sure): the agent's heart did not beat for 4.2 s",
            json!({})
        ),
    ]);
    let healed = json!({
        "target": "web1", "dry_run": true, "opcode": "kill-tree", "subject": 4243, "outcome": "done", "reason": null, "end": null,
        "took_ns": 3_000_000, "clock_ns": 5, "matching": 2, "processes": [],
    });
    let fence = json!({
        "target": "web1", "by_this": false, "by_another": false, "addresses": ["10.99.0.80"], "withheld": 0, "would_not_hold": null,
    });
    [
        ("/v1/targets", fleet),
        ("/v1/targets/web1/fence", fence),
        ("/v1/targets/web1/sensors", sensors),
        ("/v1/verdicts", verdicts),
        ("/v1/proposals", proposals),
        ("/v1/targets/web1/processes", processes),
        ("/v1/targets/web1/sessions", sessions),
        ("/v1/events", events),
        ("/v1/targets/web1/heal", healed),
    ]
    .map(|(path, answer)| (path.to_owned(), answer))
    .into()
}
