//! Targets whose memory lies, and a monitor that must neither break, nor act on a lie, nor forget the honest target
//! beside them.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should panic

use backdoors_rdma::directory::{Directory, MAGIC as DIRECTORY_MAGIC, Region};
use backdoors_rdma::emulated::{Dialer, Nic};
use backdoors_rdma::handshake::{Hello, Identity};
use backdoors_rdma::owner::{Admission, MemoryOwner, Rights};
use backdoors_rdma::{Connection, Dialer as _};
use backdoors_sensor_box::layout::ProcessEntry;
use backdoors_sensor_box::writer::{ProcessTable, Sensor, SensorBox};
use backdoors_sensor_box::{SensorKind, SharedWords};
use backdoors_tests::made_up_target::{
    GENERATION, Regions, SLOT, Words, bump, memory, register, shake_hands_as, show,
};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
/// A user who has too many processes, says the box.
const CULPRIT: u32 = 61_301;
/// Words of the sensor box's header.
const VERSIONS: usize = 1;
const SEQUENCE: usize = 4;
const COUNTS: usize = 5;
/// A word of the process table's header.
const ENTRIES: usize = 3;
/// A word of an acknowledgement.
const STATE: usize = 3;

/// Regions of a target, and what is done to them after they were laid out honestly.
type Lie = fn(&Regions);
/// The kind of the region that holds a forged directory.
const FORGED: u32 = 99;

/// A running daemon with some made-up targets; the one called `honest` is.
struct Lab {
    folder: tempfile::TempDir,
    daemon: Child,
    lying: Vec<(&'static str, Regions)>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        // It may have ended by itself, and then a test has failed already.
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}

fn honest(_: &Regions) {}

fn admit(owner: &mut Nic, monitor: &str, hello: &Hello) -> Result<Admission, String> {
    owner.admit(monitor, SLOT, &hello.endpoints).map_err(|error| error.to_string())
}

impl Lab {
    /// Starts a daemon for targets with these lies.
    fn new(lies: &[(&'static str, Lie)]) -> Lab {
        Lab::with_admissions(lies, &[])
    }

    /// As [`Lab::new`]; those of the second list are honest but for their directories.
    fn with_admissions(lies: &[(&'static str, Lie)], directories: &[(&'static str, Forgery)]) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let [target, monitor] = ["target", "monitor"].map(|name| Identity::generate(name).unwrap());
        target.save(folder.path()).unwrap();
        monitor.save(folder.path()).unwrap();
        let mut config =
            "name = \"monitor\"\nidentity = \".\"\nsocket = \"socket\"\njournal = \"journal\"\n".to_owned();
        let mut lying = Vec::new();
        let forged = directories.iter().map(|(name, forgery)| (*name, honest as Lie, Some(*forgery)));
        let lies = lies.iter().map(|(name, lie)| (*name, *lie, None));
        for (name, lie, forgery) in lies.chain(forged).chain([("honest", honest as Lie, None)]) {
            let mut nic = Nic::new(([127, 0, 0, 1], 0).into(), None).unwrap();
            let regions = register(&mut nic, 4).unwrap();
            lie(&regions);
            if name == "honest" {
                bump(&regions).unwrap();
            }
            let address = match forgery {
                None => shake_hands_as(nic, &target, monitor.certificate(), admit).unwrap(),
                Some(forgery) => {
                    let (words, descriptor) = memory(4096).unwrap();
                    let words = show(&mut nic, FORGED, words, descriptor, Rights::ReadOnly).unwrap();
                    // Only one admission is under way at a time; the connection keeps the keys alive.
                    let kept = Mutex::new(Vec::new());
                    shake_hands_as(nic, &target, monitor.certificate(), move |nic, name, hello| {
                        let (admission, connection) = forge(nic, name, hello, &words, forgery);
                        kept.lock().unwrap().push(connection);
                        Ok(admission)
                    })
                    .unwrap()
                }
            };
            config.push_str(&format!(
                "[[target]]\nname = \"{name}\"\naddress = \"{address}\"\ncertificate = \"target.crt\"\n\
                 period = \"20ms\"\nlost_after = \"300ms\"\npatience = \"1s\"\n\
                 [[target.healer]]\nname = \"forkbomb\"\nmode = \"act\"\n"
            ));
            lying.push((name, regions));
        }
        fs::write(folder.path().join("config.toml"), config).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let daemon = Command::new(program())
            .args(["monitor", "--config"])
            .arg(folder.path().join("config.toml"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let lab = Lab { folder, daemon, lying };
        lab.wait_for("the honest target", |_| lab.is_reachable("honest").then_some(()));
        lab
    }

    /// Runs the command line; returns its exit code and all it printed.
    fn run(&self, arguments: &str) -> (i32, String) {
        let output = Command::new(program())
            .arg("--socket")
            .arg(self.folder.path().join("socket"))
            .args(arguments.split(' '))
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().expect("it crashed"), String::from_utf8(text).unwrap())
    }

    fn expect(&self, arguments: &str, code: i32, words: &str) {
        let (found, printed) = self.run(arguments);
        assert_eq!(found, code, "`{arguments}`: {printed}\n{}", self.log());
        assert!(printed.contains(words), "`{arguments}` should say `{words}`: {printed}");
    }

    fn summary(&self, target: &str) -> Option<Value> {
        let (code, printed) = self.run("targets --json");
        let all: Value = (code == 0).then(|| serde_json::from_str(&printed).unwrap())?;
        all.as_array().unwrap().iter().find(|summary| summary["name"] == target).cloned()
    }

    fn is_reachable(&self, target: &str) -> bool {
        self.summary(target).is_some_and(|summary| summary["reach"] == "reachable")
    }

    fn wait_for<T>(&self, what: &str, mut look: impl FnMut(&Lab) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "waited for {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the target has this reach and its problem contains these words.
    fn wait_for_problem(&self, target: &str, reach: &str, words: &str) {
        self.wait_for(&format!("{target} to be {reach}: {words}"), |lab| {
            let summary = lab.summary(target)?;
            let problem = summary["problem"].as_str().unwrap_or("");
            (summary["reach"] == reach && problem.contains(words)).then_some(())
        });
    }

    fn journal(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("journal")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn log(&self) -> String {
        let read = |file| fs::read_to_string(self.folder.path().join(file)).unwrap_or_default();
        format!("{}\n{}", read("log"), read("journal"))
    }

    /// Nothing was ever written to a target, the daemon runs, and the honest target is sampled.
    fn check_unharmed(&mut self) {
        for (name, regions) in &self.lying {
            let written = (0..regions.commands.len()).any(|index| regions.commands.load(index) != 0);
            assert!(!written, "a command was written to {name}\n{}", self.log());
        }
        assert!(self.daemon.try_wait().unwrap().is_none(), "the daemon ended\n{}", self.log());
        assert!(!self.log().contains("panicked"), "{}", self.log());
        let samples = |lab: &Lab| lab.summary("honest").unwrap()["samples"].as_u64().unwrap();
        let before = samples(self);
        self.wait_for("samples of the honest target", |lab| {
            (samples(lab) > before + 3 && lab.is_reachable("honest")).then_some(())
        });
    }
}

fn program() -> std::path::PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.ancestors().nth(2).map(Path::to_owned).unwrap();
    folder.join("backdoors")
}

/// A directory's words, made of the true one.
type Forgery = fn(&Directory) -> Vec<u64>;

/// Admits the monitor, and points it to a forged directory instead of its own.
fn forge(
    nic: &mut Nic,
    monitor: &str,
    hello: &Hello,
    words: &Words,
    forgery: Forgery,
) -> (Admission, Box<dyn Connection>) {
    let mut dialer = Dialer::new(Duration::from_secs(5), None);
    let endpoints = [hello.endpoints.clone(), dialer.prepare(1).unwrap()].concat();
    let mut admission = nic.admit(monitor, SLOT, &endpoints).unwrap();
    let own = admission.endpoints.pop().unwrap();
    let mut connection = dialer.connect(&[own]).unwrap().remove(0);
    let directory = Directory::fetch(connection.as_mut(), admission.directory).unwrap();
    for (index, word) in forgery(&directory).into_iter().enumerate() {
        words.store(index, word);
    }
    admission.directory = directory.region(FORGED).unwrap().range;
    (admission, connection)
}

fn header(count: u64) -> Vec<u64> {
    vec![DIRECTORY_MAGIC, 1 | 64 << 32, 0, count | 40 << 32, 0, 0, 0, 0]
}

fn forged_directory(directory: &Directory, change: impl Fn(&mut Region)) -> Vec<u64> {
    let mut words = header(directory.regions().len() as u64);
    for mut region in directory.regions().iter().copied() {
        change(&mut region);
        let rights = if region.rights == Rights::Writable { 2 } else { 1 };
        let range = region.range;
        words.extend([
            u64::from(region.kind) | rights << 32,
            range.address,
            range.length,
            u64::from(range.key),
            region.generation,
        ]);
    }
    words
}

#[test]
fn a_box_that_is_none_is_called_so_and_is_no_ground_for_anything() {
    let lies: [(&str, Lie, &str); 7] = [
        ("magic", |regions| regions.sensors.store(0, 0x6e6f_6e65), "not a sensor box: magic"),
        ("empty", |regions| regions.sensors.store(0, 0), "not a sensor box: magic 0x0000000000000000"),
        ("version", |regions| regions.sensors.store(VERSIONS, 7 | 128 << 32), "layout version 7"),
        (
            "header",
            |regions| regions.sensors.store(VERSIONS, 1 | u64::MAX << 32),
            "contradicts itself: header size",
        ),
        (
            "count",
            |regions| regions.sensors.store(COUNTS, 5000 | 5000 << 32),
            "contradicts itself: number of sensors",
        ),
        (
            "short",
            |regions| regions.sensors.store(COUNTS, 4000 | 4000 << 32),
            "sensor box is cut short: 256 of",
        ),
        ("torn", |regions| regions.sensors.store(SEQUENCE, 1), "sensor box was torn"),
    ];
    let mut lab = Lab::new(&lies.map(|(name, lie, _)| (name, lie)));
    for (name, _, words) in lies {
        lab.wait_for_problem(name, "unreadable", words);
        lab.wait_for(&format!("the journal to tell of {name}"), |lab| {
            let is_it = |entry: &Value| {
                entry["target"] == name
                    && entry["kind"] == "unreadable"
                    && entry["reason"].as_str().unwrap().contains(words)
            };
            lab.journal().iter().any(is_it).then_some(())
        });
        lab.expect(&format!("sensors {name}"), 0, words);
        lab.expect(&format!("heal {name} --uid {CULPRIT}"), 3, words);
        lab.expect(&format!("heal {name} --pid 5"), 3, words);
    }
    let connected = lab.journal().into_iter().filter(|entry| entry["kind"] == "connected").count();
    assert_eq!(connected, 1, "only the honest target is");
    lab.check_unharmed();
}

/// The box of a target with a bomb.
fn with_a_bomb(regions: &Regions, user: u32) {
    let sensors = SensorBox::adopt(regions.sensors.clone()).unwrap();
    for index in 0..sensors.count() {
        sensors.retire(Sensor::at(index));
    }
    let sensor = sensors.new_sensor_at(0, SensorKind::USER_PROCESSES, user, 10).unwrap();
    sensors.set(sensor, 1000);
    let table = ProcessTable::adopt(regions.processes.clone()).unwrap();
    for index in 0..50 {
        let pid = 100 + index as u32;
        let entry = ProcessEntry {
            sequence: 0,
            pid,
            parent: 1,
            user,
            depth: 1,
            flags: 0,
            start: 1,
            rss: 0,
            cpu_time: 0,
            command: *b"bomb\0\0\0\0\0\0\0\0\0\0\0\0",
            ..ProcessEntry::default()
        };
        assert!(table.put(index, &entry));
    }
}

#[test]
fn a_process_table_that_is_none_gives_no_culprit() {
    let lies: [(&str, Lie, &str); 5] = [
        ("magic", |regions| regions.processes.store(0, 1), "not a process table: magic"),
        (
            "version",
            |regions| regions.processes.store(VERSIONS, 9 | 64 << 32),
            "process table has layout version 9",
        ),
        (
            "entries",
            |regions| regions.processes.store(ENTRIES, 64 | 65 << 32),
            "contradicts itself: number of entries",
        ),
        (
            "short",
            |regions| regions.processes.store(ENTRIES, 500 | 400 << 32),
            "process table is cut short: 8320 of",
        ),
        ("stale", |regions| regions.processes.store(2, GENERATION + 1), "generation 2 now, not 1"),
    ];
    let mut lab = Lab::new(&lies.map(|(name, _, _)| (name, honest as Lie)));
    for (name, lie, words) in lies {
        lab.wait_for(name, |lab| lab.is_reachable(name).then_some(()));
        let regions = &lab.lying.iter().find(|(other, _)| *other == name).unwrap().1;
        lie(regions);
        lab.expect(&format!("ps {name}"), 3, words);
        let (code, printed) = lab.run(&format!("heal {name} --pid 100"));
        assert!(code != 0 && printed.contains(words) && printed.contains("nothing was written"), "{printed}");
    }
    lab.check_unharmed();
}

#[test]
fn a_table_that_blames_root_gets_nobody_killed() {
    let mut lab = Lab::new(&[("root", |regions| with_a_bomb(regions, 0))]);
    lab.wait_for("the healer's word", |lab| {
        let kinds = ["nothing-found", "withheld"];
        let is_it = |entry: &Value| kinds.iter().any(|kind| entry["kind"] == *kind);
        lab.journal().iter().any(is_it).then_some(())
    });
    lab.check_unharmed();
}

#[test]
fn a_bomb_behind_a_lying_table_is_an_event_and_no_command() {
    let mut lab = Lab::new(&[("bomb", |regions| {
        with_a_bomb(regions, CULPRIT);
        regions.processes.store(0, 1);
    })]);
    lab.wait_for("the event", |lab| lab.journal().iter().any(|entry| entry["kind"] == "event").then_some(()));
    lab.wait_for("the reason", |lab| lab.log().contains("not a process table").then_some(()));
    assert!(lab.journal().iter().all(|entry| entry["kind"] != "diagnosis"));
    lab.check_unharmed();
}

#[test]
fn an_acknowledgement_that_makes_no_sense_stops_a_command_before_it_is_written() {
    let lies: [(&str, Lie, &str); 3] = [
        (
            "state",
            |regions| regions.acknowledgements.store(STATE, 77),
            "acknowledgement contradicts itself: state",
        ),
        (
            "reason",
            |regions| regions.acknowledgements.store(STATE, 99 << 32),
            "acknowledgement contradicts itself: reason",
        ),
        ("last", |regions| regions.acknowledgements.store(2, u64::MAX), "the acknowledgement makes no sense"),
    ];
    let mut lab = Lab::new(&lies.map(|(name, lie, _)| (name, lie)));
    for (name, _, words) in lies {
        lab.wait_for(name, |lab| lab.is_reachable(name).then_some(()));
        lab.expect(&format!("heal {name} --uid {CULPRIT}"), 4, words);
    }
    lab.check_unharmed();
}

#[test]
fn a_directory_that_points_outside_is_found_out() {
    let directories: [(&str, Forgery, &str); 5] = [
        (
            "overflow",
            |directory| forged_directory(directory, |region| region.range.address = u64::MAX - 8),
            "it reaches past the end of memory",
        ),
        ("garbage", |_| vec![0xbad; 100], "no directory: it starts with 0x0000000000000bad"),
        ("count", |_| header(100_000), "claims 100000 entries"),
        (
            "outside",
            |directory| forged_directory(directory, |region| region.range.address += 1 << 40),
            "the target's NIC refused key or range",
        ),
        (
            "key",
            |directory| forged_directory(directory, |region| region.range.key ^= 1),
            "the target's NIC refused key or range",
        ),
    ];
    let mut lab = Lab::with_admissions(&[], &directories.map(|(name, forgery, _)| (name, forgery)));
    for (name, _, words) in directories {
        lab.wait_for_problem(name, "lost", words);
        lab.expect(&format!("sensors {name}"), 0, words);
        lab.expect(&format!("heal {name} --uid {CULPRIT}"), 3, "nothing was written");
    }
    lab.check_unharmed();
}
