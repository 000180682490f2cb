//! Counts stay exact, whatever becomes of processes.

use crate::host::{Host, eventually, inside, victim};
use backdoors_sensor_box::SensorKind;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Processes of this namespace that live, by what the kernel itself says.
fn alive() -> Vec<u32> {
    let mut pids: Vec<u32> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            // A leader that exited before its other threads is a zombie of a live process.
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
            tasks.filter_map(Result::ok).any(|task| {
                std::fs::read_to_string(task.path().join("stat"))
                    .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
            })
        })
        .collect();
    pids.sort_unstable();
    pids
}

fn assert_exact(host: &Host) {
    eventually("a table and counts that show exactly the live processes", || {
        let table = host.table();
        let mut shown: Vec<u32> = table.processes.iter().map(|process| process.pid).collect();
        shown.sort_unstable();
        let view = host.sensors();
        let users_fit = view.of_kind(SensorKind::USER_PROCESSES).all(|sensor| {
            sensor.value
                == table.processes.iter().filter(|process| process.user == sensor.instance).count() as u64
        });
        let count = view.sensor(SensorKind::PROCESSES, 0).unwrap().value;
        (users_fit && shown == alive() && count == shown.len() as u64).then_some(())
    });
}

#[test]
fn a_thousand_forks_execs_and_exits_leave_the_counts_exact() {
    inside("counts::a_thousand_forks_execs_and_exits_leave_the_counts_exact", || {
        let host = Host::start("");
        host.freeze_agent();
        assert_exact(&host);
        let before = host.sensor(SensorKind::FORKS, 0);
        let script = "i=0; while [ $i -lt 250 ]; do /bin/true & (:) & i=$((i+1)); wait; done";
        let mut children = [victim(60111, 50, script), victim(60112, 50, script)];
        for child in &mut children {
            assert!(child.wait().unwrap().success());
        }
        let forks = host.sensor(SensorKind::FORKS, 0) - before;
        assert!((1002..1100).contains(&forks), "{forks} forks");
        assert_exact(&host);
        for user in [60111, 60112] {
            assert_eq!(host.sensor(SensorKind::USER_PROCESSES, user), 0);
            assert!(host.of_user(user).is_empty());
        }
    });
}

/// Not a test: what other tests run as a victim. Here it is a thread, not the first one, that runs a program.
#[test]
#[ignore = "a program for other tests"]
fn victim_that_runs_a_program_from_a_thread() {
    let error = Command::new("sleep").arg("1000").exec();
    panic!("{error}");
}

#[test]
fn a_process_whose_second_thread_runs_a_program_stays_the_same_process() {
    inside("counts::a_process_whose_second_thread_runs_a_program_stays_the_same_process", || {
        let host = Host::start("");
        host.freeze_agent();
        let mut threads = Command::new(std::env::current_exe().unwrap())
            .args(["counts::victim_that_runs_a_program_from_a_thread", "--exact", "--ignored"])
            .uid(60113)
            .gid(60113)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let shown = |command: &str| {
            host.of_user(60113)
                .into_iter()
                .find(|process| process.command == command && process.pid == threads.id())
        };
        let after = eventually("the program the thread runs", || shown("sleep"));
        let started: u64 = std::fs::read_to_string(format!("/proc/{}/stat", after.pid))
            .unwrap()
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok())
            .unwrap();
        // /proc counts hundredths of a second, since a boot that this machine's clock may count otherwise.
        let boot_offset = boot_time().abs_diff(monotonic());
        assert!(
            (started * 10_000_000).abs_diff(after.start) <= boot_offset + 20_000_000,
            "{started} {}",
            after.start
        );
        assert_eq!(host.sensor(SensorKind::USER_PROCESSES, 60113), 1);
        assert_exact(&host);
        threads.kill().unwrap();
        threads.wait().unwrap();
        assert_exact(&host);
        assert_eq!(host.sensor(SensorKind::USER_PROCESSES, 60113), 0);
    });
}

/// Not a test: loses one of its threads and goes on.
#[test]
#[ignore = "a program for other tests"]
fn victim_that_loses_a_thread() {
    let thread = std::thread::Builder::new().name("brief".into()).spawn(|| {}).unwrap();
    thread.join().unwrap();
    println!("lost");
    std::thread::sleep(std::time::Duration::from_secs(1000));
}

#[test]
fn a_process_that_loses_a_thread_lives_on() {
    inside("counts::a_process_that_loses_a_thread_lives_on", || {
        let host = Host::start("");
        host.freeze_agent();
        let mut threads = Command::new(std::env::current_exe().unwrap())
            .args(["counts::victim_that_loses_a_thread", "--exact", "--ignored", "--nocapture"])
            .uid(60116)
            .gid(60116)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(threads.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains("lost")));
        assert_eq!(host.sensor(SensorKind::USER_PROCESSES, 60116), 1);
        assert_exact(&host);
        threads.kill().unwrap();
        threads.wait().unwrap();
        assert_eq!(host.sensor(SensorKind::USER_PROCESSES, 60116), 0);
    });
}

#[test]
fn a_process_that_changes_its_user_is_counted_for_the_new_one() {
    inside("counts::a_process_that_changes_its_user_is_counted_for_the_new_one", || {
        let host = Host::start("");
        host.freeze_agent();
        let mut changed = Command::new("perl").args(["-e", "$< = $> = 60114; 1 while 1"]).spawn().unwrap();
        eventually("a process of the new user", || {
            (host.sensor(SensorKind::USER_PROCESSES, 60114) == 1 && host.of_user(60114).len() == 1)
                .then_some(())
        });
        assert_exact(&host);
        changed.kill().unwrap();
        changed.wait().unwrap();
        assert_eq!(host.sensor(SensorKind::USER_PROCESSES, 60114), 0);
        assert_exact(&host);
    });
}

#[test]
fn processes_outside_the_namespace_are_neither_listed_nor_counted() {
    inside("counts::processes_outside_the_namespace_are_neither_listed_nor_counted", || {
        let host = Host::start("");
        let before = host.sensor(SensorKind::FORKS, 0);
        // A namespace inside this one is in scope; its processes have ids here, too.
        let mut inner = Command::new("unshare").args(["--pid", "--fork", "sleep", "1000"]).spawn().unwrap();
        eventually("both processes", || {
            let table = host.table();
            (table.processes.iter().filter(|process| process.parent == inner.id()).count() == 1).then_some(())
        });
        assert!(host.sensor(SensorKind::FORKS, 0) >= before + 2);
        assert_exact(&host);
        let first = host.table().processes.into_iter().find(|process| process.pid == 1).unwrap();
        assert_eq!((first.parent, first.depth), (0, 0));
        let child = host.table().processes.into_iter().find(|process| process.parent == inner.id()).unwrap();
        let parent = host.table().processes.into_iter().find(|process| process.pid == inner.id()).unwrap();
        assert_eq!(child.depth, parent.depth + 1);
        inner.kill().unwrap();
        host.signal(child.pid, rustix::process::Signal::KILL);
        inner.wait().unwrap();
    });
}

#[test]
fn a_full_table_loses_entries_but_no_counts_and_no_victims() {
    inside("counts::a_full_table_loses_entries_but_no_counts_and_no_victims", || {
        let mut host = Host::start("process_table = 16\n");
        let mut crowd = victim(
            60115,
            100,
            "i=0; while [ $i -lt 60 ]; do sleep 1000 & i=$((i+1)); done; wait; exec sleep 1000",
        );
        eventually("61 processes", || (host.sensor(SensorKind::USER_PROCESSES, 60115) == 61).then_some(()));
        assert!(host.sensor(SensorKind::PROCESSES_LOST, 0) >= 61 - 16);
        let table = host.table();
        assert_eq!(table.processes.len(), 16);
        assert_eq!(table.lost, host.sensor(SensorKind::PROCESSES_LOST, 0));
        let answer = host.order(0, crate::host::order(backdoors_sensor_box::Opcode::KillUser, 60115));
        assert_eq!(answer.state, backdoors_sensor_box::CommandState::Done, "{answer:?}");
        crowd.wait().unwrap();
        assert_eq!(host.sensor(SensorKind::USER_PROCESSES, 60115), 0);
        assert_eq!(host.sensor(SensorKind::PROCESSES_LOST, 0), 0);
        assert_exact(&host);
    });
}

fn boot_time() -> u64 {
    nanoseconds(rustix::time::clock_gettime(rustix::time::ClockId::Boottime))
}

fn monotonic() -> u64 {
    nanoseconds(rustix::time::clock_gettime(rustix::time::ClockId::Monotonic))
}

fn nanoseconds(time: rustix::time::Timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
