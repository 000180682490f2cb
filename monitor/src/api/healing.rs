//! Orders, as the API takes and answers them.

use super::views::{TargetHandle, row};
use crate::clock::nanoseconds;
use crate::journal::{command_end, deed_of};
use crate::repair::{Outcome, Wait, reason};
use crate::sampler::{OrderError, OrderReply};
use crate::treatment::{Ended, Waited};
use backdoors_monitor_api::{CommandAnswer, ErrorKind, Failure, GraceAnswer, HealAnswer, HealOutcome};
use backdoors_sensor_box::Refusal;

/// Most processes that an answer lists.
const MOST_MATCHING: usize = 1000;

impl From<Waited> for GraceAnswer {
    fn from(waited: Waited) -> GraceAnswer {
        GraceAnswer { took_ns: nanoseconds(waited.time), left: waited.left }
    }
}

impl From<&Ended> for CommandAnswer {
    fn from(ended: &Ended) -> CommandAnswer {
        let end = |view| Some(command_end(&ended.command, view, ended.took));
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
            deed: deed_of(&ended.command),
            outcome,
            reason,
            end,
        }
    }
}

impl TargetHandle {
    /// `None` if nothing was begun, which no order ends with.
    pub(super) fn healed(&self, reply: &OrderReply) -> Option<HealAnswer> {
        let commands: Vec<CommandAnswer> = reply.commands.iter().map(CommandAnswer::from).collect();
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
            OrderError::Fence(_) | OrderError::Unsafe { .. } => ErrorKind::Unsafe,
        };
        Failure { kind, message: error.to_string() }
    }
}
