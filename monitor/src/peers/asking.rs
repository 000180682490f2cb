//! What to ask a peer, and when. Pure.
//!
//! All targets are asked for once a second, in as many questions as they need. Targets that are wanted at once come
//! first. One question is under way at a time; what is wanted meanwhile goes into the next one.

use super::opinion::Answered;
use super::protocol::{MOST_TARGETS, ProtocolError, Question, Reply};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Time from one round over all targets to the next.
const ROUND: Duration = Duration::from_secs(1);
/// Shortest time from one question to the next, however much is wanted.
const GAP: Duration = Duration::from_millis(5);

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this question, and wait for its answer.
    Ask(Question),
    /// Nothing until then, unless something is wanted.
    Wait(Duration),
}

/// What a peer answered about a target; `None` if it knows no target of that name.
pub type Heard = (usize, Option<Answered>);

/// One end of a conversation: that which asks.
#[derive(Debug)]
pub struct Asking {
    /// Names of the targets, told apart by their places in here.
    names: Arc<[String]>,
    wanted: BTreeSet<usize>,
    /// Targets before this one were asked for in this round.
    place: usize,
    /// When the next round begins.
    round: Duration,
    /// When the next question may be sent.
    earliest: Duration,
    number: u64,
    /// The targets of the question under way, and when it was sent.
    under_way: Option<(Vec<usize>, Duration)>,
}

impl Asking {
    /// Asks for these targets, from [`Asking::connected`] on.
    #[must_use]
    pub fn new(names: Arc<[String]>) -> Asking {
        Asking {
            place: names.len(),
            names,
            wanted: BTreeSet::new(),
            round: Duration::ZERO,
            earliest: Duration::ZERO,
            number: 0,
            under_way: None,
        }
    }

    /// A conversation began: everything is asked for at once.
    pub fn connected(&mut self, now: Duration) {
        self.under_way = None;
        self.place = self.names.len();
        self.round = now;
        self.earliest = now;
    }

    /// The conversation ended; what was wanted is no longer, since the next one begins with everything.
    pub fn disconnected(&mut self) {
        self.under_way = None;
        self.wanted.clear();
    }

    /// A target's opinion is wanted at once. `false` if it was already.
    pub fn want(&mut self, target: usize) -> bool {
        target < self.names.len() && self.wanted.insert(target)
    }

    /// What to do now. While a question is under way, wait for its answer instead.
    pub fn next(&mut self, now: Duration) -> Next {
        // A clock that was set back makes no pause longer.
        self.earliest = self.earliest.min(now.saturating_add(GAP));
        self.round = self.round.min(now.saturating_add(ROUND));
        if now >= self.round {
            self.place = 0;
            self.round = now.saturating_add(ROUND);
        } else if self.place >= self.names.len() && self.wanted.is_empty() {
            return Next::Wait(self.round);
        }
        if now < self.earliest {
            return Next::Wait(self.earliest);
        }
        self.earliest = now.saturating_add(GAP);
        let targets = self.take_targets();
        let names = targets.iter().map(|target| self.names[*target].clone()).collect();
        self.number = self.number.wrapping_add(1);
        self.under_way = Some((targets, now));
        Next::Ask(Question::new(self.number, names))
    }

    /// Those that are wanted, then those whose turn it is.
    fn take_targets(&mut self) -> Vec<usize> {
        let mut targets = Vec::new();
        while targets.len() < MOST_TARGETS
            && let Some(target) = self.wanted.pop_first()
        {
            targets.push(target);
        }
        let wanted = targets.len();
        while targets.len() < MOST_TARGETS && self.place < self.names.len() {
            if targets[..wanted].binary_search(&self.place).is_err() {
                targets.push(self.place);
            }
            self.place += 1;
        }
        targets
    }

    /// The answer came. Returns when its question was sent, and what it says.
    ///
    /// # Errors
    /// See [`ProtocolError`]: the conversation must be ended.
    pub fn answered(&mut self, reply: Reply) -> Result<(Duration, Vec<Heard>), ProtocolError> {
        let (targets, asked) = self.under_way.take().ok_or(ProtocolError::OtherQuestion)?;
        let about = reply.answers(self.number, targets.len())?;
        Ok((asked, targets.into_iter().zip(about.into_iter().map(Into::into)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::Said;
    use super::*;
    use proptest::prelude::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn asking(targets: usize) -> Asking {
        let names = (0..targets).map(|number| format!("target{number}")).collect();
        let mut asking = Asking::new(names);
        asking.connected(at(0));
        asking
    }

    fn question(next: Next) -> Question {
        let Next::Ask(question) = next else { panic!("{next:?}") };
        question
    }

    fn answer(asking: &mut Asking, question: &Question) -> Vec<Heard> {
        let about = vec![Said::Unknown; question.targets.len()];
        asking.answered(Reply::Answers { number: question.number, about }).unwrap().1
    }

    #[test]
    fn everything_is_asked_at_once_and_then_once_a_second() {
        let mut asking = asking(3);
        for second in 0..3 {
            let asked = question(asking.next(at(1000 * second)));
            assert_eq!(asked.targets, ["target0", "target1", "target2"]);
            assert_eq!(answer(&mut asking, &asked).len(), 3);
            assert_eq!(asking.next(at(1000 * second + 1)), Next::Wait(at(1000 * second + 1000)));
        }
    }

    #[test]
    fn what_is_wanted_is_asked_for_at_once_and_what_is_wanted_meanwhile_goes_together() {
        let mut asking = asking(5);
        let first = question(asking.next(at(0)));
        answer(&mut asking, &first);
        assert!(asking.want(2));
        assert_eq!(question(asking.next(at(100))).targets, ["target2"]);
        assert!(asking.want(4) && asking.want(1) && !asking.want(4));
        assert_eq!(asking.next(at(101)), Next::Wait(at(105)));
        assert_eq!(question(asking.next(at(105))).targets, ["target1", "target4"]);
        assert_eq!(asking.next(at(200)), Next::Wait(at(1000)));
    }

    #[test]
    fn what_is_wanted_goes_before_a_long_round_and_is_not_asked_twice_in_it() {
        let mut asking = asking(MOST_TARGETS * 2);
        asking.want(MOST_TARGETS + 7);
        let mut seen = Vec::new();
        for round in 0..3 {
            seen.push(question(asking.next(at(5 * round))).targets);
        }
        assert_eq!(seen[0][0], format!("target{}", MOST_TARGETS + 7));
        assert_eq!(seen[0].len(), MOST_TARGETS);
        // It was asked for in a question before, whence it may come once more in its turn.
        let all: BTreeSet<&String> = seen.iter().flatten().collect();
        assert_eq!(all.len(), MOST_TARGETS * 2);
        assert_eq!(asking.next(at(15)), Next::Wait(at(1000)));
    }

    #[test]
    fn without_targets_the_peer_is_asked_nothing_once_a_second() {
        let mut asking = asking(0);
        assert!(question(asking.next(at(0))).targets.is_empty());
        assert_eq!(asking.next(at(1)), Next::Wait(at(1000)));
        assert!(!asking.want(0));
    }

    #[test]
    fn a_new_conversation_begins_with_everything() {
        let mut asking = asking(2);
        question(asking.next(at(0)));
        asking.want(1);
        asking.disconnected();
        asking.connected(at(300));
        assert_eq!(question(asking.next(at(300))).targets, ["target0", "target1"]);
        assert_eq!(asking.next(at(301)), Next::Wait(at(1300)));
    }

    #[test]
    fn an_answer_that_nobody_asked_for_is_refused() {
        let mut asking = asking(1);
        let nothing = Reply::Answers { number: 0, about: Vec::new() };
        assert_eq!(asking.answered(nothing), Err(ProtocolError::OtherQuestion));
        let asked = question(asking.next(at(0)));
        let reply = Reply::Answers { number: asked.number, about: vec![Said::Unknown] };
        assert_eq!(asking.answered(reply.clone()), Ok((at(0), vec![(0, None)])));
        assert_eq!(asking.answered(reply), Err(ProtocolError::OtherQuestion));
    }

    #[test]
    fn a_clock_that_jumps_makes_neither_a_rush_nor_a_silence() {
        let mut asking = asking(1);
        question(asking.next(at(1_000_000)));
        // Back: the next round is a second away from there.
        assert_eq!(asking.next(at(10)), Next::Wait(at(1010)));
        question(asking.next(at(1010)));
        // Ahead: one question, not one for every second that is gone.
        question(asking.next(at(90_000_000)));
        assert_eq!(asking.next(at(90_000_001)), Next::Wait(at(90_001_000)));
    }

    proptest! {
        #[test]
        fn whatever_is_wanted_and_whenever_questions_keep_their_distance_and_their_size(
            targets in 0usize..700,
            steps in prop::collection::vec((0u64..2_000_000, prop::collection::vec(0usize..800, 0..5)), 1..60),
        ) {
            let mut asking = asking(targets);
            let mut now = Duration::ZERO;
            let mut last: Option<Duration> = None;
            for (pause, wanted) in steps {
                now += Duration::from_micros(pause);
                for target in wanted {
                    asking.want(target);
                }
                match asking.next(now) {
                    Next::Ask(asked) => {
                        prop_assert!(asked.targets.len() <= MOST_TARGETS);
                        let different: BTreeSet<_> = asked.targets.iter().collect();
                        prop_assert_eq!(different.len(), asked.targets.len());
                        prop_assert!(last.is_none_or(|last| now >= last + GAP));
                        last = Some(now);
                    }
                    Next::Wait(until) => prop_assert!(until > now && until <= now + ROUND),
                }
            }
        }

        #[test]
        fn only_an_answer_to_what_was_asked_is_taken(targets in 0usize..5, number in 0u64..3, given in 0usize..7) {
            let mut asking = asking(targets);
            asking.next(at(0));
            asking.connected(at(10));
            asking.next(at(10));
            let about = vec![Said::Known {
                last_good_age_ns: Some(u64::MAX), late: true, nic_answers: None, kernel: None
            }; given];
            let heard = asking.answered(Reply::Answers { number, about });
            prop_assert_eq!(heard.is_ok(), number == 2 && given == targets);
        }
    }
}
