use super::*;
use backdoors_sensor_box::{LeaseWord, Opcode};
use proptest::prelude::*;

const PATIENCE: Duration = Duration::from_secs(10);
const HELD: Option<Token> = LeaseWord::from_word(0).taken_by(3).token();

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn kill_user() -> Command {
    Command::new(Opcode::KillUser, 60001)
}

fn view(command: u64, accepted: u64, state: CommandState) -> AcknowledgementView {
    AcknowledgementView {
        command,
        accepted,
        state,
        reason: Refusal::None,
        matched: 0,
        signalled: 0,
        remaining: 0,
        sweeps: 0,
        accepted_at: 0,
        first_signal_at: 0,
        last_death_at: 0,
        finished_at: 0,
        failure: 0,
    }
}

fn stale(command: u64, accepted: u64) -> AcknowledgementView {
    AcknowledgementView { reason: Refusal::StaleSequence, ..view(command, accepted, CommandState::Refused) }
}

/// A repair that was written as command 8.
fn written() -> Repair {
    let mut repair = Repair::new(kill_user(), at(0), PATIENCE);
    assert_eq!(repair.step(at(0), HELD), Step::Fetch);
    assert_eq!(repair.acknowledgement(at(0), &view(7, 7, CommandState::Done)), None);
    assert_eq!(repair.step(at(0), HELD), Step::Write { sequence: 8, token: HELD });
    assert_eq!(repair.written(at(0)), Some(Progress::Written(8)));
    repair
}

#[test]
fn nothing_is_written_without_the_lease() {
    let mut repair = Repair::new(kill_user(), at(0), PATIENCE);
    repair.acknowledgement(at(0), &view(7, 7, CommandState::Done));
    assert!(repair.needs_lease());
    assert_eq!(repair.step(at(0), None), Step::Wait(at(1)));
    assert!(matches!(repair.step(at(1), HELD), Step::Write { sequence: 8, .. }));
    assert_eq!(repair.step(at(2), None), Step::Wait(at(3)));
    let end = Outcome::TimedOut { waiting_for: Wait::Lease, last: None };
    assert_eq!(repair.step(PATIENCE, HELD), Step::Ended(end));
}

#[test]
fn a_command_takes_the_number_after_the_last_accepted_and_is_followed_to_its_end() {
    let mut repair = written();
    assert_eq!(repair.step(at(0), HELD), Step::Fetch);
    assert_eq!(repair.acknowledgement(at(0), &view(7, 7, CommandState::Done)), None);
    assert_eq!(repair.step(at(0), HELD), Step::Wait(at(1)));
    assert_eq!(repair.step(at(1), HELD), Step::Fetch);
    let running = view(8, 8, CommandState::Running);
    assert_eq!(repair.acknowledgement(at(1), &running), Some(Progress::Acknowledged(running)));
    assert_eq!(repair.acknowledgement(at(2), &running), None);
    let done = view(8, 8, CommandState::Done);
    assert_eq!(repair.acknowledgement(at(3), &done), None);
    assert_eq!(repair.step(at(3), HELD), Step::Ended(Outcome::Done(done)));
}

#[test]
fn the_end_may_be_the_first_that_is_seen() {
    let mut repair = written();
    let done = view(8, 8, CommandState::Done);
    assert_eq!(repair.acknowledgement(at(1), &done), Some(Progress::Acknowledged(done)));
    assert_eq!(repair.step(at(1), HELD), Step::Ended(Outcome::Done(done)));
}

#[test]
fn a_refusal_on_its_merits_ends_it_with_the_reason() {
    let mut repair = written();
    let refused = AcknowledgementView { reason: Refusal::InitProcess, ..view(8, 8, CommandState::Refused) };
    repair.acknowledgement(at(1), &refused);
    assert_eq!(repair.step(at(1), HELD), Step::Ended(Outcome::Refused(refused)));
}

#[test]
fn giving_up_is_an_end_of_its_own() {
    let mut repair = written();
    let gave_up = view(8, 8, CommandState::GaveUp);
    repair.acknowledgement(at(1), &gave_up);
    assert_eq!(repair.step(at(1), HELD), Step::Ended(Outcome::GaveUp(gave_up)));
}

#[test]
fn a_stale_number_is_replaced_but_not_for_ever() {
    let mut repair = written();
    for next in [11, 21, 31] {
        let sequence = repair.sequence().unwrap();
        assert_eq!(repair.acknowledgement(at(1), &stale(sequence, next - 1)), None);
        assert_eq!(repair.step(at(1), HELD), Step::Write { sequence: next, token: HELD });
        repair.written(at(1));
    }
    let last = stale(31, 40);
    repair.acknowledgement(at(2), &last);
    assert_eq!(repair.step(at(2), HELD), Step::Ended(Outcome::Refused(last)));
}

fn not_authentic(accepted_at: u64) -> AcknowledgementView {
    let refused = view(8, 7, CommandState::Refused);
    AcknowledgementView { reason: Refusal::NotAuthentic, accepted_at, ..refused }
}

#[test]
fn what_was_not_taken_for_this_monitors_is_written_again_under_its_number_but_not_for_ever() {
    let mut repair = written();
    for time in 1..=3 {
        let refused = not_authentic(time);
        assert_eq!(repair.acknowledgement(at(10 * time), &refused), Some(Progress::NotAuthentic));
        assert!(matches!(repair.step(at(10 * time + 1), HELD), Step::Write { sequence: 8, .. }));
        repair.written(at(10 * time + 1));
        // What was said of the one before says nothing of this one.
        assert_eq!(repair.acknowledgement(at(10 * time + 2), &refused), None);
        assert_eq!(repair.step(at(10 * time + 3), HELD), Step::Fetch);
    }
    let last = not_authentic(4);
    repair.acknowledgement(at(50), &last);
    assert_eq!(repair.step(at(50), HELD), Step::Ended(Outcome::Refused(last)));
}

#[test]
fn what_was_refused_before_it_came_is_not_taken_for_its_own_refusal() {
    let mut repair = Repair::new(kill_user(), at(0), PATIENCE);
    repair.acknowledgement(at(0), &not_authentic(1));
    assert!(matches!(repair.step(at(0), HELD), Step::Write { sequence: 8, .. }));
    repair.written(at(0));
    assert_eq!(repair.acknowledgement(at(0), &not_authentic(1)), None);
    let done = view(8, 8, CommandState::Done);
    repair.acknowledgement(at(1), &done);
    assert_eq!(repair.step(at(1), HELD), Step::Ended(Outcome::Done(done)));
}

#[test]
fn a_vote_is_written_without_the_lease_and_ends_when_it_counts() {
    let mut repair = Repair::vote(kill_user(), at(0), PATIENCE);
    repair.acknowledgement(at(0), &view(7, 7, CommandState::Done));
    assert!(!repair.needs_lease());
    for token in [None, HELD] {
        assert_eq!(repair.step(at(0), token), Step::Write { sequence: 8, token: None });
    }
    repair.written(at(0));
    let voted = view(8, 8, CommandState::Voted);
    assert_eq!(repair.acknowledgement(at(1), &voted), Some(Progress::Acknowledged(voted)));
    assert_eq!(repair.step(at(1), None), Step::Ended(Outcome::Voted(voted)));
}

#[test]
fn a_command_that_others_must_want_too_is_waited_for_until_it_ends() {
    let mut repair = written();
    let awaiting = view(8, 8, CommandState::Awaiting);
    assert_eq!(repair.acknowledgement(at(1), &awaiting), Some(Progress::Acknowledged(awaiting)));
    assert_eq!(repair.step(at(2), HELD), Step::Fetch);
    let refused = AcknowledgementView { reason: Refusal::NoAgreement, ..view(8, 8, CommandState::Refused) };
    let mut patient = written();
    patient.acknowledgement(at(1), &awaiting);
    patient.acknowledgement(at(2), &refused);
    assert_eq!(patient.step(at(3), HELD), Step::Ended(Outcome::Refused(refused)));
    let end = Outcome::TimedOut { waiting_for: Wait::Agreement, last: Some(awaiting) };
    assert_eq!(repair.step(PATIENCE, HELD), Step::Ended(end));
}

#[test]
fn an_earlier_command_that_still_runs_is_waited_for() {
    let mut repair = Repair::new(kill_user(), at(0), PATIENCE);
    repair.acknowledgement(at(0), &view(7, 7, CommandState::Running));
    assert_eq!(repair.step(at(0), HELD), Step::Wait(at(1)));
    assert_eq!(repair.step(at(1), HELD), Step::Fetch);
    repair.acknowledgement(at(1), &view(7, 7, CommandState::Done));
    assert!(matches!(repair.step(at(1), HELD), Step::Write { sequence: 8, .. }));
}

#[test]
fn a_write_that_may_have_arrived_is_repeated_only_if_it_was_not_accepted() {
    for (found, writes_again) in
        [(view(7, 7, CommandState::Done), true), (view(8, 8, CommandState::Running), false)]
    {
        let mut repair = Repair::new(kill_user(), at(0), PATIENCE);
        repair.acknowledgement(at(0), &view(7, 7, CommandState::Done));
        assert!(matches!(repair.step(at(0), HELD), Step::Write { sequence: 8, .. }));
        repair.failed(at(0), true);
        assert_eq!(repair.step(at(1), HELD), Step::Fetch);
        repair.failed(at(1), false);
        assert_eq!(repair.step(at(2), HELD), Step::Fetch);
        repair.acknowledgement(at(2), &found);
        assert_eq!(matches!(repair.step(at(3), HELD), Step::Write { sequence: 8, .. }), writes_again);
    }
}

#[test]
fn a_write_that_surely_did_not_arrive_is_repeated_at_once() {
    let mut repair = Repair::new(kill_user(), at(0), PATIENCE);
    repair.acknowledgement(at(0), &view(7, 7, CommandState::Done));
    repair.failed(at(0), false);
    assert!(matches!(repair.step(at(1), HELD), Step::Write { sequence: 8, .. }));
}

#[test]
fn somebody_elses_command_in_the_slot_leaves_the_outcome_unknown() {
    let mut repair = written();
    repair.acknowledgement(at(1), &view(9, 9, CommandState::Running));
    assert_eq!(repair.step(at(1), HELD), Step::Ended(Outcome::Unknown(Doubt::Overtaken { found: 9 })));
}

#[test]
fn memory_made_anew_leaves_the_outcome_unknown_unless_nothing_was_written() {
    let mut repair = written();
    repair.made_anew();
    assert_eq!(repair.step(at(1), HELD), Step::Ended(Outcome::Unknown(Doubt::MadeAnew)));
    let mut repair = Repair::new(kill_user(), at(0), PATIENCE);
    repair.acknowledgement(at(0), &view(7, 7, CommandState::Done));
    repair.made_anew();
    assert_eq!(repair.step(at(1), HELD), Step::Fetch);
    repair.acknowledgement(at(1), &view(0, 0, CommandState::Idle));
    assert!(matches!(repair.step(at(1), HELD), Step::Write { sequence: 1, .. }));
}

#[test]
fn an_acknowledgement_that_went_back_means_memory_made_anew() {
    let mut repair = written();
    repair.acknowledgement(at(1), &view(0, 0, CommandState::Idle));
    assert_eq!(repair.step(at(1), HELD), Step::Ended(Outcome::Unknown(Doubt::MadeAnew)));
}

#[test]
fn the_last_possible_number_is_not_used() {
    let mut repair = Repair::new(kill_user(), at(0), PATIENCE);
    repair.acknowledgement(at(0), &view(0, u64::MAX, CommandState::Idle));
    assert_eq!(repair.step(at(0), HELD), Step::Ended(Outcome::Unknown(Doubt::Senseless { found: u64::MAX })));
}

#[test]
fn when_the_time_is_up_it_says_what_it_waited_for() {
    let timed_out = |repair: &mut Repair| match repair.step(PATIENCE, HELD) {
        Step::Ended(Outcome::TimedOut { waiting_for, .. }) => waiting_for,
        step => panic!("{step:?}"),
    };
    assert_eq!(timed_out(&mut Repair::new(kill_user(), at(0), PATIENCE)), Wait::Path);
    assert_eq!(timed_out(&mut written()), Wait::Acknowledgement);
    let mut running = written();
    running.acknowledgement(at(1), &view(8, 8, CommandState::Running));
    assert_eq!(timed_out(&mut running), Wait::End);
}

/// What may happen between two steps.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    None,
    WriteLost,
    WriteDoneAnswerLost,
    ReadFails,
}

fn any_mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        4 => Just(Mishap::None),
        1 => Just(Mishap::WriteLost),
        1 => Just(Mishap::WriteDoneAnswerLost),
        1 => Just(Mishap::ReadFails)
    ]
}

proptest! {
    /// The target's side of the contract, with a path that loses requests and answers.
    #[test]
    fn however_the_path_fails_the_target_obeys_exactly_once(
        accepted in 0..1000u64,
        mishaps in prop::collection::vec(any_mishap(), 0..40),
        slowness in 0..5u32,
    ) {
        let mut repair = Repair::new(kill_user(), at(0), PATIENCE);
        let (mut slot, mut looked_at, mut obeyed) = (accepted, accepted, 0);
        let mut acknowledgement = view(accepted, accepted, CommandState::Done);
        let mut now = at(0);
        let mut mishaps = mishaps.into_iter();
        for turn in 0..2000u32 {
            if turn % (slowness + 1) == 0 && slot != looked_at {
                looked_at = slot;
                prop_assert_eq!(slot, acknowledgement.accepted + 1);
                obeyed += 1;
                acknowledgement = view(slot, slot, CommandState::Running);
            } else if turn % (slowness + 1) == 0 && acknowledgement.state == CommandState::Running {
                acknowledgement.state = CommandState::Done;
            }
            match repair.step(now, HELD) {
                Step::Wait(until) => now = until,
                Step::Fetch => match mishaps.next().unwrap_or(Mishap::None) {
                    Mishap::ReadFails => repair.failed(now, false),
                    _ => drop(repair.acknowledgement(now, &acknowledgement)),
                },
                Step::Write { sequence, token } => {
                    prop_assert_eq!(token, HELD);
                    match mishaps.next().unwrap_or(Mishap::None) {
                        Mishap::WriteLost => repair.failed(now, true),
                        Mishap::WriteDoneAnswerLost => {
                            slot = sequence;
                            repair.failed(now, true);
                        }
                        _ => {
                            slot = sequence;
                            repair.written(now);
                        }
                    }
                }
                Step::Ended(outcome) => {
                    prop_assert!(matches!(outcome, Outcome::Done(_)), "{:?}", outcome);
                    prop_assert_eq!(obeyed, 1);
                    return Ok(());
                }
            }
        }
        prop_assert!(false, "never ended");
    }

    #[test]
    fn whatever_the_acknowledgements_say_it_ends_in_time(
        answers in prop::collection::vec((0..12u64, any::<u64>(), 0..5u32, 0..9u32), 1..60),
    ) {
        let mut repair = Repair::new(kill_user(), at(0), PATIENCE);
        let mut now = at(0);
        let mut answers = answers.iter().cycle();
        for _ in 0..20_000 {
            match repair.step(now, HELD) {
                Step::Wait(until) => { prop_assert!(until > now); now = until }
                Step::Fetch => {
                    let &(command, accepted, state, reason) = answers.next().unwrap();
                    let state = CommandState::from_number(state).unwrap();
                    let reason = Refusal::from_number(reason).unwrap();
                    let accepted = if accepted % 2 == 0 { accepted } else { accepted % 12 };
                    repair.acknowledgement(now, &AcknowledgementView { reason, ..view(command, accepted, state) });
                }
                Step::Write { .. } => drop(repair.written(now)),
                Step::Ended(_) => return Ok(()),
            }
        }
        prop_assert!(false, "never ended");
    }
}

#[test]
fn an_acknowledgement_that_is_none_ends_a_command_and_says_whether_it_was_written() {
    let error = DecodeError::Layout { what: "acknowledgement", why: "state" };
    let mut unwritten = Repair::new(kill_user(), at(0), PATIENCE);
    unwritten.unreadable(at(0), error);
    let doubt = Doubt::Unreadable { error, written: false };
    assert_eq!(unwritten.step(at(0), HELD), Step::Ended(Outcome::Unknown(doubt)));
    assert!(doubt.to_string().ends_with("(nothing was written)"), "{doubt}");
    let mut repair = written();
    repair.unreadable(at(0), error);
    assert_eq!(
        repair.step(at(0), HELD),
        Step::Ended(Outcome::Unknown(Doubt::Unreadable { error, written: true }))
    );
}

#[test]
fn a_torn_acknowledgement_is_looked_at_again() {
    let mut repair = written();
    repair.unreadable(at(0), DecodeError::Torn { what: "acknowledgement" });
    assert_eq!(repair.step(at(1), HELD), Step::Fetch);
}
