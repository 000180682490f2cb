//! What the virtual-machine lab promises to the scenarios that use it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use backdoors_tests::vm::{GuestCommand, Kernel, Priority, Vm, VmConfig, VmError, Wire};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    process::{Pid, PidfdFlags, pidfd_open},
};

const MALLORY: u32 = 1001;

#[test]
fn each_kernel_boots_with_what_ebpf_needs() {
    for kernel in Kernel::ALL {
        let vm = Vm::boot(VmConfig { kernel, ..VmConfig::default() }).unwrap();
        assert_eq!(vm.shell("uname -r").unwrap(), vm.release());
        vm.shell("test -s /sys/kernel/btf/vmlinux").unwrap();
        let mounts = vm.shell("cat /proc/mounts").unwrap();
        for mount in [
            "bpf /sys/fs/bpf bpf ",
            "cgroup2 /sys/fs/cgroup cgroup2 ",
            "tracefs /sys/kernel/tracing tracefs ",
        ] {
            assert!(mounts.contains(mount), "{mount} is not among {mounts}");
        }
    }
}

#[test]
fn a_guest_with_systemd_has_daemons_that_watch_memory_and_starts_none_of_them() {
    let vm = Vm::boot(VmConfig { systemd: true, ..VmConfig::default() }).unwrap();
    assert_eq!(vm.shell("readlink /proc/1/exe").unwrap(), "/usr/lib/systemd/systemd");
    for daemon in ["earlyoom", "systemd-oomd"] {
        assert_eq!(vm.run(format!("pgrep -x {daemon}")).unwrap().stdout, "", "{daemon} runs");
    }
    vm.shell("systemctl start earlyoom systemd-oomd").unwrap();
    let slice = "systemd-run --quiet --slice=user-1001.slice --uid=1001 sleep 1000";
    vm.shell(format!(
        "systemctl set-property --runtime user-1001.slice ManagedOOMMemoryPressure=kill && {slice}"
    ))
    .unwrap();
    for daemon in ["earlyoom", "systemd-oomd"] {
        vm.shell(format!("systemctl is-active {daemon} && pgrep -x {daemon}")).unwrap();
    }
}

#[test]
fn two_guests_on_a_wire_reach_each_other_through_soft_roce() {
    let wire = Wire::new().unwrap();
    let [target, monitor] = Vm::boot_all([
        VmConfig { name: "target", network: Some(&wire), ..VmConfig::default() },
        VmConfig { name: "monitor", kernel: Kernel::Stable61, network: Some(&wire), ..VmConfig::default() },
    ])
    .unwrap();
    assert!(matches!(
        Vm::boot(VmConfig { network: Some(&wire), ..VmConfig::default() }),
        Err(VmError::WireTaken)
    ));
    let address = target.address().unwrap();
    for guest in [&target, &monitor] {
        let links = guest.shell("rdma link").unwrap();
        assert!(links.contains("link rxe0/1 state ACTIVE"), "{links}");
    }
    monitor.shell(format!("ping -c 3 -w 20 {address}")).unwrap();

    let perftest = "gids=/sys/class/infiniband/rxe0/ports/1/gids
        gid=$(cd $gids && grep -l '^0000:0000:0000:0000:0000:ffff:' * 2>/dev/null | head -1)
        ib_read_lat -d rxe0 -x $gid -s 64 -n 200";
    let server = target.spawn(perftest).unwrap();
    target.wait_until(Duration::from_secs(30), "ss -ltn | grep -q :18515").unwrap();
    let report = monitor.shell(format!("{perftest} {address}")).unwrap();
    assert!(report.lines().any(|line| line.trim_start().starts_with("64 ")), "{report}");
    assert!(server.wait(Duration::from_secs(30)).unwrap().succeeded());

    // A cut cable, and a machine that hangs, look the same from outside; neither is for good.
    let ping = format!("ping -c 1 -W 2 {address}");
    target.cut_network().unwrap();
    assert!(!monitor.run(ping.as_str()).unwrap().succeeded());
    target.mend_network().unwrap();
    monitor.wait_until(Duration::from_secs(30), &ping).unwrap();
    target.pause().unwrap();
    assert!(!monitor.run(ping.as_str()).unwrap().succeeded());
    target.resume().unwrap();
    monitor.wait_until(Duration::from_secs(30), &ping).unwrap();
}

#[test]
fn commands_report_how_they_ended_and_what_they_printed() {
    let vm = Vm::boot(VmConfig { cpus: 2, ..VmConfig::default() }).unwrap();
    let output = vm.run("echo out; echo err >&2; exit 7").unwrap();
    assert_eq!((output.status, output.stdout.as_str(), output.stderr.as_str()), (7, "out\n", "err\n"));
    assert_eq!(vm.run("kill -KILL $$").unwrap().status, 128 + 9);
    assert!(matches!(vm.shell("false"), Err(VmError::Failed { .. })));
    assert_eq!(
        vm.shell(GuestCommand::new("id -un; nice; cat /proc/self/oom_score_adj").user(MALLORY)).unwrap(),
        "mallory\n0\n0"
    );
    assert_eq!(vm.shell("nice; cat /proc/self/oom_score_adj").unwrap(), "-20\n-900");
    assert!(
        vm.shell(GuestCommand::new("chrt -p $$").priority(Priority::RealTime))
            .unwrap()
            .contains("SCHED_FIFO")
    );

    // A process left in the background does not hold up the answer.
    vm.shell("sleep 1000 & echo $!").unwrap();
    let late = vm.run_within(Duration::from_secs(2), "echo begun; sleep 1000");
    match late {
        Err(VmError::Late { output, .. }) => assert_eq!(output.stdout, "begun\n"),
        other => panic!("{other:?}"),
    }
    vm.wait_until(Duration::from_secs(20), "test $(pgrep -c sleep) = 1").unwrap();

    vm.write_file("/etc/deep/file", 0o640, [0, 159, 146, 150]).unwrap();
    assert_eq!(
        vm.shell("stat -c %a /etc/deep/file; od -An -tx1 /etc/deep/file").unwrap(),
        "640\n 00 9f 92 96"
    );
    assert!(matches!(vm.write_file("/proc/none", 0o600, "x"), Err(VmError::Refused(_))));

    let mut running =
        vm.spawn("echo first; trap 'echo last; exit 3' TERM; while :; do sleep 0.1; done").unwrap();
    vm.wait_until(Duration::from_secs(20), &format!("test -d /proc/{}", running.pid())).unwrap();
    while running.output().unwrap().stdout != "first\n" {}
    running.signal(15).unwrap();
    let output = running.wait(Duration::from_secs(20)).unwrap();
    assert_eq!((output.status, output.stdout.as_str()), (3, "first\nlast\n"));
}

#[test]
fn a_guest_answers_while_another_user_bombs_it() {
    let vm = Vm::boot(VmConfig::default()).unwrap();
    vm.spawn(GuestCommand::new("ulimit -u 1000; bomb() { bomb | bomb & }; bomb").user(MALLORY)).unwrap();
    let alive = vm
        .wait_until(Duration::from_secs(100), "n=$(pgrep -c -u mallory); echo $n; test $n -gt 300")
        .unwrap();
    assert!(alive.trim().parse::<u32>().unwrap() > 300, "{alive}");
    vm.write_file("/tmp/answers", 0o644, "still").unwrap();
    assert_eq!(vm.shell("cat /tmp/answers").unwrap(), "still");
    // All at once: `pkill` goes through them one by one, and a growing bomb outruns it.
    let kill = "setpriv --reuid mallory bash -c 'kill -KILL -1'; ! pgrep -u mallory";
    vm.wait_until(Duration::from_secs(100), kill).unwrap();
}

#[test]
fn a_guest_whose_kernel_panics_is_silent_but_keeps_its_console() {
    let vm = Vm::boot(VmConfig { kernel: Kernel::Stable61, ..VmConfig::default() }).unwrap();
    let result = vm.run_within(Duration::from_secs(3), "echo c >/proc/sysrq-trigger");
    assert!(matches!(result, Err(VmError::Late { .. })), "{result:?}");
    assert!(vm.console().contains("Kernel panic"), "{}", vm.console());
    let qemu = vm.qemu_pid();
    vm.pull_plug();
    assert!(matches!(vm.run("true"), Err(VmError::Gone)));
    assert!(!exists(qemu));
}

#[test]
fn a_guest_without_room_for_its_files_is_refused() {
    let result = Vm::boot(VmConfig { memory_mib: 128, ..VmConfig::default() });
    assert!(matches!(result, Err(VmError::TooLarge { memory_mib: 128, .. })), "{result:?}");
}

#[test]
fn a_guest_outlives_the_thread_that_booted_it() {
    let vm = thread::spawn(|| Vm::boot(VmConfig::default()).unwrap()).join().unwrap();
    assert_eq!(vm.shell("echo here").unwrap(), "here");
}

#[test]
fn no_guest_is_left_behind_when_a_test_panics() {
    let (sender, receiver) = mpsc::channel();
    let test = thread::spawn(move || {
        let vm = Vm::boot(VmConfig { name: "forsaken", ..VmConfig::default() }).unwrap();
        sender.send(vm.qemu_pid()).unwrap();
        panic!("on purpose, to see the guest go");
    });
    let qemu = receiver.recv().unwrap();
    assert!(test.join().is_err());
    assert!(!exists(qemu));
    let running = std::env::current_exe().unwrap();
    // Where cargo's folder has another name they go to the temporary one.
    let target = running.ancestors().find(|directory| directory.ends_with("target"));
    let logs = target.map_or_else(std::env::temp_dir, Path::to_path_buf).join("vm-logs");
    assert!(logs.join(format!("forsaken-{qemu}.log")).is_file());
}

#[test]
fn no_guest_is_left_behind_when_a_test_is_killed() {
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "holds_a_guest_until_its_input_ends"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(test.stdout.take().unwrap());
    let qemu = output
        .lines()
        .find_map(|line| line.unwrap().split_once("qemu is ").map(|(_, pid)| pid.parse::<u32>().unwrap()))
        .expect("the other test did not say which its guest is");
    let watched = watch(qemu);
    test.kill().unwrap();
    test.wait().unwrap();
    assert!(ends_within(&watched, 30), "QEMU {qemu} outlives the test that started it");
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn holds_a_guest_until_its_input_ends() {
    let vm = Vm::boot(VmConfig::default()).unwrap();
    // Left to itself, a guest that runs would notice that it is alone, and power off.
    vm.pause().unwrap();
    println!("qemu is {}", vm.qemu_pid());
    std::io::stdin().lines().count();
}

fn exists(process: u32) -> bool {
    PathBuf::from(format!("/proc/{process}")).exists()
}

/// Refers to this very process, even after its number is used again.
fn watch(process: u32) -> OwnedFd {
    let pid = Pid::from_raw(process.cast_signed()).expect("no process has the number 0");
    pidfd_open(pid, PidfdFlags::empty()).expect("the guest runs")
}

fn ends_within(process: &OwnedFd, seconds: i64) -> bool {
    let deadline = Timespec { tv_sec: seconds, tv_nsec: 0 };
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&deadline)) == Ok(1)
}
