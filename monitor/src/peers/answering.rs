//! Answering a peer. Pure but for what is known.

use super::allowance::Allowance;
use super::opinion::Knowledge;
use super::protocol::{ProtocolError, Question, Reply};
use std::time::Duration;

/// Targets that a peer may ask for in a second, in the long run.
const RATE: f64 = 20_000.0;
/// Targets that it may ask for beyond that for a moment.
const BURST: f64 = 4096.0;
/// What a question costs even if it names no target.
const LEAST: usize = 16;

/// One end of a conversation: that which answers, as fast as a peer that keeps to the rules can ask, and no faster.
#[derive(Debug)]
pub struct Answering(Allowance);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// How long to wait before it is sent; at most some hundredths of a second.
    pub pause: Duration,
}

/// A question that is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What to tell the peer before the conversation is ended.
    pub bytes: Vec<u8>,
    /// Why.
    pub why: ProtocolError,
}

impl Answering {
    /// A conversation that begins now.
    #[must_use]
    pub fn new(now: Duration) -> Answering {
        Answering(Allowance::new(RATE, BURST, now))
    }

    /// Answers a question from what is known.
    ///
    /// # Errors
    /// A refusal to be sent; the conversation is over then.
    pub fn asked(
        &mut self,
        now: Duration,
        bytes: &[u8],
        knowledge: &dyn Knowledge,
    ) -> Result<Answer, Refusal> {
        let question = Question::decode(bytes).map_err(|why| {
            let bytes = Reply::Refused { reason: why.to_string() }.encode();
            Refusal { bytes, why }
        })?;
        let pause = self.0.charge(now, question.targets.len().max(LEAST) as f64);
        let about = question.targets.iter().map(|target| knowledge.about(target).into()).collect();
        Ok(Answer { bytes: Reply::Answers { number: question.number, about }.encode(), pause })
    }
}

#[cfg(test)]
mod tests {
    use super::super::opinion::Answered;
    use super::super::protocol::{MOST_TARGETS, Said, VERSION};
    use super::*;
    use proptest::prelude::*;

    struct Web1;

    impl Knowledge for Web1 {
        fn about(&self, target: &str) -> Option<Answered> {
            let last_good_age = Some(Duration::from_millis(3));
            (target == "web1").then_some(Answered {
                last_good_age,
                late: false,
                nic_answers: None,
                kernel: None,
            })
        }
    }

    #[test]
    fn known_targets_are_answered_and_others_are_called_unknown() {
        let mut answering = Answering::new(Duration::ZERO);
        let question = Question::new(5, vec!["web1".into(), "Web1".into(), String::new()]).encode();
        let answer = answering.asked(Duration::ZERO, &question, &Web1).unwrap();
        assert_eq!(answer.pause, Duration::ZERO);
        let known =
            Said::Known { last_good_age_ns: Some(3_000_000), late: false, nic_answers: None, kernel: None };
        assert_eq!(
            Reply::decode(&answer.bytes).unwrap().answers(5, 3),
            Ok(vec![known, Said::Unknown, Said::Unknown])
        );
    }

    #[test]
    fn a_flood_is_answered_at_a_bounded_rate() {
        let question = Question::new(1, vec!["x".into(); MOST_TARGETS]).encode();
        let mut answering = Answering::new(Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut answered = 0;
        while now < Duration::from_secs(2) && answered < 1_000_000 {
            now += answering.asked(now, &question, &Web1).unwrap().pause;
            answered += MOST_TARGETS;
        }
        let most = 2.0 * RATE + BURST + MOST_TARGETS as f64;
        assert!((RATE..=most).contains(&(answered as f64)), "{answered}");
    }

    #[test]
    fn who_asks_as_often_as_the_rules_allow_never_waits() {
        let question = Question::new(1, vec!["x".into(); 20]).encode();
        let mut answering = Answering::new(Duration::ZERO);
        for step in 0..1000 {
            let now = Duration::from_millis(5 * step);
            assert_eq!(answering.asked(now, &question, &Web1).unwrap().pause, Duration::ZERO);
        }
    }

    #[test]
    fn another_version_is_told_why() {
        let refusal =
            Answering::new(Duration::ZERO).asked(Duration::ZERO, br#"{"version":9}"#, &Web1).unwrap_err();
        assert_eq!(refusal.why, ProtocolError::Version(9));
        let told = Reply::decode(&refusal.bytes).unwrap().answers(0, 0).unwrap_err().to_string();
        assert!(told.contains(&format!("version 9 of the peers' protocol, not {VERSION}")), "{told}");
    }

    proptest! {
        #[test]
        fn no_bytes_and_no_clock_make_it_panic_or_wait_long(
            frames in prop::collection::vec((any::<u64>(), any::<Vec<u8>>(), 0usize..MOST_TARGETS), 1..20)
        ) {
            let mut answering = Answering::new(Duration::ZERO);
            for (time, noise, targets) in frames {
                let now = Duration::from_nanos(time);
                prop_assert!(answering.asked(now, &noise, &Web1).is_err());
                let question = Question::new(1, vec!["y".into(); targets]).encode();
                let pause = answering.asked(now, &question, &Web1).unwrap().pause;
                prop_assert!(pause < Duration::from_millis(50));
            }
        }
    }
}
