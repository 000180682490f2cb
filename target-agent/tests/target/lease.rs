//! Whoever holds the lease is obeyed, and nobody else.

use crate::host::{Host, eventually, inside, order, victim};
use backdoors_sensor_box::{
    AcknowledgementView, CommandState, LeaseWord, Opcode, Refusal, SensorKind, SharedWords,
};
use rustix::process::Signal;

const SLEEPERS: &str = "i=0; while [ $i -lt 9 ]; do sleep 1000 & i=$((i+1)); done; wait; exec sleep 1000";

fn wait_for_processes(host: &Host, user: u32, count: u64) {
    eventually("the victims", || (host.sensor(SensorKind::USER_PROCESSES, user) >= count).then_some(()));
}

fn sleeps(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") S "))
}

fn not_the_holder(answer: &AcknowledgementView) -> bool {
    answer.reason == Refusal::NotTheHolder
}

#[test]
fn a_command_is_refused_unless_its_token_is_that_of_the_lease_and_its_slot_the_holders() {
    inside(
        "lease::a_command_is_refused_unless_its_token_is_that_of_the_lease_and_its_slot_the_holders",
        || {
            let mut host = Host::start("");
            let mut victim = victim(60161, 10, "exec sleep 1000");
            wait_for_processes(&host, 60161, 1);
            let kill = order(Opcode::KillUser, 60161);
            let earlier = host.take_lease(0);
            let elsewhere = host.take_lease(1);
            let held = host.take_lease(0);
            let words = host.half().memory.lease.words.clone();
            let lease = LeaseWord::from_word(words.load(0));
            for (index, token) in [earlier, elsewhere].into_iter().enumerate() {
                let sequence = index as u64 + 1;
                host.write_as(0, sequence, &kill, token);
                let answer = host.answer(0, sequence);
                assert_eq!(answer.state, CommandState::Refused, "{answer:?}");
                assert!(not_the_holder(&answer) && answer.accepted == sequence, "{answer:?}");
            }
            // The holder's token in another monitor's slot.
            host.write_as(1, 1, &kill, held);
            assert!(not_the_holder(&host.answer(1, 1)));
            // A lease that was given up is nobody's, with whatever token.
            words.compare_exchange(0, lease.word(), lease.released().word()).unwrap();
            host.write_as(0, 3, &kill, held);
            assert!(not_the_holder(&host.answer(0, 3)));
            assert!(victim.try_wait().unwrap().is_none());
            // A monitor that renews in the meantime has lost nothing.
            words.store(0, lease.renewed().renewed().word());
            host.write_as(0, 4, &kill, held);
            let answer = host.answer(0, 4);
            assert_eq!((answer.state, answer.signalled), (CommandState::Done, 1), "{answer:?}");
            victim.wait().unwrap();
        },
    );
}

#[test]
fn a_command_under_way_stops_when_another_monitor_takes_the_lease_and_its_victims_are_spared() {
    inside(
        "lease::a_command_under_way_stops_when_another_monitor_takes_the_lease_and_its_victims_are_spared",
        || {
            let mut host = Host::start("kills = 'helper'\n");
            let helper = host.half().helper().1;
            let mut victim = victim(60162, 20, SLEEPERS);
            wait_for_processes(&host, 60162, 10);
            // Nobody but the helper can kill who sleeps.
            eventually("sleep", || {
                host.of_user(60162).iter().all(|process| sleeps(process.pid)).then_some(())
            });
            host.freeze_agent();
            host.signal(helper, Signal::STOP);
            host.write(0, 1, &order(Opcode::KillUser, 60162));
            let condemned = |host: &Host| {
                let words = &host.half().condemned.words;
                (0..words.len()).filter(|index| words.load(*index) != 0).count()
            };
            eventually("sentences", || (condemned(&host) == 10).then_some(()));
            host.take_lease(1);
            let answer = host.answer(0, 1);
            assert_eq!(answer.state, CommandState::GaveUp, "{answer:?}");
            assert!(not_the_holder(&answer) && answer.remaining == 10, "{answer:?}");
            assert_eq!(condemned(&host), 0);
            host.signal(helper, Signal::CONT);
            let rounds = host.half().helper().0;
            eventually("rounds of the helper", || (host.half().helper().0 > rounds + 2).then_some(()));
            assert!(victim.try_wait().unwrap().is_none());
            assert_eq!(host.sensor(SensorKind::USER_PROCESSES, 60162), 10);
            // The one that has the lease now is obeyed, and the first one again once it took it back.
            let order = |subject| order(Opcode::KillUser, subject);
            host.write(1, 1, &order(60162));
            let answer = host.answer(1, 1);
            assert_eq!((answer.state, answer.signalled), (CommandState::Done, 10), "{answer:?}");
            victim.wait().unwrap();
            host.write(0, 2, &order(60162));
            assert_eq!(host.answer(0, 2).state, CommandState::Done);
        },
    );
}

#[test]
fn the_lease_goes_round_and_each_slot_kills_only_whom_it_names() {
    inside("lease::the_lease_goes_round_and_each_slot_kills_only_whom_it_names", || {
        let mut host = Host::start("");
        let users = 60140..60148;
        let mut victims: Vec<_> = users
            .clone()
            .map(|user| victim(user, 30, "sleep 1000 & sleep 1000 & wait; exec sleep 1000"))
            .collect();
        for user in users.clone() {
            wait_for_processes(&host, user, 3);
        }
        for (slot, user) in users.clone().enumerate() {
            host.write(slot, 1, &order(Opcode::KillUser, user));
            let answer = host.answer(slot, 1);
            assert_eq!(
                (answer.state, answer.matched, answer.signalled),
                (CommandState::Done, 3, 3),
                "{slot}"
            );
            for later in users.clone().skip(slot + 1) {
                assert_eq!(host.sensor(SensorKind::USER_PROCESSES, later), 3);
            }
        }
        for victim in &mut victims {
            victim.wait().unwrap();
        }
    });
}
