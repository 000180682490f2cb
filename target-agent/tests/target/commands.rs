//! Commands written into the mapped slot are obeyed while the agent is frozen, or refused with their reason.

use crate::host::{Host, eventually, inside, order, victim};
use backdoors_sensor_box::layout::CommandSlot;
use backdoors_sensor_box::{Command as Order, CommandState, Opcode, Refusal, SensorKind};
use rustix::process::Signal;
use zerocopy::FromZeros;

/// The shell, too, must not end by itself once its children are dead.
const SLEEPERS: &str = "i=0; while [ $i -lt 50 ]; do sleep 1000 & i=$((i+1)); done; wait; exec sleep 1000";
/// Forks as fast as it can, up to its user's limit, and goes on trying.
const BOMB: &str = "exec perl -e 'while (1) { fork }'";

fn wait_for_processes(host: &Host, user: u32, count: u64) {
    eventually("the victims", || (host.sensor(SensorKind::USER_PROCESSES, user) >= count).then_some(()));
}

fn assert_all_killed(host: &mut Host, user: u32, least: u32) {
    let answer = host.order(0, order(Opcode::KillUser, user));
    assert_eq!(answer.state, CommandState::Done, "{answer:?}");
    assert!(answer.matched >= least && answer.signalled == answer.matched, "{answer:?}");
    assert_eq!(answer.remaining, 0);
    assert!(answer.accepted_at <= answer.first_signal_at && answer.first_signal_at <= answer.last_death_at);
    assert!(answer.last_death_at <= answer.finished_at, "{answer:?}");
    assert_eq!(host.sensor(SensorKind::USER_PROCESSES, user), 0);
    assert!(host.of_user(user).is_empty());
}

#[test]
fn a_bomb_stays_within_its_bound_until_it_is_killed() {
    inside("commands::a_bomb_stays_within_its_bound_until_it_is_killed", || {
        let mut host = Host::start("");
        let mut bomb = victim(60126, 30, BOMB);
        wait_for_processes(&host, 60126, 30);
        let tick = host.sensor(SensorKind::KERNEL_TIMER, 0);
        eventually("half a second of bombing", || {
            assert!(host.sensor(SensorKind::USER_PROCESSES, 60126) <= 30);
            (host.sensor(SensorKind::KERNEL_TIMER, 0) > tick + 500).then_some(())
        });
        assert_all_killed(&mut host, 60126, 30);
        bomb.wait().unwrap();
    });
}

#[test]
fn a_bomb_and_sleepers_die_by_a_command_while_the_agent_is_frozen() {
    inside("commands::a_bomb_and_sleepers_die_by_a_command_while_the_agent_is_frozen", || {
        let mut host = Host::start("");
        host.freeze_agent();
        let mut sleepers = victim(60121, 60, SLEEPERS);
        wait_for_processes(&host, 60121, 51);
        assert_all_killed(&mut host, 60121, 51);
        sleepers.wait().unwrap();
        let mut bomb = victim(60122, 100, BOMB);
        wait_for_processes(&host, 60122, 90);
        assert_all_killed(&mut host, 60122, 90);
        bomb.wait().unwrap();
        // The agent is still there, and frozen.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", host.agent_pid())).unwrap();
        assert!(stat.contains(") T "), "{stat}");
    });
}

#[test]
fn a_bomb_dies_by_the_kernel_half_alone_while_agent_and_helper_are_frozen() {
    inside("commands::a_bomb_dies_by_the_kernel_half_alone_while_agent_and_helper_are_frozen", || {
        let mut host = Host::start("");
        if !backdoors_target_agent::kernel::probe().unwrap().signals_any_task {
            println!("SKIPPED: this kernel cannot signal any task (needs 6.13): the helper is needed here");
            return;
        }
        let helper = host.half().helper().1;
        host.freeze_agent();
        host.signal(helper, Signal::STOP);
        let mut bomb = victim(60123, 100, BOMB);
        wait_for_processes(&host, 60123, 90);
        assert_all_killed(&mut host, 60123, 90);
        bomb.wait().unwrap();
    });
}

#[test]
fn a_bomb_and_sleepers_die_by_the_helper_where_the_kernel_cannot_signal_them() {
    inside("commands::a_bomb_and_sleepers_die_by_the_helper_where_the_kernel_cannot_signal_them", || {
        let mut host = Host::start("kills = 'helper'\n");
        host.freeze_agent();
        let mut sleepers = victim(60124, 60, SLEEPERS);
        wait_for_processes(&host, 60124, 51);
        assert_all_killed(&mut host, 60124, 51);
        sleepers.wait().unwrap();
        let mut bomb = victim(60125, 100, BOMB);
        wait_for_processes(&host, 60125, 90);
        assert_all_killed(&mut host, 60125, 90);
        bomb.wait().unwrap();
    });
}

#[test]
fn what_must_not_be_obeyed_is_refused_with_its_reason_and_nobody_dies() {
    inside("commands::what_must_not_be_obeyed_is_refused_with_its_reason_and_nobody_dies", || {
        let mut host = Host::start("spared_users = [60127]\n");
        let mut spared = victim(60127, 20, "exec sleep 1000");
        let mut other = victim(60128, 20, "exec sleep 1000");
        wait_for_processes(&host, 60127, 1);
        wait_for_processes(&host, 60128, 1);
        for opcode in [Opcode::KillProcess, Opcode::KillTree] {
            assert_eq!(host.refused(opcode, 1), Refusal::InitProcess);
            assert_eq!(host.refused(opcode, host.agent_pid()), Refusal::Protected);
            assert_eq!(host.refused(opcode, std::process::id()), Refusal::Protected, "the owner's process");
            assert_eq!(host.refused(opcode, host.half().helper().1), Refusal::Protected);
            assert_eq!(host.refused(opcode, 999_999), Refusal::NoSuchProcess);
            assert_eq!(host.refused(opcode, spared.id()), Refusal::SparedUser);
        }
        assert_eq!(host.refused(Opcode::KillUser, 0), Refusal::SparedUser);
        assert_eq!(host.refused(Opcode::KillUser, 60127), Refusal::SparedUser);
        let start = host.of_user(60128)[0].start;
        let wrong = Order { start: start + 1, ..order(Opcode::KillProcess, other.id()) };
        let answer = host.order(0, wrong);
        assert_eq!((answer.state, answer.reason), (CommandState::Refused, Refusal::OtherProcess));
        assert!(other.try_wait().unwrap().is_none() && spared.try_wait().unwrap().is_none());
        let right = Order { start, ..order(Opcode::KillProcess, other.id()) };
        assert_eq!(host.order(0, right).state, CommandState::Done);
        other.wait().unwrap();
        spared.kill().unwrap();
    });
}

#[test]
fn a_stale_sequence_and_an_unknown_opcode_are_refused_and_the_next_command_is_obeyed() {
    inside(
        "commands::a_stale_sequence_and_an_unknown_opcode_are_refused_and_the_next_command_is_obeyed",
        || {
            let mut host = Host::start("");
            assert_eq!(host.order(5, order(Opcode::Nothing, 0)).state, CommandState::Done);
            for stale in [77, 0, 1 << 40] {
                host.write(5, stale, &order(Opcode::KillUser, 60129));
                let answer = host.answer(5, stale);
                assert_eq!((answer.state, answer.reason), (CommandState::Refused, Refusal::StaleSequence));
                assert_eq!(answer.accepted, 1);
            }
            let token = host.lease(5).word();
            let unknown = CommandSlot { opcode: 99, sequence: 2, token, ..CommandSlot::new_zeroed() };
            host.write_slot(5, &host.seal(5).put_on(unknown));
            let answer = host.answer(5, 2);
            assert_eq!((answer.state, answer.reason), (CommandState::Refused, Refusal::UnknownOpcode));
            assert_eq!(answer.accepted, 2);
            host.write(5, 3, &order(Opcode::Nothing, 0));
            let answer = host.answer(5, 3);
            assert_eq!((answer.state, answer.accepted), (CommandState::Done, 3));
        },
    );
}

#[test]
fn a_tree_dies_with_all_its_branches_and_what_is_not_in_it_lives() {
    inside("commands::a_tree_dies_with_all_its_branches_and_what_is_not_in_it_lives", || {
        for kills in ["auto", "helper"] {
            let mut host = Host::start(&format!("kills = '{kills}'\n"));
            let branch = "sh -c 'sleep 1000 & sh -c \"sleep 1000 & sleep 1000\" & wait; exec sleep 1000'";
            let mut tree = victim(60130, 60, &format!("{branch} & {branch} & wait; exec sleep 1000"));
            let mut other = victim(60130, 60, "exec sleep 1000");
            wait_for_processes(&host, 60130, 12);
            let counted = host.order(1, Order { dry_run: true, ..order(Opcode::KillTree, tree.id()) });
            assert_eq!((counted.state, counted.signalled), (CommandState::Done, 0));
            assert_eq!(counted.matched, counted.remaining);
            let answer = host.order(1, order(Opcode::KillTree, tree.id()));
            assert_eq!(answer.state, CommandState::Done, "{answer:?}");
            assert_eq!(answer.matched, counted.matched);
            assert_eq!(answer.signalled, answer.matched);
            tree.wait().unwrap();
            assert_eq!(host.of_user(60130).len(), 1, "{:?}", host.of_user(60130));
            assert!(other.try_wait().unwrap().is_none());
            other.kill().unwrap();
            other.wait().unwrap();
        }
    });
}

#[test]
fn a_command_signals_no_more_than_it_may_and_says_that_others_are_left() {
    inside("commands::a_command_signals_no_more_than_it_may_and_says_that_others_are_left", || {
        let mut host = Host::start("");
        let mut sleepers = victim(60131, 60, &format!("trap '' TERM; {SLEEPERS}"));
        wait_for_processes(&host, 60131, 51);
        let some = Order { most_victims: 7, ..order(Opcode::KillUser, 60131) };
        let answer = host.order(0, some);
        assert_eq!(answer.state, CommandState::GaveUp, "{answer:?}");
        assert_eq!((answer.matched, answer.signalled, answer.remaining), (51, 7, 44));
        assert_all_killed(&mut host, 60131, 44);
        sleepers.wait().unwrap();
    });
}
