//! The whole way from sensors to repair, against a simulated machine under a clock turned by hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

// Parts of it serve the other tests.
#[allow(dead_code, unused_imports)]
mod simulation;

use backdoors_monitor::clock::Clock;
use backdoors_monitor::journal::What;
use backdoors_monitor_api::Reach;
use backdoors_sensor_box::layout::{CommandSlot, NO_LIMIT, REASON_BYTES, RegionKind};
use backdoors_sensor_box::{Command, LeaseWord, Opcode, SharedWords};
use proptest::prelude::*;
use simulation::{Fault, Simulation};
use std::time::Duration;
use zerocopy::FromBytes;

const ACT: &str = "[[target.healer]]\nname = 'forkbomb'\nmode = 'act'\ncooldown = '1s'\n";
const BOMBER: u32 = 60001;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A simulation whose monitor has connected.
fn connected(lines: &str) -> Simulation {
    let mut simulation = Simulation::new(lines);
    simulation.machine.crowd(1, 1000, 10, 200);
    simulation.run(ms(500));
    assert_eq!(simulation.take_kinds(), ["connected", "lease"]);
    simulation
}

/// What was written, which is authentic and has a reason, without its code and reason.
fn written(simulation: &Simulation) -> CommandSlot {
    let slot = simulation.machine.slot();
    assert!(simulation.machine.seal().is_on(&slot));
    assert!(String::from_utf8_lossy(&slot.reason).starts_with("forkbomb: user 60001: "), "{slot:?}");
    CommandSlot { mac: [0; 2], reason: [0; REASON_BYTES], ..slot }
}

/// The command that kills the bomber's processes, bounded by all of the default budget.
fn kill_user(simulation: &Simulation, sequence: u64) -> CommandSlot {
    let command = Command { most_victims: 2000, ..Command::new(Opcode::KillUser, u64::from(BOMBER)) };
    let token = LeaseWord::default().taken_by(simulation::Machine::SLOT).token().unwrap();
    let encoded = command.encode(sequence, token, &simulation.machine.seal(), "");
    let bytes = [&encoded.body[..], &encoded.sequence[..]].concat();
    CommandSlot { mac: [0; 2], ..CommandSlot::read_from_bytes(&bytes).unwrap() }
}

const REPAIR: [&str; 6] = ["event", "diagnosis", "command-written", "acknowledged", "repaired", "cleared"];

#[test]
fn a_fork_bomb_is_noticed_diagnosed_and_eradicated_by_reads_and_writes() {
    let mut simulation = connected(ACT);
    // From here on the agent on the target answers nobody.
    simulation.path.set_agent_answers(false);
    simulation.machine.crowd(20, BOMBER, 398, 200);
    simulation.run(ms(500));
    assert_eq!(simulation.machine.alive(BOMBER), 0);
    assert_eq!(simulation.machine.alive(1000), 10);
    assert_eq!(written(&simulation), kill_user(&simulation, 1));
    let journal = simulation.entries.lock().unwrap().clone();
    let kinds: Vec<String> = simulation.take_kinds();
    assert_eq!(kinds, REPAIR);
    let texts: Vec<&str> = journal.iter().map(|entry| entry.text.as_str()).collect();
    assert_eq!(
        texts[..2],
        [
            "user.processes[60001] is 398 (limit 200)",
            "forkbomb blames user 60001: user 60001 has 398 of 409 processes (limit 200); \
             most common command: sh (398 of 398); 398 to strike"
        ]
    );
    assert_eq!(texts[2], "command 1 written: kill-user 60001 (by forkbomb)");
    let What::Repaired(end) = &journal[4].what else { panic!("{:?}", journal[4]) };
    assert_eq!((end.matched, end.signalled, end.remaining), (398, 398, 0));
    assert_eq!(end.last_death_after_ns.map(|after| after / 1_000_000), Some(1));
    // From the event to the end: one poll after the other, no sampling period in between.
    assert!(journal[4].monotonic_ns - journal[0].monotonic_ns <= 5_000_000);
}

#[test]
fn sampling_goes_on_while_a_repair_runs() {
    let mut simulation = connected(&format!("period = '10ms'\nfastest = '10ms'\npatience = '300ms'\n{ACT}"));
    simulation.machine.deaf = true;
    simulation.machine.crowd(20, BOMBER, 300, 200);
    let before = simulation.sampler.status().lock().unwrap().samples;
    simulation.run(ms(1000));
    let after = simulation.sampler.status().lock().unwrap().samples;
    // Jitter makes it 80 to 100 % of the period.
    assert!((99..=125).contains(&(after - before)), "{}", after - before);
    assert_eq!(simulation.take_kinds(), ["event", "diagnosis", "command-written", "timed-out"]);
}

#[test]
fn a_bomb_that_comes_back_is_repaired_again_after_the_cooldown() {
    let mut simulation = connected(&format!("budget = {{ victim_cooldown = '1s' }}\n{ACT}"));
    for command in 1..=4 {
        simulation.machine.crowd(20, BOMBER, 300, 200);
        let mut waited = 0;
        while simulation.machine.alive(BOMBER) > 0 {
            simulation.run(ms(10));
            waited += 10;
            assert!(waited < 3000);
        }
        let kill = simulation.machine.obeyed.last().unwrap();
        assert_eq!((kill.sequence, kill.subject), (command, u64::from(BOMBER)));
        // What those before took is no longer there for this one.
        assert_eq!(kill.most_victims, 2000 - 300 * (command - 1));
        if command > 1 {
            assert!((900..1300).contains(&waited), "a cooldown of 1 s, and {waited} ms were waited");
        }
    }
}

#[test]
fn healers_that_may_not_act_only_tell() {
    for (mode, kinds) in
        [("propose", &["event", "diagnosis", "proposal"][..]), ("observe", &["event", "diagnosis"])]
    {
        let mut simulation = connected(&ACT.replace("'act'", &format!("'{mode}'")));
        simulation.machine.crowd(20, BOMBER, 300, 200);
        simulation.run(ms(900));
        assert_eq!(simulation.take_kinds(), kinds);
        assert!(simulation.machine.slot_is_blank());
        assert_eq!(simulation.machine.alive(BOMBER), 300);
    }
}

#[test]
fn why_nobody_is_blamed_is_told_once() {
    let mut simulation = connected(&format!("limits = {{ processes = 20 }}\n{ACT}least_share = 0.95\n"));
    simulation.machine.crowd(20, BOMBER, 15, 200);
    simulation.run(ms(5000));
    let texts = simulation.take_texts();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(
        texts[1].starts_with(
            "forkbomb blames nobody: too-many-processes: user 60001 has 15 of 26 processes (limit 20 for the \
             machine), too small a share to stand out (least 95 %); "
        ),
        "{texts:?}"
    );
}

#[test]
fn a_monitor_that_restarts_goes_on_with_the_sequence() {
    let mut simulation = connected(ACT);
    simulation.machine.accept_up_to(41);
    simulation.machine.crowd(20, BOMBER, 300, 200);
    simulation.run(ms(300));
    assert_eq!(written(&simulation), kill_user(&simulation, 42));
    simulation.restart_monitor();
    simulation.machine.crowd(20, BOMBER, 300, 200);
    simulation.run(ms(300));
    assert_eq!(written(&simulation), kill_user(&simulation, 43));
    assert_eq!(simulation.machine.alive(BOMBER), 0);
}

#[test]
fn a_monitor_that_restarts_in_the_middle_of_a_repair_repeats_nothing_that_is_done() {
    let mut simulation = connected(ACT);
    simulation.machine.crowd(20, BOMBER, 300, 200);
    simulation.run(ms(101));
    simulation.restart_monitor();
    simulation.run(ms(3000));
    assert_eq!(simulation.machine.alive(BOMBER), 0);
    assert_eq!(simulation.machine.obeyed.len(), 1);
}

#[test]
fn a_sequence_that_somebody_used_meanwhile_is_replaced() {
    let mut simulation = connected(ACT);
    simulation.machine.deaf = true;
    simulation.machine.crowd(20, BOMBER, 300, 200);
    simulation.run(ms(110));
    assert_eq!(written(&simulation), kill_user(&simulation, 1));
    // The target looks at last, when command 1 is stale already.
    simulation.machine.accept_up_to(0);
    simulation.machine.deaf = false;
    simulation.machine.tick(ms(0));
    simulation.run(ms(500));
    assert_eq!(simulation.machine.alive(BOMBER), 0);
}

#[test]
fn a_command_is_obeyed_once_however_the_path_breaks_while_it_is_written() {
    for fault in [Fault::AnswerLost, Fault::RequestLost] {
        let mut simulation = connected(ACT);
        simulation.path.on_next_write(fault);
        simulation.machine.crowd(20, BOMBER, 300, 200);
        simulation.run(ms(500));
        assert_eq!(simulation.machine.alive(BOMBER), 0, "{fault:?}");
        assert_eq!(simulation.machine.obeyed.len(), 1, "{fault:?}");
        assert_eq!(simulation.path.dials(), 1, "a spare connection carries on");
    }
}

#[test]
fn a_repair_survives_the_loss_of_every_connection() {
    let mut simulation = connected(ACT);
    simulation.machine.deaf = true;
    simulation.machine.crowd(20, BOMBER, 300, 200);
    simulation.run(ms(150));
    simulation.path.break_connections();
    simulation.run(ms(400));
    simulation.machine.deaf = false;
    simulation.run(ms(400));
    assert_eq!(simulation.machine.alive(BOMBER), 0);
    assert_eq!(simulation.machine.obeyed.len(), 1);
    assert_eq!(simulation.path.dials(), 2);
    assert!(simulation.take_kinds().contains(&"repaired".to_owned()));
}

#[test]
fn a_monitor_whose_key_was_replaced_shakes_hands_anew_and_its_command_is_obeyed_once() {
    let mut simulation = connected(ACT);
    // Somebody else shook hands with its identity.
    *simulation.machine.key.lock().unwrap() = [9; 16];
    simulation.machine.crowd(20, BOMBER, 300, 200);
    simulation.run(ms(1500));
    assert_eq!(simulation.machine.alive(BOMBER), 0);
    let obeyed: Vec<u64> = simulation.machine.obeyed.iter().map(|command| command.sequence).collect();
    assert_eq!((obeyed, simulation.path.dials()), (vec![1], 2));
    assert!(simulation.take_kinds().contains(&"repaired".to_owned()));
}

#[test]
fn spares_carry_on_while_the_agent_is_frozen_and_a_lost_target_is_found_again_by_itself() {
    let mut simulation = connected("lost_after = '300ms'\n");
    simulation.path.set_agent_answers(false);
    simulation.path.break_connections();
    simulation.run(ms(2000));
    let journal = simulation.take();
    assert_eq!(journal.len(), 1, "{journal:?}");
    let What::Lost { silence_ns, .. } = &journal[0] else { panic!("{journal:?}") };
    assert!((300_000_000..=500_000_000).contains(silence_ns), "{silence_ns}");
    assert_eq!(simulation.sampler.status().lock().unwrap().reach, Reach::Lost);
    simulation.path.set_agent_answers(true);
    simulation.run(ms(6000));
    assert_eq!(simulation.take_kinds(), ["recovered", "late"]);
    assert_eq!(simulation.sampler.status().lock().unwrap().reach, Reach::Reachable);
}

#[test]
fn memory_made_anew_is_taken_up_and_watched_without_help() {
    let mut simulation = connected(ACT);
    simulation.restart_agent();
    simulation.run(ms(2000));
    let kinds = simulation.take_kinds();
    assert!(kinds.contains(&"made-anew".to_owned()), "{kinds:?}");
    assert!(!kinds.contains(&"lost".to_owned()), "{kinds:?}");
    simulation.machine.crowd(20, BOMBER, 300, 200);
    simulation.run(ms(300));
    assert_eq!(simulation.take_kinds(), REPAIR);
    assert_eq!(written(&simulation), kill_user(&simulation, 1));
}

#[test]
fn a_repair_ends_in_doubt_when_memory_is_made_anew_and_the_bomb_is_found_again() {
    let mut simulation = connected(ACT);
    simulation.machine.deaf = true;
    simulation.machine.crowd(20, BOMBER, 300, 200);
    simulation.run(ms(200));
    assert_eq!(simulation.take_kinds(), ["event", "diagnosis", "command-written"]);
    simulation.restart_agent();
    simulation.machine.crowd(20, BOMBER, 300, 200);
    simulation.run(ms(800));
    let texts = simulation.take_texts();
    let doubt = "outcome unknown: the target's agent made its memory anew meanwhile";
    assert!(texts.iter().any(|text| text == doubt), "{texts:?}");
    // All of the victims that the command was granted may be dead.
    simulation.run(ms(55_000));
    assert_eq!(simulation.machine.alive(BOMBER), 300);
    simulation.run(ms(10_000));
    assert_eq!(simulation.machine.alive(BOMBER), 0);
    assert_eq!(simulation.machine.obeyed.len(), 1);
}

#[test]
fn revoked_keys_lead_to_a_new_handshake() {
    let mut simulation = connected("");
    simulation.path.revoke_keys();
    simulation.run(ms(2000));
    assert_eq!(simulation.path.dials(), 2);
    assert_eq!(simulation.sampler.status().lock().unwrap().reach, Reach::Reachable);
}

#[test]
fn a_kernel_that_hangs_is_told_from_a_path_that_is_lost() {
    let mut simulation = connected("");
    simulation.machine.hung = true;
    simulation.run(ms(1000));
    let texts = simulation.take_texts();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert_eq!(texts[0], "kernel.timer stood still for 500.0 ms (limit 500.0 ms)");
    assert!(texts[1].starts_with("kernel is failed (100 % sure): kernel.timer has stood at"), "{texts:?}");
    simulation.machine.hung = false;
    simulation.run(ms(200));
    assert_eq!(simulation.take_kinds(), ["cleared", "verdict"]);
}

#[test]
fn a_monitor_that_was_late_accuses_nobody() {
    let mut simulation = connected("");
    simulation.machine.hung = true;
    simulation.sleep(ms(60_000));
    simulation.machine.hung = false;
    simulation.run(ms(400));
    assert_eq!(simulation.take_kinds(), ["late"]);
}

#[test]
fn what_is_no_sensor_box_is_told_once_and_forgotten_when_it_is_one_again() {
    let version_2 = 2 | 128 << 32;
    for (word, value, complaint) in [
        (0, 0xdead, "not a sensor box: magic"),
        (1, version_2, "sensor box has layout version 2, this monitor reads 1"),
        (5, 5000 | 5000 << 32, "sensor box contradicts itself: number of sensors"),
        (5, 4000 | 4000 << 32, "sensor box is cut short"),
        (4, 1, "sensor box was torn"),
    ] {
        let mut simulation = connected("");
        let words = simulation.machine.region(RegionKind::SENSORS).0;
        let good = words.load(word);
        words.store(word, value);
        simulation.run(ms(3000));
        let texts = simulation.take_texts();
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains(complaint), "{texts:?}");
        assert_eq!(simulation.sampler.status().lock().unwrap().reach, Reach::Unreadable);
        words.store(word, good);
        simulation.run(ms(300));
        assert_eq!(simulation.take_kinds(), ["late"]);
        assert_eq!(simulation.sampler.status().lock().unwrap().reach, Reach::Reachable);
    }
}

#[test]
fn the_lease_is_renewed_before_it_runs_out_however_soon_readings_are_answered() {
    let mut simulation = connected("lease = { duration = '300ms' }");
    for _ in 0..40 {
        simulation.run(ms(50));
        let until = simulation.sampler.status().lock().unwrap().lease.unwrap().held_until;
        assert!(until.is_some_and(|until| simulation.clock.monotonic() < until), "{until:?}");
    }
}

#[test]
fn that_every_connection_waits_hides_not_what_they_wait_for() {
    let mut simulation = connected("connections = 1");
    simulation.path.set_answers(false);
    // Less than it takes until the connection is given up.
    for _ in 0..10 {
        simulation.run(ms(10));
        let problem = simulation.sampler.status().lock().unwrap().problem.clone();
        assert!(problem.as_ref().is_none_or(|told| told.starts_with("no answer within")), "{problem:?}");
    }
    assert!(simulation.sampler.status().lock().unwrap().problem.is_some());
}

#[test]
fn a_directory_without_sensor_box_is_named_and_read_again() {
    let mut simulation = Simulation::new("");
    simulation.path.serve_kinds(&simulation.machine, &[RegionKind::PROCESSES]);
    simulation.run(ms(2000));
    let texts = simulation.take_texts();
    assert!(texts[0].contains("the target's directory lists no sensor box"), "{texts:?}");
    simulation.path.serve(&simulation.machine);
    simulation.run(ms(1000));
    assert_eq!(simulation.take_kinds(), ["connected", "lease"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Memory that a broken or hostile target fills with anything.
    #[test]
    fn whatever_is_in_the_targets_memory_the_monitor_goes_on(
        damage in prop::collection::vec(
            (1..=4u32, 0..80usize, prop_oneof![any::<u64>(), 0..9u64, Just(NO_LIMIT)]), 1..40),
        pauses in prop::collection::vec(1..300u64, 40),
    ) {
        let mut simulation = Simulation::new(ACT);
        simulation.machine.crowd(1, BOMBER, 20, 10);
        simulation.machine.hung = true;
        for ((kind, word, value), pause) in damage.into_iter().zip(pauses) {
            let words = simulation.machine.region(kind).0;
            words.store(word % words.len(), value);
            simulation.run(ms(pause));
        }
        prop_assert!(simulation.sampler.status().lock().unwrap().samples < 1_000_000);
    }
}
