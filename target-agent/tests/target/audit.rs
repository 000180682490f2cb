//! What the kernel half enters in the audit ring.

use crate::host::{Host, eventually, inside, key, order, victim};
use backdoors_sensor_box::layout::CommandSlot;
use backdoors_sensor_box::{
    AuditEntry, AuditKind, AuditView, CommandState, Opcode, Opcodes, Refusal, SensorKind, fetch_audit,
};
use backdoors_target_agent::seat::Seat;
use rustix::process::Signal;
use std::process::Command;
use zerocopy::FromBytes;

/// The ring, as a monitor's NIC would read it.
fn ring(host: &Host) -> AuditView {
    let memory = host.half().memory.audit.words.memory();
    fetch_audit(memory.len() as u64, |offset, into| memory.read_bytes(offset as usize, into)).unwrap()
}

fn entry(host: &Host, is_it: impl Fn(&AuditEntry) -> bool) -> AuditEntry {
    eventually("a record", || ring(host).entries.into_iter().find(|entry| is_it(entry)))
}

/// The order as a slot's monitor gives it, with a reason.
fn given(host: &Host, slot: usize, sequence: u64, opcode: Opcode, subject: u32, reason: &str) -> CommandSlot {
    let encoded = order(opcode, subject).encode(sequence, host.lease(slot), &host.seal(slot), reason);
    CommandSlot::read_from_bytes(&[&encoded.body[..], &encoded.sequence].concat()).unwrap()
}

#[test]
fn what_was_accepted_and_how_it_ended_is_entered_with_its_reason_while_the_agent_is_frozen() {
    inside(
        "audit::what_was_accepted_and_how_it_ended_is_entered_with_its_reason_while_the_agent_is_frozen",
        || {
            let host = Host::start("");
            let mut victim = victim(60181, 10, "exec sleep 1000");
            eventually("the victim", || (host.sensor(SensorKind::USER_PROCESSES, 60181) >= 1).then_some(()));
            host.freeze_agent();
            let reason = "fork-bomb: user 60181: so many processes that nobody else gets any";
            host.write_slot(0, &given(&host, 0, 1, Opcode::KillUser, 60181, reason));
            let answer = host.end_of(0, 1);
            victim.wait().unwrap();
            let ended = entry(&host, |entry| entry.kind == AuditKind::Ended);
            let judged = entry(&host, |entry| entry.kind == AuditKind::Judged);
            assert_eq!((judged.number, judged.state, ended.number), (1, CommandState::Running, 2));
            for entry in [&judged, &ended] {
                let AuditEntry { slot, sequence, subject, whose, .. } = entry;
                assert_eq!((*slot, *sequence, *subject, *whose), (0, 1, 60181, 1), "{entry:?}");
                assert_eq!((entry.opcode_name().as_str(), entry.reason.as_str()), ("kill-user", reason));
            }
            assert_eq!((ended.state, ended.refusal), (CommandState::Done, Refusal::None));
            let counts = (ended.matched, ended.signalled, ended.remaining);
            assert_eq!(counts, (answer.matched, answer.signalled, 0));
            let times = (ended.accepted_at, ended.first_signal_at, ended.last_death_at, ended.finished_at);
            assert_eq!(
                times,
                (answer.accepted_at, answer.first_signal_at, answer.last_death_at, answer.finished_at)
            );
            assert_eq!((judged.at, ended.at), (answer.accepted_at, answer.finished_at));
            assert!(ring(&host).wall_offset.is_some_and(|offset| offset > 1_600_000_000_000_000_000));
        },
    );
}

#[test]
fn refusals_are_entered_and_a_flood_of_forgeries_does_not_wash_the_ring_clean() {
    inside("audit::refusals_are_entered_and_a_flood_of_forgeries_does_not_wash_the_ring_clean", || {
        let mut host = Host::start("");
        assert_eq!(host.refused(Opcode::KillUser, 0), Refusal::SparedUser);
        host.half().set_seat(0, &Seat::new(key(0), 1, Opcodes::from_bits(0))).unwrap();
        assert_eq!(host.refused(Opcode::KillUser, 60182), Refusal::NotAllowed);
        let right = given(&host, 0, 3, Opcode::KillUser, 60183, "");
        let looks = 500;
        for forgery in 1..=looks {
            let told = host.acknowledgement(0).map(|answer| answer.accepted_at);
            host.write_slot(0, &CommandSlot { mac: [right.mac[0] ^ forgery, right.mac[1]], ..right });
            eventually("a refusal", || {
                let answer = host.acknowledgement(0)?;
                let new = Some(answer.accepted_at) != told && answer.reason == Refusal::NotAuthentic;
                new.then_some(())
            });
        }
        let view = ring(&host);
        let refusals: Vec<Refusal> = view.entries.iter().map(|entry| entry.refusal).collect();
        assert_eq!(refusals[..3], [Refusal::SparedUser, Refusal::NotAllowed, Refusal::NotAuthentic]);
        assert_eq!((view.entries[2].subject, view.entries[2].sequence), (60183, 3));
        // In these few seconds there is time for a handful, each twice as long after the one before.
        assert!(view.entries.len() <= 2 + 6, "{refusals:?}");
        assert_eq!(view.entries.len() as u64 - 2 + view.left_out, looks, "{view:?}");
        // The next record of the slot tells how many were left out since the last.
        host.write_slot(0, &given(&host, 0, 3, Opcode::Nothing, 0, "told"));
        assert_eq!(entry(&host, |entry| entry.reason == "told").state, CommandState::Done);
        let view = ring(&host);
        let counted: u64 = view.entries.iter().map(|entry| u64::from(entry.left_out)).sum();
        assert_eq!(counted, view.left_out, "{view:?}");
    });
}

#[test]
fn the_ring_outlives_the_agent_and_the_machines_own_operator_reads_it() {
    inside("audit::the_ring_outlives_the_agent_and_the_machines_own_operator_reads_it", || {
        let mut host = Host::start("");
        host.write_slot(0, &given(&host, 0, 1, Opcode::KillUser, 0, "by mistake\u{1b}[2J"));
        entry(&host, |entry| entry.refusal == Refusal::SparedUser);
        let report = |host: &Host, more: &[&str]| {
            let agent = env!("CARGO_BIN_EXE_backdoors-agent");
            let config = host.path("agent.toml");
            let told =
                Command::new(agent).args(["audit", "--config"]).arg(config).args(more).output().unwrap();
            assert!(told.status.success(), "{told:?}");
            String::from_utf8(told.stdout).unwrap()
        };
        let line = "slot 0   kill-user 0: refused: a spared user  [by mistake\u{fffd}[2J]\n1 of 1 records\n";
        assert!(report(&host, &[]).ends_with(line), "{}", report(&host, &[]));
        assert_eq!(report(&host, &["--last", "0"]), "0 of 1 records\n");
        host.end_agent(Signal::KILL);
        assert!(report(&host, &[]).ends_with(line));
        host.start_agent();
        host.write_slot(0, &given(&host, 0, 2, Opcode::Nothing, 0, ""));
        assert_eq!(entry(&host, |entry| entry.number == 2).sequence, 2);
        assert!(report(&host, &[]).contains("[by mistake"));
    });
}
