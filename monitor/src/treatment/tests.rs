use super::*;
use crate::repair::Step;
use backdoors_sensor_box::DecodeError;
use backdoors_sensor_box::{AcknowledgementView, CommandState, Opcode};

fn kill(pid: u32) -> Command {
    Command::of_process(Opcode::KillProcess, pid, 7)
}

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn treatment() -> Treatment {
    Treatment::new(vec![kill(1), kill(2), kill(3)], at(0), at(1000)).unwrap()
}

fn view(state: CommandState, reason: Refusal) -> AcknowledgementView {
    AcknowledgementView {
        command: 1,
        accepted: 1,
        state,
        reason,
        matched: 1,
        signalled: 1,
        remaining: 0,
        sweeps: 1,
        accepted_at: 0,
        first_signal_at: 0,
        last_death_at: 0,
        finished_at: 0,
        failure: 0,
    }
}

#[test]
fn commands_follow_each_other_each_with_patience_of_its_own() {
    let done = Outcome::Done(view(CommandState::Done, Refusal::None));
    let second = treatment().go_on(at(900), done).unwrap();
    assert_eq!((second.repair.command().subject, second.length(), second.started()), (2, 3, at(0)));
    let mut third = second.go_on(at(1800), done).unwrap();
    assert!(matches!(third.repair.step(at(2799), None), Step::Fetch));
    let ended = third.go_on(at(2000), done).unwrap_err();
    let told: Vec<_> = ended.iter().map(|ended| (ended.command.subject, ended.took)).collect();
    assert_eq!(told, [(1, at(900)), (2, at(900)), (3, at(200))]);
}

#[test]
fn the_first_that_is_not_obeyed_or_unknown_is_the_last() {
    for outcome in [
        Outcome::Refused(view(CommandState::Refused, Refusal::NoSuchProcess)),
        Outcome::GaveUp(view(CommandState::GaveUp, Refusal::NotTheHolder)),
        Outcome::TimedOut { waiting_for: Wait::End, last: None },
        Outcome::Unknown(Doubt::MadeAnew),
    ] {
        let ended = treatment().go_on(at(1), outcome).unwrap_err();
        assert_eq!((ended.len(), ended[0].was_carried_out()), (1, false), "{outcome:?}");
    }
}

#[test]
fn victims_that_would_not_die_do_not_save_the_others() {
    let gave_up = Outcome::GaveUp(view(CommandState::GaveUp, Refusal::None));
    assert_eq!(treatment().go_on(at(1), gave_up).unwrap().repair.command().subject, 2);
}

#[test]
fn nothing_to_do_is_no_treatment() {
    assert!(Treatment::new(Vec::new(), at(0), at(1000)).is_none());
}

#[test]
fn only_who_certainly_struck_nobody_is_counted_for_nobody() {
    let most = |most_victims: u64, outcome: Outcome| {
        let command = Command { most_victims, ..kill(1) };
        Ended { command, outcome, took: at(1) }.most_signalled(40)
    };
    let signalled = |signalled| AcknowledgementView { signalled, ..view(CommandState::Done, Refusal::None) };
    assert_eq!(most(0, Outcome::Done(signalled(7))), Some(7));
    assert_eq!(most(100, Outcome::GaveUp(signalled(7))), Some(7));
    assert_eq!(most(100, Outcome::Done(signalled(u32::MAX))), Some(100), "the target cannot mean that");
    let refused = Outcome::Refused(view(CommandState::Refused, Refusal::SparedUser));
    let unread =
        |written| Outcome::Unknown(Doubt::Unreadable { error: DecodeError::Torn { what: "x" }, written });
    for nobody in [
        refused,
        Outcome::TimedOut { waiting_for: Wait::Path, last: None },
        Outcome::TimedOut { waiting_for: Wait::EarlierCommand, last: None },
        Outcome::TimedOut { waiting_for: Wait::Lease, last: None },
        unread(false),
    ] {
        assert_eq!(most(100, nobody), None, "{nobody:?}");
    }
    for perhaps in [
        Outcome::TimedOut { waiting_for: Wait::PathAfterWrite, last: None },
        Outcome::TimedOut { waiting_for: Wait::End, last: None },
        Outcome::Unknown(Doubt::MadeAnew),
        unread(true),
    ] {
        assert_eq!((most(100, perhaps), most(0, perhaps)), (Some(100), Some(40)), "{perhaps:?}");
    }
}

#[test]
fn who_was_not_signalled_is_not_unkillable() {
    let left = |most_victims: u64, remaining: u32, reason: Refusal| {
        let view = AcknowledgementView { remaining, signalled: 3, ..view(CommandState::GaveUp, reason) };
        let command = Command { most_victims, ..kill(1) };
        Ended { command, outcome: Outcome::GaveUp(view), took: at(1) }.left_unkillable()
    };
    assert!(left(0, 1, Refusal::None) && left(4, 1, Refusal::None));
    assert!(!left(3, 1, Refusal::None), "the bound was reached");
    assert!(!left(0, 1, Refusal::NotTheHolder) && !left(0, 0, Refusal::None));
}
