//! What an external healer answered: hostile bytes until they were decoded here.

use super::VERSION;
use crate::{Culprit, Diagnosis, Evidence, Repair};
use backdoors_sensor_box::{Command, Opcode, Subject};
use serde::Deserialize;
use std::time::Duration;

/// Most observations in an answer.
pub const MOST_EVIDENCE: usize = 16;
/// Longest name of an observation, bytes.
pub const MOST_NAME: usize = 64;
/// Longest sentence, bytes.
pub const MOST_TEXT: usize = 500;

/// Why an answer is none. Nothing of it was used; the program must be corrected.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// It is no JSON document of this form.
    #[error("its answer is not what was expected: {0}")]
    Malformed(String),
    /// It is of another version.
    #[error("its answer has version {0}, and this monitor reads version {VERSION}")]
    Version(u32),
    /// It both accuses and does not, or misses a part of an accusation.
    #[error("its answer has neither `nothing` alone, nor `culprit`, `evidence` and `repair` together")]
    Incomplete,
    /// There is no such command.
    #[error("`repair.opcode` is `{0}`; there are: {1}")]
    Opcode(String, String),
    /// It accuses without a reason, or with too many.
    #[error("it gives {0} pieces of evidence: give 1 to {MOST_EVIDENCE}")]
    Evidence(usize),
    /// A text is too long.
    #[error("`{key}` has {bytes} bytes, {most} at most")]
    TooLong {
        /// Which.
        key: &'static str,
        /// Bytes it has.
        bytes: usize,
        /// Bytes it may have.
        most: usize,
    },
    /// It accuses one and would have another killed.
    #[error("it blames {0} and would {1} {2}: both must be about the same")]
    Disagrees(Culprit, Opcode, u64),
    /// A number alone may be another process's by now.
    #[error("`repair.start_ns` is missing: copy it from the process table of the case")]
    NoStart,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    nothing: Option<String>,
    culprit: Option<Blamed>,
    evidence: Option<Vec<Observation>>,
    repair: Option<Wanted>,
}

/// The version, whatever else there is.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum Blamed {
    User(u32),
    Process(u32),
    Tree(u32),
    Cgroup(u64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Observation {
    name: String,
    text: String,
    #[serde(default)]
    value: u64,
    limit: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    opcode: String,
    #[serde(default)]
    subject: u64,
    #[serde(default)]
    start_ns: u64,
    #[serde(default)]
    most_victims: u64,
    #[serde(default)]
    argument: u64,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    urgent: bool,
}

/// Makes a diagnosis of an answer. How many would be killed is left at 0: who runs the healer counts them, by a table
/// that is fresher.
///
/// # Errors
/// See [`AnswerError`].
pub fn decode(bytes: &[u8]) -> Result<Diagnosis, AnswerError> {
    let malformed = |error: serde_json::Error| AnswerError::Malformed(clean(&error.to_string()));
    // An array of the values, without their names, would pass for a document, too.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(AnswerError::Malformed("expected a JSON object, and nothing before or after it".into()));
    }
    // A later version may have fields that are unknown here: its number is the better complaint.
    let Versioned { version } = serde_json::from_slice(bytes).map_err(malformed)?;
    if version != VERSION {
        return Err(AnswerError::Version(version));
    }
    let document: Document = serde_json::from_slice(bytes).map_err(malformed)?;
    match document {
        Document { version: VERSION, nothing: Some(reason), culprit: None, evidence: None, repair: None } => {
            Ok(Diagnosis::Nothing { reason: bounded("nothing", &reason, MOST_TEXT)? })
        }
        Document {
            version: VERSION,
            nothing: None,
            culprit: Some(culprit),
            evidence: Some(evidence),
            repair: Some(repair),
        } => {
            let culprit = match culprit {
                Blamed::User(user) => Culprit::User { user },
                Blamed::Process(pid) => Culprit::Process { pid },
                Blamed::Tree(pid) => Culprit::Tree { pid },
                Blamed::Cgroup(id) => Culprit::Cgroup { id },
            };
            let command = command(&repair)?;
            agree(culprit, &command)?;
            if evidence.is_empty() || evidence.len() > MOST_EVIDENCE {
                return Err(AnswerError::Evidence(evidence.len()));
            }
            let evidence = evidence.iter().map(observation).collect::<Result<_, _>>()?;
            let time = if repair.urgent { Duration::ZERO } else { Duration::MAX };
            let repair = Repair::one(command).within(time);
            Ok(Diagnosis::Culprit { culprit, evidence, repair, victims: 0 })
        }
        _ => Err(AnswerError::Incomplete),
    }
}

fn command(wanted: &Wanted) -> Result<Command, AnswerError> {
    let known = Opcode::ALL.iter().find(|(_, name)| *name == wanted.opcode);
    let Some((opcode, _)) = known else {
        let names: Vec<&str> = Opcode::ALL.iter().map(|(_, name)| *name).collect();
        let shown: String = wanted.opcode.chars().take(MOST_NAME).collect();
        return Err(AnswerError::Opcode(clean(&shown), names.join(", ")));
    };
    Ok(Command {
        opcode: *opcode,
        subject: wanted.subject,
        start: wanted.start_ns,
        most_victims: wanted.most_victims,
        argument: wanted.argument,
        dry_run: wanted.dry_run,
    })
}

/// Whoever reads a proposal must be able to trust that it is about the one who is blamed.
fn agree(culprit: Culprit, command: &Command) -> Result<(), AnswerError> {
    let subject = command.subject;
    let same = match (culprit, command.opcode.subject()) {
        (_, Subject::Nothing) => true,
        (Culprit::User { user }, Subject::User) => u64::from(user) == subject,
        (Culprit::Process { pid }, Subject::Process) | (Culprit::Tree { pid }, Subject::Tree) => {
            u64::from(pid) == subject
        }
        (Culprit::Cgroup { id }, Subject::Cgroup) => id == subject,
        _ => false,
    };
    match command.opcode.subject() {
        _ if !same => Err(AnswerError::Disagrees(culprit, command.opcode, subject)),
        Subject::Process | Subject::Tree if command.start == 0 => Err(AnswerError::NoStart),
        _ => Ok(()),
    }
}

fn observation(observation: &Observation) -> Result<Evidence, AnswerError> {
    Ok(Evidence {
        name: bounded("evidence.name", &observation.name, MOST_NAME)?.into(),
        text: bounded("evidence.text", &observation.text, MOST_TEXT)?,
        value: observation.value,
        limit: observation.limit,
    })
}

fn bounded(key: &'static str, text: &str, most: usize) -> Result<String, AnswerError> {
    if text.len() > most {
        return Err(AnswerError::TooLong { key, bytes: text.len(), most });
    }
    Ok(clean(text))
}

/// The text with everything replaced that a terminal or a journal could take for more than text.
#[must_use]
pub fn clean(text: &str) -> String {
    let turns = |letter| matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    text.chars()
        .map(|letter| if letter.is_control() || turns(letter) { '\u{fffd}' } else { letter })
        .collect()
}
