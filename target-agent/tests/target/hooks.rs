//! Commands that do not kill: signals, control groups, priorities, variables, forks.

use crate::host::{Host, eventually, inside, order, victim};
use backdoors_sensor_box::variables::Variable;
use backdoors_sensor_box::{
    AcknowledgementView, Command as Order, CommandState, MOST_NICE, MOST_REFUSED, Opcode, Refusal,
    SensorKind, Signal,
};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Child;

const SLEEPERS: &str = "i=0; while [ $i -lt 20 ]; do sleep 1000 & i=$((i+1)); done; wait; exec sleep 1000";

/// Both ways to signal.
const KILLS: [&str; 2] = ["auto", "helper"];

fn wait_for_processes(host: &Host, user: u32, count: u64) {
    eventually("the victims", || (host.sensor(SensorKind::USER_PROCESSES, user) == count).then_some(()));
}

fn signal(opcode: Opcode, subject: u32, signal: Signal) -> Order {
    Order { argument: u64::from(signal as u32), ..order(opcode, subject) }
}

fn state(pid: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1[..1].to_owned()
}

fn assert_refused(answer: &AcknowledgementView, why: Refusal) {
    assert_eq!((answer.state, answer.reason), (CommandState::Refused, why), "{answer:?}");
}

/// A control group of the unified hierarchy, removed when dropped.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Group {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).unwrap();
        // Process ids are those of other tests, too: each has a namespace of its own.
        let prefix = format!("backdoors-{name}-");
        let group = tempfile::Builder::new().prefix(&prefix).tempdir_in(mount.split(' ').nth(4).unwrap());
        Group(group.unwrap().keep())
    }

    fn id(&self) -> u64 {
        std::fs::metadata(&self.0).unwrap().ino()
    }

    fn take(&self, child: &Child) {
        std::fs::write(self.0.join("cgroup.procs"), child.id().to_string()).unwrap();
    }

    fn reads(&self, file: &str, text: &str) -> bool {
        std::fs::read_to_string(self.0.join(file)).unwrap().contains(text)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        let start = std::time::Instant::now();
        while std::fs::remove_dir(&self.0).is_err() && start.elapsed() < crate::host::PATIENCE {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

#[test]
fn each_process_of_a_user_is_sent_a_signal_once_and_may_live_on() {
    inside("hooks::each_process_of_a_user_is_sent_a_signal_once_and_may_live_on", || {
        for kills in KILLS {
            let mut host = Host::start(&format!("kills = '{kills}'\n"));
            host.freeze_agent();
            let count = host.path("count");
            let file = format!("{}", count.display());
            std::fs::write(&count, "").unwrap();
            std::os::unix::fs::chown(&count, Some(60141), None).unwrap();
            std::os::unix::fs::chown(count.parent().unwrap(), Some(60141), None).unwrap();
            let script =
                format!("trap 'echo x >> {file}' USR1; echo ready >> {file}; while :; do sleep 0.05; done");
            let mut stubborn = victim(60141, 20, &script);
            let mut other = victim(60142, 20, "exec sleep 1000");
            eventually("a victim that is ready", || {
                std::fs::read_to_string(&count).unwrap().contains("ready").then_some(())
            });
            // Its own child of the moment ends by it.
            let answer = host.order(0, signal(Opcode::SignalProcess, stubborn.id(), Signal::Usr1));
            assert_eq!(answer.state, CommandState::Done, "{answer:?}");
            assert_eq!((answer.matched, answer.signalled, answer.remaining), (1, 1, 0));
            eventually("the signal", || {
                (std::fs::read_to_string(&count).unwrap() == "ready\nx\n").then_some(())
            });
            assert!(stubborn.try_wait().unwrap().is_none() && other.try_wait().unwrap().is_none());
            let answer = host.order(0, order(Opcode::KillUser, 60141));
            assert_eq!(answer.state, CommandState::Done);
            stubborn.wait().unwrap();
            other.kill().unwrap();
            other.wait().unwrap();
        }
    });
}

#[test]
fn a_tree_is_stopped_and_goes_on_by_signals() {
    inside("hooks::a_tree_is_stopped_and_goes_on_by_signals", || {
        for kills in KILLS {
            let mut host = Host::start(&format!("kills = '{kills}'\n"));
            host.freeze_agent();
            let mut sleepers = victim(60143, 60, SLEEPERS);
            wait_for_processes(&host, 60143, 21);
            let pids: Vec<u32> = host.of_user(60143).iter().map(|process| process.pid).collect();
            for (number, expected) in [(Signal::Stop, "T"), (Signal::Cont, "S")] {
                let answer = host.order(0, signal(Opcode::SignalTree, sleepers.id(), number));
                assert_eq!(answer.state, CommandState::Done, "{answer:?}");
                assert_eq!((answer.matched, answer.signalled, answer.remaining), (21, 21, 0));
                eventually("all of them", || pids.iter().all(|pid| state(*pid) == expected).then_some(()));
            }
            // One that is asked to end is gone; the shell goes on with its last sleep.
            let answer = host.order(0, signal(Opcode::SignalUser, 60143, Signal::Term));
            assert_eq!(answer.state, CommandState::Done, "{answer:?}");
            sleepers.wait().unwrap();
        }
    });
}

#[test]
fn signals_that_no_command_may_send_are_refused() {
    inside("hooks::signals_that_no_command_may_send_are_refused", || {
        let mut host = Host::start("");
        let mut other = victim(60144, 20, "exec sleep 1000");
        wait_for_processes(&host, 60144, 1);
        for wrong in [0, 9, 64, 65, 11, 15 + (1 << 32), u64::MAX] {
            let order = Order { argument: wrong, ..order(Opcode::SignalProcess, other.id()) };
            assert_refused(&host.order(0, order), Refusal::NotASignal);
        }
        assert_refused(&host.order(0, signal(Opcode::SignalUser, 0, Signal::Term)), Refusal::SparedUser);
        let agent = host.agent_pid();
        assert_refused(
            &host.order(0, signal(Opcode::SignalProcess, agent, Signal::Stop)),
            Refusal::Protected,
        );
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    });
}

#[test]
fn a_control_group_is_frozen_thawed_and_killed_and_no_other() {
    inside("hooks::a_control_group_is_frozen_thawed_and_killed_and_no_other", || {
        for kills in KILLS {
            let mut host = Host::start(&format!("kills = '{kills}'\n"));
            let (group, another) = (Group::new("hooks"), Group::new("others"));
            // The shell is put there before it has children.
            let wait = "while ! grep -q hooks /proc/self/cgroup; do sleep 0.01; done;";
            let mut many = victim(60145, 60, &format!("{wait} {SLEEPERS}"));
            let mut other = victim(60145, 60, "exec sleep 1000");
            group.take(&many);
            another.take(&other);
            // That of who sleeps the agent must look at.
            eventually("its processes", || {
                let of_group = |process: &&backdoors_sensor_box::Process| process.cgroup == group.id();
                (host.table().processes.iter().filter(of_group).count() == 21).then_some(())
            });
            host.freeze_agent();
            let about = |opcode| Order::new(opcode, group.id());
            for (opcode, frozen) in [(Opcode::FreezeCgroup, "frozen 1"), (Opcode::ThawCgroup, "frozen 0")] {
                let answer = host.order(0, about(opcode));
                assert_eq!(answer.state, CommandState::Done, "{answer:?}");
                assert!(group.reads("cgroup.events", frozen) && another.reads("cgroup.events", "frozen 0"));
            }
            let answer = host.order(0, about(Opcode::KillCgroup));
            assert_eq!(answer.state, CommandState::Done, "{answer:?}");
            assert_eq!((answer.matched, answer.signalled, answer.remaining), (21, 21, 0));
            many.wait().unwrap();
            assert!(other.try_wait().unwrap().is_none());
            other.kill().unwrap();
            other.wait().unwrap();
        }
    });
}

#[test]
fn a_control_group_with_somebody_to_be_spared_is_not_frozen() {
    inside("hooks::a_control_group_with_somebody_to_be_spared_is_not_frozen", || {
        let mut host = Host::start("spared_users = [60147]\n");
        let group = Group::new("spared");
        let (mut culprit, mut spared) =
            (victim(60146, 20, "exec sleep 1000"), victim(60147, 20, "exec sleep 1000"));
        group.take(&culprit);
        group.take(&spared);
        let freeze = |id| Order::new(Opcode::FreezeCgroup, id);
        assert_refused(&host.order(0, freeze(group.id())), Refusal::SparedUser);
        assert_refused(&host.order(0, freeze(1)), Refusal::RootCgroup);
        assert_refused(&host.order(0, freeze(1 << 50)), Refusal::NoSuchCgroup);
        assert!(group.reads("cgroup.events", "frozen 0"));
        // Those who are not spared are killed there.
        let answer = host.order(0, Order::new(Opcode::KillCgroup, group.id()));
        assert_eq!((answer.state, answer.signalled), (CommandState::Done, 1), "{answer:?}");
        culprit.wait().unwrap();
        assert!(spared.try_wait().unwrap().is_none());
        spared.kill().unwrap();
        spared.wait().unwrap();
    });
}

#[test]
fn a_process_becomes_less_urgent() {
    inside("hooks::a_process_becomes_less_urgent", || {
        let mut host = Host::start("");
        host.freeze_agent();
        let mut busy = victim(60148, 20, "exec perl -e 'sleep 1000'");
        wait_for_processes(&host, 60148, 1);
        let nice = |pid, argument| Order { argument, ..order(Opcode::SetPriority, pid) };
        assert_eq!(host.order(0, nice(busy.id(), 15)).state, CommandState::Done);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", busy.id())).unwrap();
        assert_eq!(stat.rsplit_once(") ").unwrap().1.split(' ').nth(16), Some("15"));
        for wrong in [MOST_NICE + 1, u64::MAX] {
            assert_refused(&host.order(0, nice(busy.id(), wrong)), Refusal::OutOfRange);
        }
        assert_refused(&host.order(0, nice(999_999, 1)), Refusal::NoSuchProcess);
        assert_refused(&host.order(0, nice(1, 1)), Refusal::InitProcess);
        busy.kill().unwrap();
        busy.wait().unwrap();
    });
}

#[test]
fn a_variable_is_set_if_it_is_offered_and_within_its_range() {
    inside("hooks::a_variable_is_set_if_it_is_offered_and_within_its_range", || {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("workers");
        std::fs::write(&file, "8\n").unwrap();
        let mut host = Host::start(&format!(
            "[[variable]]\nname = 'workers'\nfile = '{}'\nleast = 1\nmost = 64\n",
            file.display()
        ));
        host.freeze_agent();
        let shown = |host: &Host| {
            let memory = host.half().memory.variables.words.memory();
            let mut bytes = vec![0; memory.len()];
            memory.read_bytes(0, &mut bytes).unwrap();
            Variable::decode(&bytes).unwrap()
        };
        assert_eq!((shown(&host).len(), shown(&host)[0].value), (1, Some(8)));
        let set = |index, argument| Order { argument, ..Order::new(Opcode::SetVariable, index) };
        let counted = host.order(0, Order { dry_run: true, ..set(0, 3) });
        assert_eq!((counted.state, shown(&host)[0].value), (CommandState::Done, Some(8)));
        assert_eq!(host.order(0, set(0, 3)).state, CommandState::Done);
        assert_eq!((std::fs::read_to_string(&file).unwrap(), shown(&host)[0].value), ("3".into(), Some(3)));
        assert_refused(&host.order(0, set(0, 65)), Refusal::OutOfRange);
        assert_refused(&host.order(0, set(1, 3)), Refusal::NotOffered);
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        let answer = host.order(0, set(0, 3));
        assert_eq!(
            (answer.state, answer.reason, answer.failure),
            (CommandState::GaveUp, Refusal::Failed, 21)
        );
    });
}

#[test]
fn an_errand_that_nobody_carries_out_is_given_up() {
    inside("hooks::an_errand_that_nobody_carries_out_is_given_up", || {
        let mut host = Host::start("");
        let mut busy = victim(60149, 20, "exec sleep 1000");
        wait_for_processes(&host, 60149, 1);
        host.freeze_agent();
        let helper = host.half().helper().1;
        host.signal(helper, rustix::process::Signal::STOP);
        let nice = Order { argument: 9, ..order(Opcode::SetPriority, busy.id()) };
        let answer = host.order(0, nice);
        assert_eq!(
            (answer.state, answer.reason),
            (CommandState::GaveUp, Refusal::NotCarriedOut),
            "{answer:?}"
        );
        // Nor later.
        host.signal(helper, rustix::process::Signal::CONT);
        let rounds = host.half().helper().0;
        eventually("rounds of the helper", || (host.half().helper().0 > rounds + 2).then_some(()));
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", busy.id())).unwrap();
        assert_eq!(stat.rsplit_once(") ").unwrap().1.split(' ').nth(16), Some("0"));
        busy.kill().unwrap();
        busy.wait().unwrap();
    });
}

#[test]
fn forks_are_refused_for_a_while_or_the_command_is() {
    inside("hooks::forks_are_refused_for_a_while_or_the_command_is", || {
        let mut host = Host::start("");
        let refuse = |user, argument| Order { argument, ..order(Opcode::RefuseForks, user) };
        assert_refused(&host.order(0, refuse(60150, MOST_REFUSED + 1)), Refusal::OutOfRange);
        if !backdoors_target_agent::kernel::probe().unwrap().refuses_forks {
            assert_refused(&host.order(0, refuse(60150, 1)), Refusal::NotPossible);
            println!("SKIPPED: this kernel lets nobody refuse forks; the guests' kernels do");
            return;
        }
        let script = "while :; do (:) && touch went || touch failed; done";
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(folder.path(), Some(60150), None).unwrap();
        let mut forker = victim(60150, 20, &format!("cd {} && {script}", folder.path().display()));
        let wait_for = |name: &str| {
            let _ = std::fs::remove_file(folder.path().join(name));
            eventually(name, || folder.path().join(name).exists().then_some(()));
        };
        wait_for("went");
        assert_refused(&host.order(0, refuse(0, 1000)), Refusal::SparedUser);
        assert_eq!(host.order(0, refuse(60150, 60_000_000_000)).state, CommandState::Done);
        let before = host.sensor(SensorKind::FORKS_REFUSED, 0);
        eventually("refusals", || (host.sensor(SensorKind::FORKS_REFUSED, 0) > before + 10).then_some(()));
        assert_eq!(host.order(0, refuse(60150, 0)).state, CommandState::Done);
        wait_for("went");
        forker.kill().unwrap();
        forker.wait().unwrap();
    });
}
