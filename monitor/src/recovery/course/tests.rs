use super::*;
use Action::{Announce, Begin, End, Fence, Fetch, Look, Prepare, Pull, Rebuild, Resume, Undo};

const NOW: Duration = Duration::from_secs(100);

fn at(milliseconds: u64) -> Duration {
    NOW + Duration::from_millis(milliseconds)
}

fn candidate(port: u16, lost: Option<&str>) -> Candidate {
    let end = |port| SocketAddr::from(([10, 0, 0, 1], port));
    Candidate { local: end(80), remote: end(port), lost: lost.map(str::to_owned), is_here: false }
}

fn reading(candidates: Vec<Candidate>) -> Reading {
    Reading { candidates, ..Reading::default() }
}

/// Drives a course with outcomes until it ends, and says what was done. In phases of sessions the outcome is that of the first
/// that is left.
fn drive(course: &mut Course, mut outcome: impl FnMut(Action) -> Result<(), String>) -> Vec<Action> {
    let mut done = Vec::new();
    for step in 0.. {
        let (now, action) = (at(step), course.next());
        done.push(action);
        let result = outcome(action);
        let outcomes = |course: &Course, first: Result<(), String>| -> Outcomes {
            let others = std::iter::repeat_n(Ok(()), course.left().len());
            course.left().iter().copied().zip(std::iter::once(first).chain(others)).collect()
        };
        match action {
            Prepare => course.prepared(now, result.map(|()| Addresses::Free)),
            Look => course.looked(result.map(|()| Fenced::default())),
            Fence => course.fenced(now, result.map_or_else(Fencing::Fails, |()| Fencing::Holds)),
            Pull => {
                let all = vec![candidate(1, None), candidate(2, Some("a hole")), candidate(3, None)];
                course.pulled(now, result.map(|()| reading(all)));
            }
            Rebuild => course.rebuilt(now, outcomes(course, result)),
            Announce => course.announced(now, result),
            Resume => {
                let spoken = |(index, outcome)| Spoken { index, at: now, outcome };
                course.resumed(outcomes(course, result).into_iter().map(spoken).collect());
            }
            Fetch => course.fetched(result),
            Begin => course.begun(now, outcomes(course, result)),
            Undo => course.undone(now, result),
            End => return done,
        }
    }
    unreachable!("numbers do not end")
}

fn fails_at(action: Action) -> impl FnMut(Action) -> Result<(), String> {
    move |now| if now == action { Err("no".to_owned()) } else { Ok(()) }
}

#[test]
fn nothing_is_pulled_before_the_fence_was_seen_nor_announced_before_all_is_rebuilt() {
    let mut course = Course::new(NOW, Terms::default());
    let done = drive(&mut course, |_| Ok(()));
    assert_eq!(done, [Prepare, Look, Fence, Pull, Rebuild, Announce, Resume, Fetch, Begin, End]);
    assert_eq!(course.left(), [0, 2]);
    let report = course.report("web1");
    assert_eq!((report.resumed(), report.lost(), report.outcome.clone()), (2, 1, Outcome::Done));
    assert_eq!(report.sessions[1].fate, Fate::Lost("a hole".to_owned()));
    let phases: Vec<Phase> = report.marks.iter().map(|mark| mark.phase).collect();
    assert_eq!(
        phases,
        [
            Phase::Prepared,
            Phase::Fenced,
            Phase::Pulled,
            Phase::Rebuilt,
            Phase::Announced,
            Phase::FirstResumed,
            Phase::Resumed,
            Phase::Begun
        ]
    );
    assert!(report.marks.is_sorted_by_key(|mark| mark.after));
}

#[test]
fn a_target_that_is_not_seen_to_be_fenced_is_left_as_it_was_unless_that_was_ordered() {
    let mut course = Course::new(NOW, Terms::default());
    assert_eq!(drive(&mut course, fails_at(Fence)), [Prepare, Look, Fence, Undo, End]);
    assert!(course.must_lift(), "what was written may hold");
    let Outcome::Failed(reason) = course.report("web1").outcome else { panic!() };
    assert!(reason.contains("--without-fence"), "{reason}");

    let mut course = Course::new(NOW, Terms { without_fence: true, ..Terms::default() });
    assert_eq!(drive(&mut course, fails_at(Fence)).last_chunk(), Some(&[Begin, End]));
    assert!(course.report("web1").notes[0].contains("without a fence"));
}

#[test]
fn what_fails_on_this_machine_before_the_fence_leaves_the_target_alone() {
    let mut course = Course::new(NOW, Terms::default());
    assert_eq!(drive(&mut course, fails_at(Prepare)), [Prepare, Undo, End]);
    assert!(!course.must_lift());
}

#[test]
fn what_cannot_be_read_is_read_again_and_then_given_up() {
    let mut course = Course::new(NOW, Terms::default());
    assert_eq!(drive(&mut course, fails_at(Pull)), [Prepare, Look, Fence, Pull, Pull, Pull, Undo, End]);
    assert!(course.must_lift());
}

#[test]
fn sessions_that_change_while_they_are_read_are_read_again_and_then_told_lost_alone() {
    let mut course = Course::new(NOW, Terms { dry_run: true, ..Terms::default() });
    for _ in 0..PULLS_OF_CHANGING {
        assert_eq!(course.next(), Pull);
        let all = vec![candidate(1, Some("replaced")), candidate(2, None)];
        course.pulled(NOW, Ok(Reading { is_torn: true, ..reading(all) }));
    }
    assert_eq!(course.next(), End);
    let report = course.report("web1");
    assert_eq!((report.sessions.len(), report.lost()), (2, 1));
}

#[test]
fn records_that_cannot_be_read_are_read_again_and_then_told_as_lost_sessions() {
    let mut course = Course::new(NOW, Terms { dry_run: true, ..Terms::default() });
    for _ in 0..PULLS {
        assert_eq!(course.next(), Pull);
        let unreadable = vec!["more sent than written".to_owned()];
        course.pulled(NOW, Ok(Reading { unreadable, ..reading(vec![candidate(2, None)]) }));
    }
    assert_eq!(course.next(), End);
    let report = course.report("web1");
    assert_eq!((report.sessions.len(), report.all(), report.lost()), (1, 2, 1));
    assert!(report.text().starts_with("1 of 2 sessions could go on here"), "{}", report.text());
    // What the next reading has is not lost.
    let mut course = Course::new(NOW, Terms { dry_run: true, ..Terms::default() });
    course.pulled(NOW, Ok(Reading { unreadable: vec!["torn".to_owned()], ..Reading::default() }));
    course.pulled(NOW, Ok(reading(vec![candidate(1, None)])));
    assert_eq!((course.next(), course.report("web1").lost()), (End, 0));
}

#[test]
fn a_session_that_fails_in_any_phase_is_lost_alone_and_has_no_turn_in_the_next() {
    for action in [Rebuild, Resume, Begin] {
        let mut course = Course::new(NOW, Terms::default());
        let done = drive(&mut course, fails_at(action));
        assert_eq!(done.last_chunk(), Some(&[Fetch, Begin, End]), "{action:?}");
        assert_eq!(course.left(), [2], "{action:?}");
        let report = course.report("web1");
        assert_eq!((report.resumed(), report.lost()), (1, 2), "{action:?}");
        assert_eq!(report.sessions[0].fate, Fate::Lost("no".to_owned()));
    }
}

#[test]
fn each_session_is_told_with_the_time_at_which_it_spoke() {
    let mut course = Course::new(NOW, Terms::default());
    while course.next() != Resume {
        let outcomes = course.left().iter().map(|index| (*index, Ok(()))).collect();
        match course.next() {
            Prepare => course.prepared(NOW, Ok(Addresses::Free)),
            Look => course.looked(Ok(Fenced::default())),
            Fence => course.fenced(NOW, Fencing::Holds),
            Pull => course.pulled(NOW, Ok(reading(vec![candidate(1, None), candidate(2, None)]))),
            Rebuild => course.rebuilt(NOW, outcomes),
            _ => course.announced(NOW, Ok(())),
        }
    }
    // Whoever was first to end is told first.
    let spoken = |index, after| Spoken { index, at: at(after), outcome: Ok(()) };
    course.resumed(vec![spoken(1, 7), spoken(0, 5)]);
    let report = course.report("web1");
    let fates = [5, 7].map(|after| Fate::Resumed { after: Duration::from_millis(after) });
    assert_eq!(report.sessions.iter().map(|session| session.fate.clone()).collect::<Vec<_>>(), fates);
    let after = |phase| report.marks.iter().find(|mark| mark.phase == phase).unwrap().after.as_millis();
    assert_eq!((after(Phase::FirstResumed), after(Phase::Resumed)), (5, 7));
}

#[test]
fn what_was_never_sent_and_cannot_be_read_is_told_and_the_sessions_that_need_none_of_it_go_on() {
    let mut course = Course::new(NOW, Terms::default());
    let done = drive(&mut course, |now| match now {
        Fetch | Begin => Err("no".to_owned()),
        _ => Ok(()),
    });
    assert_eq!(done.last_chunk(), Some(&[Fetch, Begin, End]));
    let report = course.report("web1");
    assert_eq!((report.resumed(), report.lost(), report.outcome), (1, 2, Outcome::Done));
    assert!(report.notes[0].contains("never sent"), "{:?}", report.notes);
}

#[test]
fn where_the_addresses_cannot_be_announced_all_is_undone() {
    let mut course = Course::new(NOW, Terms::default());
    let done = drive(&mut course, fails_at(Announce));
    assert_eq!(done.last_chunk(), Some(&[Announce, Undo, End]));
    assert_eq!(course.report("web1").lost(), 3);
}

#[test]
fn a_service_without_sessions_moves_all_the_same() {
    let mut course = Course::new(NOW, Terms::default());
    course.prepared(NOW, Ok(Addresses::Free));
    course.looked(Ok(Fenced::default()));
    course.fenced(NOW, Fencing::Holds);
    course.pulled(NOW, Ok(Reading::default()));
    assert_eq!(course.next(), Announce);
    course.announced(NOW, Ok(()));
    assert_eq!((course.next(), course.report("web1").outcome), (End, Outcome::Done));
}

#[test]
fn a_dry_run_reads_and_does_nothing_else() {
    let mut course = Course::new(NOW, Terms { dry_run: true, ..Terms::default() });
    assert_eq!(drive(&mut course, |_| Ok(())), [Pull, End]);
    let report = course.report("web1");
    assert!(report.sessions.iter().all(|session| !matches!(session.fate, Fate::Resumed { .. })));
    assert!(report.text().contains("2 of 3 sessions could go on here"), "{}", report.text());
}

const BY_THIS: Fenced = Fenced { by_this: true, by_another: false };
const BY_ANOTHER: Fenced = Fenced { by_this: false, by_another: true };

#[test]
fn sessions_of_which_an_earlier_recovery_told_the_network_are_told_here_or_gone_and_never_rebuilt_or_unfenced()
 {
    for fenced in [BY_THIS, BY_ANOTHER] {
        let mut course = Course::new(NOW, Terms::default());
        course.prepared(NOW, Ok(Addresses::Announced));
        course.looked(Ok(fenced));
        course.fenced(NOW, Fencing::Holds);
        let here = |port, is_here| Candidate { is_here, ..candidate(port, None) };
        course.pulled(NOW, Ok(reading(vec![here(1, true), here(2, false)])));
        assert_eq!((course.next(), course.left()), (Announce, &[][..]));
        course.announced(NOW, Ok(()));
        assert_eq!(course.next(), End);
        let report = course.report("web1");
        assert_eq!((report.resumed(), report.earlier(), report.lost()), (0, 1, 1));
        assert!(
            report.text().contains("0 of 2 sessions go on here, 1 did before, 1 are lost"),
            "{}",
            report.text()
        );
    }
    // Whatever fails then: two machines would speak.
    let mut course = Course::new(NOW, Terms::default());
    course.prepared(NOW, Ok(Addresses::Announced));
    course.looked(Ok(BY_THIS));
    course.fenced(NOW, Fencing::Fails("no".to_owned()));
    assert_eq!((course.next(), course.must_lift()), (Undo, false));
}

#[test]
fn a_recovery_that_ended_here_before_it_told_the_network_is_done_once_more() {
    for fenced in [BY_THIS, BY_ANOTHER] {
        let mut course = Course::new(NOW, Terms::default());
        course.prepared(NOW, Ok(Addresses::LeftSilent));
        course.looked(Ok(fenced));
        assert_eq!(course.next(), Fence);
        course.fenced(NOW, Fencing::Holds);
        course.pulled(NOW, Ok(reading(vec![candidate(1, None)])));
        assert_eq!((course.next(), course.must_lift()), (Rebuild, true));
    }
}

#[test]
fn addresses_that_no_recovery_brought_here_are_no_recovery() {
    for looked in [Ok(Fenced::default()), Err("unreachable".to_owned())] {
        let mut course = Course::new(NOW, Terms::default());
        course.prepared(NOW, Ok(Addresses::Announced));
        course.looked(looked);
        assert_eq!((course.next(), course.must_lift()), (Undo, false));
        let Outcome::Failed(reason) = course.report("web1").outcome else { panic!() };
        assert!(reason.contains("ip address del"), "{reason}");
    }
}

#[test]
fn what_another_monitor_may_have_taken_over_is_left_to_it_unless_that_was_ordered() {
    let mut course = Course::new(NOW, Terms::default());
    course.prepared(NOW, Ok(Addresses::Free));
    course.looked(Ok(BY_ANOTHER));
    assert_eq!((course.next(), course.must_lift()), (Undo, false));
    let Outcome::Failed(reason) = course.report("web1").outcome else { panic!() };
    assert!(reason.contains("--after-another"), "{reason}");
    let mut course = Course::new(NOW, Terms { after_another: true, ..Terms::default() });
    course.prepared(NOW, Ok(Addresses::Free));
    course.looked(Ok(BY_ANOTHER));
    assert_eq!(course.next(), Fence);
}
