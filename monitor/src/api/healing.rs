//! Orders, as the API takes and answers them.

use super::protocol::{ErrorKind, Failure, MOST_MATCHING, ProcessRow};
use super::views::{TargetHandle, row};
use crate::clock::nanoseconds;
use crate::journal::{CommandEnd, Deed};
use crate::repair::{Outcome, Wait, reason};
use crate::sampler::{OrderError, OrderReply};
use crate::treatment::{Ended, Waited};
use backdoors_sensor_box::Refusal;
use serde::{Deserialize, Serialize};

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealAnswer {
    /// The target.
    pub target: String,
    /// Whether nothing was to be done.
    pub dry_run: bool,
    /// How it ended: the first command that did not end as asked, or else the last.
    #[serde(flatten)]
    pub telling: CommandAnswer,
    /// Commands that were asked for, notices included, and kills left out that nobody was left for.
    #[serde(default)]
    pub asked: usize,
    /// Those that were begun, in order. The first that was not carried out is the last.
    #[serde(default)]
    pub commands: Vec<CommandAnswer>,
    /// How the time ended that victims had to end by themselves; absent if they had none.
    #[serde(default)]
    pub grace: Option<GraceAnswer>,
    /// Why the rest was withheld though the target would have obeyed.
    #[serde(default)]
    pub withheld: Option<String>,
    /// From the beginning to the end of all, as the monitor saw it, nanoseconds.
    pub took_ns: u64,
    /// The target's monotonic clock when it was last sampled, nanoseconds.
    pub clock_ns: u64,
    /// Processes that matched when the order came.
    pub matching: usize,
    /// The first of them.
    pub processes: Vec<ProcessRow>,
}

/// How the time ended that victims had to end by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraceAnswer {
    /// How long it was, nanoseconds.
    pub took_ns: u64,
    /// Processes that were left to be killed; absent if nobody knows.
    pub left: Option<usize>,
}

impl From<Waited> for GraceAnswer {
    fn from(waited: Waited) -> GraceAnswer {
        GraceAnswer { took_ns: nanoseconds(waited.time), left: waited.left }
    }
}

/// How one command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandAnswer {
    /// Name of the opcode.
    pub opcode: String,
    /// The id of a process, a user or a control group, or a number of the target's, by opcode.
    pub subject: u64,
    /// Signal, nice value, nanoseconds or word, by opcode.
    #[serde(default)]
    pub argument: u64,
    /// What kind of command it is.
    #[serde(default)]
    pub deed: Deed,
    /// How it ended.
    pub outcome: HealOutcome,
    /// Why it did not end as asked.
    pub reason: Option<String>,
    /// Counts and times, if the target obeyed.
    pub end: Option<CommandEnd>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealOutcome {
    /// As asked.
    Done,
    /// Another monitor holds the lease: it counts as a vote for the same command of that one.
    Voted,
    /// The target refused.
    Refused,
    /// The target gave up: some of those to be killed are alive, or it was not carried out.
    GaveUp,
    /// It did not end in time, and may still be carried out.
    TimedOut,
    /// The target was not reached, and nothing was written.
    Unreachable,
    /// Nobody can tell.
    Unknown,
}

impl CommandAnswer {
    fn new(ended: &Ended) -> CommandAnswer {
        let end = |view| Some(CommandEnd::new(&ended.command, view, ended.took));
        let (outcome, reason, end) = match &ended.outcome {
            Outcome::Done(view) => (HealOutcome::Done, None, end(view)),
            Outcome::Voted(_) => {
                let reason =
                    "another monitor holds the lease; this counts as a vote for the same command there";
                (HealOutcome::Voted, Some(reason.to_owned()), None)
            }
            Outcome::Refused(_) if ended.was_not_needed() => {
                (HealOutcome::Done, Some("nobody was left to be killed".to_owned()), None)
            }
            Outcome::Refused(view) => {
                let what = match view.reason {
                    Refusal::Failed | Refusal::NotCarriedOut => "the target did not do it",
                    _ => "the target refused",
                };
                (HealOutcome::Refused, Some(format!("{what}: {}", reason(view))), None)
            }
            Outcome::GaveUp(view) if view.reason == Refusal::NotTheHolder => {
                let reason = "another monitor took the lease while the command was running".to_owned();
                (HealOutcome::GaveUp, Some(reason), end(view))
            }
            Outcome::GaveUp(view) if view.reason != Refusal::None => {
                (HealOutcome::GaveUp, Some(format!("the target gave up: {}", reason(view))), end(view))
            }
            Outcome::GaveUp(view) => {
                let reason =
                    format!("the target gave up: {} of those to be killed are alive", view.remaining);
                (HealOutcome::GaveUp, Some(reason), end(view))
            }
            Outcome::TimedOut { waiting_for, last } => {
                let outcome = match waiting_for {
                    Wait::Path => HealOutcome::Unreachable,
                    _ => HealOutcome::TimedOut,
                };
                let reason = format!("no end in time: waited for {}", waiting_for.text());
                (outcome, Some(reason), last.as_ref().and_then(end))
            }
            Outcome::Unknown(doubt) => (HealOutcome::Unknown, Some(doubt.to_string()), None),
        };
        CommandAnswer {
            opcode: ended.command.opcode.name().to_owned(),
            subject: ended.command.subject,
            argument: ended.command.argument,
            deed: Deed::of(&ended.command),
            outcome,
            reason,
            end,
        }
    }
}

impl TargetHandle {
    /// `None` if nothing was begun, which no order ends with.
    pub(super) fn healed(&self, reply: &OrderReply) -> Option<HealAnswer> {
        let commands: Vec<CommandAnswer> = reply.commands.iter().map(CommandAnswer::new).collect();
        // A notice that was not given kept nothing from being done.
        let counts = reply.commands.iter().zip(&commands).filter(|(ended, _)| !ended.was_no_notice());
        let mut counts = counts.map(|(_, command)| command);
        let amiss = counts.find(|command| command.outcome != HealOutcome::Done);
        let mut telling = amiss.or(commands.last())?.clone();
        if let Some(reason) = &reply.withheld {
            (telling.outcome, telling.reason) = (HealOutcome::Refused, Some(reason.clone()));
        }
        let status = self.status();
        Some(HealAnswer {
            target: self.config.name.clone(),
            dry_run: reply.commands.last()?.command.dry_run,
            telling,
            asked: reply.asked,
            commands,
            grace: reply.waited.map(GraceAnswer::from),
            withheld: reply.withheld.clone(),
            took_ns: nanoseconds(reply.took),
            clock_ns: status.view.clock,
            matching: reply.matching.len(),
            processes: reply
                .matching
                .iter()
                .take(MOST_MATCHING)
                .map(|process| row(process, &status.users))
                .collect(),
        })
    }
}

impl From<OrderError> for Failure {
    fn from(error: OrderError) -> Failure {
        let kind = match &error {
            OrderError::Unreachable(_) => ErrorKind::Unreachable,
            OrderError::NoTable(_) => ErrorKind::Internal,
            OrderError::NotTheHolder(_) => ErrorKind::StandsBy,
            OrderError::NoSuchProcess(_) => ErrorKind::NoSuchProcess,
            OrderError::Busy => ErrorKind::Busy,
            OrderError::NoGrace | OrderError::NoServices => ErrorKind::BadRequest,
            OrderError::NotOpen(_) => ErrorKind::NotOpen,
            OrderError::Unsafe { .. } => ErrorKind::Unsafe,
        };
        Failure { kind, message: error.to_string() }
    }
}
