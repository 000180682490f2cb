//! The bytes that monitors exchange: one question and one answer after the other, each a frame of JSON.
//!
//! A peer has proved who it is, and may be broken or taken over all the same: whatever it sends is bounded and checked.

use super::opinion::Answered;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Version of questions and answers. Another one is refused, with words that say so.
pub const VERSION: u32 = 1;
/// Most bytes of a frame.
pub const MOST_BYTES: usize = 64 << 10;
/// Most targets in one question. A frame has room for as many names, or answers, of the longest kind.
pub const MOST_TARGETS: usize = 256;
/// Most letters kept of a peer's words.
const MOST_WORDS: usize = 200;

/// A question: what do you know of these targets?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// [`VERSION`].
    version: u32,
    /// Comes back with the answer.
    pub number: u64,
    /// Names of the targets.
    pub targets: Vec<String>,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// What is known.
    Answers {
        /// The question's number.
        number: u64,
        /// An answer for each target, in the order of the question.
        about: Vec<Said>,
    },
    /// The question is not answered, and the conversation is over.
    Refused {
        /// Why.
        reason: String,
    },
}

/// An answer about one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// No target has that name here.
    Unknown,
    /// What is known of it.
    Known {
        /// Age of the last good reading, nanoseconds.
        last_good_age_ns: Option<u64>,
        /// Whether the monitor that answers is late itself.
        late: bool,
        /// Whether the target's NIC answered the newest probe.
        nic_answers: Option<bool>,
        /// The verdict of the target's kernel.
        kernel: Option<crate::verdict::State>,
    },
}

/// Why a frame is no question or no answer. The conversation with that peer is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// It makes no sense.
    #[error("it does not speak the protocol: {0}")]
    Malformed(String),
    /// The question is of another version.
    #[error("it speaks version {0} of the peers' protocol, not {VERSION}: update the older monitor")]
    Version(u32),
    /// The question names too many targets.
    #[error("it asked for {0} targets at once, more than {MOST_TARGETS}")]
    TooMany(usize),
    /// The answer is to another question.
    #[error("it answered another question than the one that was asked")]
    OtherQuestion,
    /// There are more or fewer answers than were asked for.
    #[error("it gave {given} answers to a question about {asked} targets")]
    Count {
        /// Answers that were given.
        given: usize,
        /// Answers that were asked for.
        asked: usize,
    },
    /// The peer refused.
    #[error("it refused to answer: {0}")]
    Refused(String),
}

impl Question {
    /// A question about `targets`, of which there are at most [`MOST_TARGETS`].
    #[must_use]
    pub fn new(number: u64, targets: Vec<String>) -> Question {
        Question { version: VERSION, number, targets }
    }

    /// The question's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Takes a peer's question apart.
    ///
    /// # Errors
    /// See [`ProtocolError`].
    pub fn decode(bytes: &[u8]) -> Result<Question, ProtocolError> {
        #[derive(Deserialize)]
        struct Any {
            version: u32,
        }
        // A question of another version may look otherwise in all but this.
        let Any { version } = decode(bytes)?;
        if version != VERSION {
            return Err(ProtocolError::Version(version));
        }
        let question: Question = decode(bytes)?;
        if question.targets.len() > MOST_TARGETS {
            return Err(ProtocolError::TooMany(question.targets.len()));
        }
        Ok(question)
    }
}

impl Reply {
    /// The reply's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Takes a peer's reply apart.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Reply, ProtocolError> {
        decode(bytes)
    }

    /// The answers to question `number` about `asked` targets.
    ///
    /// # Errors
    /// See [`ProtocolError`].
    pub fn answers(self, number: u64, asked: usize) -> Result<Vec<Said>, ProtocolError> {
        match self {
            Reply::Refused { reason } => Err(ProtocolError::Refused(printable(&reason))),
            Reply::Answers { number: other, .. } if other != number => Err(ProtocolError::OtherQuestion),
            Reply::Answers { about, .. } if about.len() != asked => {
                Err(ProtocolError::Count { given: about.len(), asked })
            }
            Reply::Answers { about, .. } => Ok(about),
        }
    }
}

impl From<Option<Answered>> for Said {
    fn from(answered: Option<Answered>) -> Said {
        answered.map_or(Said::Unknown, |Answered { last_good_age, late, nic_answers, kernel }| {
            let last_good_age_ns = last_good_age.map(crate::clock::nanoseconds);
            Said::Known { last_good_age_ns, late, nic_answers, kernel }
        })
    }
}

impl From<Said> for Option<Answered> {
    fn from(said: Said) -> Option<Answered> {
        match said {
            Said::Unknown => None,
            Said::Known { last_good_age_ns, late, nic_answers, kernel } => {
                let last_good_age = last_good_age_ns.map(Duration::from_nanos);
                Some(Answered { last_good_age, late, nic_answers, kernel })
            }
        }
    }
}

fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    // Nothing in a question or a reply can fail to be written: all keys are words, and memory does not run out.
    serde_json::to_vec(message).unwrap_or_default()
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ProtocolError> {
    serde_json::from_slice(bytes).map_err(|error| ProtocolError::Malformed(printable(&error.to_string())))
}

/// A peer's words as screens and journals can bear them.
fn printable(words: &str) -> String {
    let seen = |letter: char| if letter.is_control() { '?' } else { letter };
    words.chars().take(MOST_WORDS).map(seen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::State;
    use proptest::prelude::*;

    fn said() -> impl Strategy<Value = Said> {
        let kernel = prop::option::of(prop::sample::select(vec![
            State::Healthy,
            State::Suspect,
            State::Failed,
            State::Unknown,
        ]));
        prop_oneof![
            Just(Said::Unknown),
            (any::<Option<u64>>(), any::<bool>(), any::<Option<bool>>(), kernel).prop_map(
                |(last_good_age_ns, late, nic_answers, kernel)| Said::Known {
                    last_good_age_ns,
                    late,
                    nic_answers,
                    kernel
                }
            )
        ]
    }

    proptest! {
        #[test]
        fn what_is_said_arrives(number: u64, about in prop::collection::vec(said(), 0..300)) {
            let bytes = Reply::Answers { number, about: about.clone() }.encode();
            let taken = Reply::decode(&bytes).and_then(|reply| reply.answers(number, about.len()));
            prop_assert_eq!(taken, Ok(about));
        }

        #[test]
        fn an_answer_stays_the_same_on_the_way(said in said()) {
            prop_assert_eq!(Said::from(Option::<Answered>::from(said)), said);
        }

        #[test]
        fn noise_is_refused(bytes: Vec<u8>) {
            prop_assert!(Question::decode(&bytes).is_err());
            prop_assert!(Reply::decode(&bytes).is_err());
        }

        #[test]
        fn a_damaged_frame_is_refused_or_means_as_much_as_was_asked_for(
            number in 0u64..9,
            names in prop::collection::vec("[a-z]{1,9}", 0..20),
            about in prop::collection::vec(said(), 0..20),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..9),
        ) {
            let question = Question::new(number, names).encode();
            let reply = Reply::Answers { number, about: about.clone() }.encode();
            for mut bytes in [question, reply] {
                for (place, byte) in &damage {
                    let place = place.index(bytes.len());
                    bytes[place] = *byte;
                }
                if let Ok(question) = Question::decode(&bytes) {
                    prop_assert!(question.targets.len() <= MOST_TARGETS);
                }
                let taken = Reply::decode(&bytes).and_then(|reply| reply.answers(number, about.len()));
                if let Ok(taken) = taken {
                    prop_assert_eq!(taken.len(), about.len());
                }
            }
        }
    }

    #[test]
    fn the_largest_question_and_the_largest_answer_fit_in_a_frame() {
        let question = Question::new(u64::MAX, vec!["n".repeat(64); MOST_TARGETS]);
        assert!(question.encode().len() <= MOST_BYTES);
        let said = Said::Known {
            last_good_age_ns: Some(u64::MAX),
            late: false,
            nic_answers: Some(false),
            kernel: Some(State::Healthy),
        };
        let reply = Reply::Answers { number: u64::MAX, about: vec![said; MOST_TARGETS] };
        assert!(reply.encode().len() <= MOST_BYTES, "{}", reply.encode().len());
    }

    #[test]
    fn questions_that_ask_too_much_or_in_another_version_are_refused_in_words() {
        let crowd = Question::new(1, vec![String::new(); MOST_TARGETS + 1]).encode();
        assert_eq!(Question::decode(&crowd), Err(ProtocolError::TooMany(MOST_TARGETS + 1)));
        let newer = br#"{"version":2,"about":"everything"}"#;
        let refused = Question::decode(newer).unwrap_err();
        assert_eq!(refused, ProtocolError::Version(2));
        assert!(refused.to_string().contains("update the older"));
    }

    #[test]
    fn answers_to_another_question_or_to_more_than_was_asked_are_refused() {
        let reply = Reply::Answers { number: 7, about: vec![Said::Unknown] };
        assert_eq!(reply.clone().answers(7, 1), Ok(vec![Said::Unknown]));
        assert_eq!(reply.clone().answers(8, 1), Err(ProtocolError::OtherQuestion));
        assert_eq!(reply.answers(7, 2), Err(ProtocolError::Count { given: 1, asked: 2 }));
    }

    #[test]
    fn a_peers_words_cannot_paint_the_screen() {
        let reply = Reply::Refused { reason: format!("\u{1b}[2J{}", "no ".repeat(1000)) };
        let Err(ProtocolError::Refused(reason)) = reply.answers(0, 0) else { panic!("accepted") };
        assert!(reason.starts_with("?[2Jno no"), "{reason}");
        assert_eq!(reason.chars().count(), MOST_WORDS);
    }
}
