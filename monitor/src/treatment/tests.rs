use super::*;
use crate::repair::Step;
use backdoors_sensor_box::DecodeError;
use backdoors_sensor_box::{AcknowledgementView, CommandState, Opcode, Process, ProcessView};

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
        Ended { command, outcome, took: at(1), part: Part::Asked }.most_signalled(40)
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
        Ended { command, outcome: Outcome::GaveUp(view), took: at(1), part: Part::Asked }.left_unkillable()
    };
    assert!(left(0, 1, Refusal::None) && left(4, 1, Refusal::None));
    assert!(!left(3, 1, Refusal::None), "the bound was reached");
    assert!(!left(0, 1, Refusal::NotTheHolder) && !left(0, 0, Refusal::None));
}

/// Processes by id, parent and user, all with one start.
fn table(processes: &[(u32, u32, u32)]) -> ProcessView {
    let process = |&(pid, parent, user)| Process { pid, parent, user, start: 7, ..Process::default() };
    ProcessView { processes: processes.iter().map(process).collect(), ..ProcessView::default() }
}

fn done() -> Outcome {
    Outcome::Done(view(CommandState::Done, Refusal::None))
}

fn gentle(commands: Vec<Command>) -> Treatment {
    Treatment::gentle(commands, at(2000), at(0), at(1000)).unwrap()
}

fn under_way(treatment: &Treatment) -> (Opcode, u64, u64) {
    let command = treatment.repair.command();
    (command.opcode, command.subject, command.argument)
}

#[test]
fn all_who_are_to_be_killed_are_given_notice_before_one_wait_for_all() {
    let refuse = Command { argument: 5, ..Command::new(Opcode::RefuseForks, 1000) };
    let user = Command::new(Opcode::KillUser, 1000);
    let treatment = gentle(vec![refuse, user, kill(9)]);
    assert_eq!((under_way(&treatment), treatment.length()), ((Opcode::RefuseForks, 1000, 5), 5));
    let treatment = treatment.go_on(at(1), done()).unwrap();
    assert_eq!(under_way(&treatment), (Opcode::SignalUser, 1000, 15));
    let treatment = treatment.go_on(at(2), done()).unwrap();
    assert_eq!(under_way(&treatment), (Opcode::SignalProcess, 9, 15));
    assert_eq!(treatment.rest(at(3)), None);
    let treatment = treatment.go_on(at(10), done()).unwrap();
    assert_eq!((treatment.rest(at(10)), treatment.length()), (Some(Rest::Until(at(110))), 5));
}

#[test]
fn who_is_left_when_the_time_is_over_is_killed_and_nobody_else() {
    let meant = table(&[(1, 0, 1), (2, 1, 5), (3, 1, 5)]).processes;
    let mut treatment = gentle(vec![kill(2), kill(3)]);
    for _ in 0..2 {
        treatment = treatment.go_on(at(10), done()).unwrap();
    }
    assert_eq!(treatment.rest(at(110)), Some(Rest::Look));
    let Looked::Waits(treatment) = treatment.looked(at(110), Some(&table(&[(2, 1, 5), (3, 1, 5)])), &meant)
    else {
        panic!("it did not wait");
    };
    assert_eq!(treatment.rest(at(120)), Some(Rest::Until(at(210))));
    let Looked::Waits(treatment) = treatment.looked(at(1950), Some(&table(&[(3, 1, 5)])), &meant) else {
        panic!("it did not wait");
    };
    assert_eq!(treatment.rest(at(1951)), Some(Rest::Until(at(2010))), "it looks once more at the end");
    let Looked::GoesOn(treatment, waited) = treatment.looked(at(2010), Some(&table(&[(3, 1, 5)])), &meant)
    else {
        panic!("it did not go on");
    };
    assert_eq!(waited, Waited { time: at(2000), left: Some(1) });
    assert_eq!((under_way(&treatment), treatment.length()), ((Opcode::KillProcess, 3, 0), 3));
    let ended = treatment.go_on(at(2100), done()).unwrap_err();
    assert_eq!(ended.last().unwrap().part, Part::AfterNotice);
}

#[test]
fn when_nobody_is_left_it_is_over_early() {
    let meant = table(&[(2, 1, 5)]).processes;
    let treatment = gentle(vec![kill(2)]).go_on(at(10), done()).unwrap();
    // Another process has the number.
    let mut successor = table(&[(2, 1, 6)]);
    successor.processes[0].start = 8;
    let Looked::Over(ended, waited) = treatment.looked(at(110), Some(&successor), &meant) else {
        panic!("it went on");
    };
    assert_eq!((ended.len(), waited), (1, Waited { time: at(100), left: Some(0) }));
}

#[test]
fn a_table_that_cannot_be_read_whole_lets_nobody_escape() {
    let waits = || gentle(vec![kill(2)]).go_on(at(10), done()).unwrap();
    let torn = ProcessView { torn: vec![4], ..table(&[]) };
    for table in [None, Some(&torn)] {
        assert!(matches!(waits().looked(at(110), table, &[]), Looked::Waits(_)));
        let Looked::GoesOn(treatment, waited) = waits().looked(at(2010), table, &[]) else {
            panic!("it is over")
        };
        assert_eq!((under_way(&treatment), waited.left), ((Opcode::KillProcess, 2, 0), None));
    }
}

#[test]
fn who_loses_its_parent_to_a_notice_is_killed_by_itself_within_the_bound() {
    let tree = |most_victims| Command { most_victims, ..Command::of_process(Opcode::KillTree, 2, 7) };
    let meant = table(&[(2, 1, 5), (3, 2, 5), (4, 2, 5)]).processes;
    // A process of somebody else has come.
    let orphans = table(&[(3, 1, 5), (4, 1, 5), (5, 1, 5)]);
    for (most, expected) in [(0, vec![3, 4]), (1, vec![3])] {
        let treatment = gentle(vec![tree(most)]).go_on(at(10), done()).unwrap();
        let Looked::GoesOn(mut treatment, waited) = treatment.looked(at(2010), Some(&orphans), &meant) else {
            panic!("it is over");
        };
        assert_eq!(waited.left, Some(2));
        let mut killed = Vec::new();
        let ended = loop {
            killed.push(treatment.repair.command().subject);
            assert_eq!(treatment.repair.command().opcode, Opcode::KillProcess);
            match treatment.go_on(at(2020), done()) {
                Ok(next) => treatment = next,
                Err(ended) => break ended,
            }
        };
        assert_eq!((killed, ended.len()), (expected.clone(), 1 + expected.len()));
    }
}

#[test]
fn a_notice_that_the_target_does_not_give_saves_nobody_and_is_not_waited_for() {
    let refused = |reason| Outcome::Refused(view(CommandState::Refused, reason));
    let treatment = gentle(vec![kill(2)]).go_on(at(10), refused(Refusal::NotAllowed)).unwrap();
    assert_eq!((treatment.rest(at(10)), under_way(&treatment)), (None, (Opcode::KillProcess, 2, 0)));
    let ended = treatment.go_on(at(20), refused(Refusal::NoSuchProcess)).unwrap_err();
    assert!(!ended[0].was_carried_out() && ended[0].was_no_notice());
    assert!(ended[1].was_carried_out() && ended[1].was_not_needed(), "it ended by itself");
    let unknown = gentle(vec![kill(2)]).go_on(at(10), Outcome::Unknown(Doubt::MadeAnew)).unwrap_err();
    assert_eq!(unknown.len(), 1);
}

#[test]
fn without_grace_or_without_a_kill_nobody_is_given_notice() {
    let none = Treatment::gentle(vec![kill(2)], at(0), at(0), at(1000)).unwrap();
    let freeze = gentle(vec![Command::new(Opcode::FreezeCgroup, 9)]);
    let dry = gentle(vec![Command { dry_run: true, ..kill(2) }]);
    assert_eq!((none.length(), freeze.length(), dry.length()), (1, 1, 1));
}

#[test]
fn what_is_no_kill_leaves_nobody_unkillable_and_strikes_whom_it_means() {
    let ended =
        |opcode, outcome| Ended { command: Command::new(opcode, 9), outcome, took: at(1), part: Part::Asked };
    let alive =
        AcknowledgementView { remaining: 3, signalled: 3, ..view(CommandState::GaveUp, Refusal::None) };
    assert!(ended(Opcode::KillCgroup, Outcome::GaveUp(alive)).left_unkillable());
    assert!(!ended(Opcode::SignalCgroup, Outcome::GaveUp(alive)).left_unkillable());
    assert_eq!(ended(Opcode::FreezeCgroup, done()).most_signalled(40), Some(40));
    let failed = Outcome::GaveUp(view(CommandState::GaveUp, Refusal::NotCarriedOut));
    assert!(!ended(Opcode::FreezeCgroup, failed).was_carried_out());
}
