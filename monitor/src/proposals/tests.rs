use super::*;
use backdoors_sensor_box::Opcode;
use proptest::prelude::*;

const LIFETIME: Duration = Duration::from_secs(600);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const FORKBOMB: usize = 0;
const RUNAWAY: usize = 1;
const MEMORYHOG: usize = 2;

fn found(number: usize, user: u32, victims: u64) -> Found {
    let evidence =
        Evidence { name: "measure".into(), text: format!("{victims}"), value: victims, limit: None };
    let command = Command::new(Opcode::KillUser, u64::from(user));
    Found {
        number,
        healer: "forkbomb".to_owned(),
        culprit: Culprit::User { user },
        evidence: vec![evidence],
        commands: vec![command],
        grace: Duration::ZERO,
        victims,
        withheld: None,
    }
}

fn proposals() -> Proposals {
    Proposals::new(LIFETIME, at(1_700_000_000))
}

fn states(proposals: &Proposals) -> Vec<(u64, State)> {
    proposals.iter().map(|proposal| (proposal.id, proposal.state)).collect()
}

#[test]
fn the_same_found_again_confirms_the_proposal_with_newer_evidence() {
    let mut proposals = proposals();
    assert_eq!(proposals.propose(at(0), found(FORKBOMB, 5, 300)), Proposed::Made(1));
    assert_eq!(proposals.propose(at(5), found(FORKBOMB, 5, 350)), Proposed::Confirmed(1));
    let proposal = proposals.open(at(604), 1).unwrap();
    assert_eq!((proposal.made, proposal.confirmed, proposal.found.victims), (at(0), at(5), 350));
    assert_eq!(proposal.found.evidence[0].text, "350");
}

#[test]
fn a_proposal_never_changes_whom_it_would_strike() {
    let mut proposals = proposals();
    proposals.propose(at(0), found(FORKBOMB, 5, 300));
    let mut other = found(FORKBOMB, 5, 300);
    other.commands[0] = Command::of_process(Opcode::KillTree, 9, 1);
    assert_eq!(proposals.propose(at(5), other), Proposed::Made(2));
    assert_eq!(states(&proposals), [(1, State::Overtaken), (2, State::Open)]);
    assert_eq!(proposals.take_ended(), [(1, State::Overtaken)]);
    assert_eq!(proposals.approve(at(6), 1), Err(NotOpen::Over { id: 1, state: State::Overtaken }));
    assert_eq!(
        NotOpen::Over { id: 1, state: State::Overtaken }.to_string(),
        "proposal 1 is overtaken; nothing was written, `backdoors proposals` lists those that are open"
    );
}

#[test]
fn healers_do_not_overtake_each_other_but_what_strikes_their_victims_does() {
    let mut proposals = proposals();
    proposals.propose(at(0), found(FORKBOMB, 5, 300));
    proposals.propose(at(0), found(RUNAWAY, 5, 300));
    proposals.propose(at(0), found(MEMORYHOG, 6, 1));
    assert!(states(&proposals).iter().all(|(_, state)| *state == State::Open));
    proposals.overtake(at(1), &[Victim::User(5)]);
    assert_eq!(states(&proposals), [(1, State::Overtaken), (2, State::Overtaken), (3, State::Open)]);
}

#[test]
fn a_proposal_expires_if_it_is_not_confirmed_and_is_withdrawn_if_nobody_is_blamed() {
    let mut proposals = proposals();
    proposals.propose(at(0), found(FORKBOMB, 5, 300));
    assert!(proposals.open(at(599), 1).is_ok());
    assert_eq!(proposals.open(at(600), 1), Err(NotOpen::Over { id: 1, state: State::Expired }));
    assert_eq!(proposals.propose(at(600), found(FORKBOMB, 5, 300)), Proposed::Made(2));
    proposals.withdraw(at(601), RUNAWAY);
    proposals.withdraw(at(601), FORKBOMB);
    assert_eq!(proposals.take_ended(), [(1, State::Expired), (2, State::Withdrawn)]);
    assert_eq!(proposals.take_ended(), []);
}

#[test]
fn a_rejection_holds_for_a_lifetime() {
    let mut proposals = proposals();
    proposals.propose(at(0), found(FORKBOMB, 5, 300));
    proposals.reject(at(1), 1).unwrap();
    assert_eq!(proposals.rejected(at(600), &found(FORKBOMB, 5, 310)), Some(1));
    assert_eq!(proposals.rejected(at(600), &found(FORKBOMB, 6, 310)), None);
    assert_eq!(proposals.rejected(at(600), &found(RUNAWAY, 5, 310)), None);
    assert_eq!(proposals.rejected(at(601), &found(FORKBOMB, 5, 310)), None);
    assert_eq!(proposals.reject(at(601), 1), Err(NotOpen::Over { id: 1, state: State::Rejected }));
    assert_eq!(proposals.reject(at(601), 9), Err(NotOpen::Unknown(9)));
}

#[test]
fn numbers_of_an_earlier_run_are_not_given_again_soon() {
    let mut before = Proposals::new(LIFETIME, at(1_763_743_277));
    let mut after = Proposals::new(LIFETIME, at(1_763_743_377));
    assert_eq!(before.propose(at(0), found(FORKBOMB, 5, 1)), Proposed::Made(743_278));
    assert_eq!(after.propose(at(0), found(FORKBOMB, 5, 1)), Proposed::Made(743_378));
}

#[test]
fn what_a_healer_found_before_is_overtaken_whatever_becomes_of_what_it_finds_now() {
    let mut proposals = proposals();
    proposals.propose(at(0), found(FORKBOMB, 5, 300));
    proposals.propose(at(0), found(RUNAWAY, 6, 300));
    proposals.supersede(at(1), &found(FORKBOMB, 5, 310));
    assert_eq!(states(&proposals), [(1, State::Open), (2, State::Open)]);
    proposals.supersede(at(1), &found(FORKBOMB, 6, 310));
    assert_eq!(states(&proposals), [(1, State::Overtaken), (2, State::Open)]);
}

#[test]
fn a_rejection_is_forgotten_last() {
    let mut proposals = proposals();
    proposals.propose(at(0), found(FORKBOMB, 0, 1));
    proposals.reject(at(0), 1).unwrap();
    for user in 1..1000 {
        proposals.propose(at(1), found(FORKBOMB, user, 1));
    }
    assert_eq!(proposals.rejected(at(2), &found(FORKBOMB, 0, 1)), Some(1));
}

proptest! {
    #[test]
    fn they_are_bounded_each_healer_has_one_open_at_most_and_numbers_only_rise(
        steps in prop::collection::vec((0..6u8, 0..3usize, 0..4u32, any::<u32>()), 1..300),
    ) {
        let mut proposals = proposals();
        let mut highest = 0;
        for (what, healer, user, time) in steps {
            let now = at(u64::from(time) % 2000);
            match what {
                0..=2 => if let Proposed::Made(id) = proposals.propose(now, found(healer, user, 1)) {
                    prop_assert!(id > highest);
                    highest = id;
                },
                3 => proposals.withdraw(now, healer),
                4 => proposals.overtake(now, &[Victim::User(user)]),
                _ => drop(proposals.reject(now, highest)),
            }
            prop_assert!(proposals.iter().count() <= MOST);
            for healer in 0..3 {
                let open = |proposal: &&Proposal| {
                    proposal.state == State::Open && proposal.found.number == healer
                };
                prop_assert!(proposals.iter().filter(open).count() <= 1);
            }
        }
    }
}
