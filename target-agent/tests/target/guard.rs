//! What the kernel half makes of commands that are not their monitor's own, or more than it may do.

use crate::host::{Host, eventually, inside, key, may_all, order, victim};
use backdoors_sensor_box::layout::{Capabilities, CommandSlot};
use backdoors_sensor_box::writer::SensorBox;
use backdoors_sensor_box::{
    Command as Order, CommandState, EncodedCommand, LeaseWord, Opcode, Opcodes, Refusal, SensorKind,
    SharedWords,
};
use backdoors_target_agent::executor::Agreement;
use backdoors_target_agent::seat::Seat;
use backdoors_tests::mutations::Mutations;
use rustix::process::Signal;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, FromZeros};

const SLOTS: usize = 16;

fn wait_for_processes(host: &Host, user: u32, count: u64) {
    eventually("the victims", || (host.sensor(SensorKind::USER_PROCESSES, user) >= count).then_some(()));
}

/// The slot that gives an order to the holder of a slot's key.
fn sealed(host: &Host, slot: usize, order: &Order, sequence: u64) -> CommandSlot {
    let encoded = order.encode(sequence, host.lease(slot), &host.seal(slot), "");
    CommandSlot::read_from_bytes(&[&encoded.body[..], &encoded.sequence].concat()).unwrap()
}

/// Waits until the kernel half has looked at all slots since now.
fn wait_for_a_look(host: &Host) {
    let sensors = SensorBox::adopt(host.half().memory.sensors.words.clone()).unwrap();
    let ticks = sensors.find(SensorKind::KERNEL_TIMER, 0).unwrap();
    let before = sensors.value(ticks);
    // One tick may have been half over.
    eventually("two ticks", || (sensors.value(ticks) > before + 1).then_some(()));
}

#[test]
fn what_is_altered_foreign_or_from_before_is_refused_and_the_right_command_under_its_number_is_obeyed() {
    inside(
        "guard::what_is_altered_foreign_or_from_before_is_refused_and_the_right_command_under_its_number_is_obeyed",
        || {
            let host = Host::start("");
            let mut victim = victim(60171, 10, "exec sleep 1000");
            wait_for_processes(&host, 60171, 1);
            let right = sealed(&host, 0, &order(Opcode::KillUser, 60171), 1);
            let altered = [
                CommandSlot { opcode: Opcode::KillProcess as u32, ..right },
                CommandSlot { flags: 1, ..right },
                CommandSlot { subject: 60172, ..right },
                CommandSlot { start: 1, ..right },
                CommandSlot { most_victims: 1, ..right },
                CommandSlot { token: right.token + (1 << 32), ..right },
                CommandSlot { mac: [right.mac[0] ^ 1, right.mac[1]], ..right },
                CommandSlot { mac: [right.mac[0], right.mac[1] ^ 1 << 63], ..right },
                CommandSlot { mac: [0; 2], ..right },
                CommandSlot { sequence: 2, ..right },
                // Those of other monitors, and of who has no seat.
                sealed(&host, 1, &order(Opcode::KillUser, 60171), 1),
            ];
            host.lease(0);
            let refused = |given: &CommandSlot| {
                host.write_slot_code_last(0, given);
                wait_for_a_look(&host);
                let answer = eventually("an answer", || host.acknowledgement(0));
                let expected = (CommandState::Refused, Refusal::NotAuthentic, given.sequence, 0);
                assert_eq!(
                    (answer.state, answer.reason, answer.command, answer.accepted),
                    expected,
                    "{given:?}"
                );
            };
            altered.iter().for_each(&refused);
            let right = sealed(&host, 0, &order(Opcode::KillUser, 60171), 1);
            // In a slot that is nobody's, or its monitor's by a later key.
            for seat in [Seat::empty(), Seat::new([9; 16], 1, may_all())] {
                host.half().set_seat(0, &seat).unwrap();
                refused(&right);
            }
            assert!(victim.try_wait().unwrap().is_none());
            // None of that has used up its number.
            host.half().set_seat(0, &Seat::new(key(0), 1, may_all())).unwrap();
            assert_eq!(host.end_of(0, 1).state, CommandState::Done);
            victim.wait().unwrap();
        },
    );
}

#[test]
fn a_monitor_does_only_what_it_may() {
    inside("guard::a_monitor_does_only_what_it_may", || {
        let mut host = Host::start("");
        let mut victim = victim(60173, 10, "exec sleep 1000");
        wait_for_processes(&host, 60173, 1);
        let allow = |host: &Host, opcodes: &[Opcode]| {
            let may: Opcodes = opcodes.iter().copied().collect();
            host.half().set_seat(0, &Seat::new(key(0), 1, may)).unwrap();
        };
        allow(&host, &[]);
        for opcode in [Opcode::KillProcess, Opcode::KillTree] {
            assert_eq!(host.refused(opcode, victim.id()), Refusal::NotAllowed);
        }
        assert_eq!(host.refused(Opcode::KillUser, 60173), Refusal::NotAllowed);
        assert_eq!(host.order(0, order(Opcode::Nothing, 0)).state, CommandState::Done);
        allow(&host, &[Opcode::KillProcess]);
        assert_eq!(host.refused(Opcode::KillUser, 60173), Refusal::NotAllowed);
        assert_eq!(host.order(0, order(Opcode::KillProcess, victim.id())).state, CommandState::Done);
        victim.wait().unwrap();
    });
}

/// Whether a process has become this program and waits: one that runs can be killed without the helper.
fn is_asleep(pid: u32, program: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| stat.contains(&format!("({program}) S ")))
}

#[test]
fn a_command_under_way_ends_when_its_monitor_is_cut_off_and_its_victims_are_spared() {
    inside("guard::a_command_under_way_ends_when_its_monitor_is_cut_off_and_its_victims_are_spared", || {
        let host = Host::start("kills = 'helper'\n");
        let mut victim = victim(60178, 10, "exec sleep 1000");
        wait_for_processes(&host, 60178, 1);
        eventually("sleep", || is_asleep(victim.id(), "sleep").then_some(()));
        host.freeze_agent();
        // Nobody but the helper can kill who sleeps.
        host.signal(host.half().helper().1, Signal::STOP);
        host.write_slot(0, &sealed(&host, 0, &order(Opcode::KillUser, 60178), 1));
        let state = |wanted| {
            eventually("a state", || {
                let view = host.acknowledgement(0)?;
                (view.command == 1 && view.state == wanted).then_some(view)
            })
        };
        assert_eq!(state(CommandState::Running).accepted, 1);
        host.half().set_seat(0, &Seat::empty()).unwrap();
        let answer = state(CommandState::GaveUp);
        assert_eq!((answer.reason, answer.signalled), (Refusal::NotAllowed, 0), "{answer:?}");
        host.signal(host.half().helper().1, Signal::CONT);
        let rounds = host.half().helper().0;
        eventually("rounds of the helper", || (host.half().helper().0 > rounds + 2).then_some(()));
        assert!(victim.try_wait().unwrap().is_none());
        victim.kill().unwrap();
    });
}

#[test]
fn the_kernel_half_obeys_what_enough_monitors_want_in_time_and_nothing_else() {
    inside("guard::the_kernel_half_obeys_what_enough_monitors_want_in_time_and_nothing_else", || {
        let host = Host::start("");
        let demanded =
            |window| Agreement { needed: 2, window: Duration::from_millis(window), commands: may_all() };
        host.half().demand(&demanded(1000)).unwrap();
        assert_ne!(host.sensors().capabilities & Capabilities::AGREEMENT, 0);
        let mut victim = victim(60176, 10, "exec sleep 1000");
        wait_for_processes(&host, 60176, 1);
        let kill = order(Opcode::KillUser, 60176);
        let vote = |slot: usize, sequence: u64, order: &Order| {
            let encoded = order.encode_vote(sequence, &host.seal(slot), "");
            host.write_slot(
                slot,
                &CommandSlot::read_from_bytes(&[&encoded.body[..], &encoded.sequence].concat()).unwrap(),
            );
            let answer = host.answer(slot, sequence);
            assert_eq!((answer.state, answer.accepted), (CommandState::Voted, sequence), "{answer:?}");
        };
        let command = |sequence: u64| {
            host.write_slot(0, &sealed(&host, 0, &kill, sequence));
            eventually("an end", || {
                let view = host.acknowledgement(0)?;
                let on_its_way = matches!(view.state, CommandState::Awaiting | CommandState::Running);
                (view.command == sequence && !on_its_way).then_some(view)
            })
        };
        let refused = |sequence: u64| {
            let answer = command(sequence);
            assert_eq!(
                (answer.state, answer.reason),
                (CommandState::Refused, Refusal::NoAgreement),
                "{answer:?}"
            );
            assert_eq!((answer.accepted, answer.matched, answer.signalled), (sequence, 1, 0), "{answer:?}");
        };
        // Alone, also after it voted for itself, and for what others do not want.
        refused(1);
        vote(0, 2, &kill);
        refused(3);
        vote(1, 1, &order(Opcode::KillUser, 60177));
        refused(4);
        // A vote that is too old, and one of a monitor that was cut off.
        host.half().demand(&demanded(50)).unwrap();
        vote(1, 2, &kill);
        std::thread::sleep(Duration::from_millis(100));
        refused(5);
        host.half().demand(&demanded(20_000)).unwrap();
        vote(1, 3, &kill);
        host.half().set_seat(1, &Seat::empty()).unwrap();
        host.half().demand(&demanded(1000)).unwrap();
        refused(6);
        // The monitor that has the slot now is another one, and did not vote.
        host.half().set_seat(1, &Seat::new(key(1), 2, may_all())).unwrap();
        assert!(victim.try_wait().unwrap().is_none());
        host.half().demand(&demanded(20_000)).unwrap();
        // While it waits.
        host.write_slot(0, &sealed(&host, 0, &kill, 7));
        eventually("a command that waits", || {
            let view = host.acknowledgement(0)?;
            (view.command == 7 && view.state == CommandState::Awaiting).then_some(())
        });
        vote(2, 1, &kill);
        let answer = host.end_of(0, 7);
        assert_eq!(
            (answer.state, answer.matched, answer.signalled),
            (CommandState::Done, 1, 1),
            "{answer:?}"
        );
        victim.wait().unwrap();
        // The vote was good for that one only.
        host.half().demand(&demanded(100)).unwrap();
        refused(8);
    });
}

#[test]
fn of_mutated_commands_in_all_slots_the_kernel_half_obeys_none() {
    inside("guard::of_mutated_commands_in_all_slots_the_kernel_half_obeys_none", || {
        let full = std::env::var_os("BACKDOORS_FULL").is_some();
        let (most, time) = if full { (1_000_000, None) } else { (1_000_000, Some(Duration::from_secs(10))) };
        let host = Host::start("");
        let lease = || LeaseWord::from_word(host.half().memory.lease.words.load(0));
        let mut bystander = victim(60174, 10, "exec sleep 1000");
        let mut culprit = victim(60175, 10, "sleep 1000 & wait; exec sleep 1000");
        wait_for_processes(&host, 60174, 1);
        wait_for_processes(&host, 60175, 2);
        let mut mutations = Mutations::new(7);
        // What an enemy may have seen: one command of each slot that was obeyed.
        let dry = Order { dry_run: true, ..order(Opcode::KillUser, 60174) };
        let past: Vec<CommandSlot> = (0..SLOTS)
            .map(|slot| {
                let given = sealed(&host, slot, &dry, 1);
                host.write_slot(slot, &given);
                assert_eq!(host.answer(slot, 1).state, CommandState::Done);
                given
            })
            .collect();
        let (begun, mut written, mut judged) = (Instant::now(), 0, 0);
        while written < most && time.is_none_or(|time| begun.elapsed() < time) {
            // One slot after the other has the lease, so that nothing but the code is in the way.
            let holder = written / SLOTS % SLOTS;
            host.lease(holder);
            for slot in 0..SLOTS {
                let token = lease().token().unwrap().word();
                let good = host.seal(slot).put_on(CommandSlot {
                    opcode: Opcode::KillUser as u32,
                    // Bits without a meaning: no two good ones are alike, so that what is read while the next is written
                    // cannot be put together of the right halves of two wrong ones.
                    flags: (written as u32) << 4,
                    subject: 60174,
                    token,
                    sequence: 2,
                    ..CommandSlot::new_zeroed()
                });
                // Nor is it looked at meanwhile.
                let (words, sequence) =
                    (size_of::<CommandSlot>() / 8, EncodedCommand::SEQUENCE_OFFSET as usize / 8);
                host.half().memory.commands.words.store(slot * words + sequence, 1);
                host.write_slot(slot, &mutations.wrong(&good, &past, &host.seal(slot)));
            }
            written += SLOTS;
            wait_for_a_look(&host);
            for slot in 0..SLOTS {
                let answer = eventually("an answer", || host.acknowledgement(slot));
                assert_eq!(answer.accepted, 1, "slot {slot}: {answer:?}");
                assert_ne!(answer.state, CommandState::Running, "slot {slot}: {answer:?}");
                judged += usize::from(answer.state == CommandState::Refused);
            }
        }
        println!("{written} mutated commands in {:?}", begun.elapsed());
        assert!(judged > written / 10 * 9 && written > 1000, "{judged} of {written}");
        assert!(bystander.try_wait().unwrap().is_none());
        host.write_slot(3, &sealed(&host, 3, &order(Opcode::KillUser, 60175), 2));
        let answer = host.end_of(3, 2);
        assert_eq!((answer.state, answer.signalled), (CommandState::Done, 2), "{answer:?}");
        culprit.wait().unwrap();
        bystander.kill().unwrap();
    });
}
