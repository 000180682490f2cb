//! Records for people.

use super::{AuditEntry, AuditKind, AuditView};
use crate::command::{Command, CommandState, Refusal};
use crate::date::rfc3339;
use crate::opcode::{Opcode, Subject};
use core::time::Duration;

impl AuditView {
    /// When a record was written: the date, or the time since the target was booted if its agent has not told the date.
    #[must_use]
    pub fn time_of(&self, entry: &AuditEntry) -> String {
        match self.wall_offset {
            Some(offset) => rfc3339(Duration::from_nanos(entry.at.saturating_add(offset))),
            None => format!("{:.6} s after boot", Duration::from_nanos(entry.at).as_secs_f64()),
        }
    }
}

impl AuditEntry {
    /// The command, if its opcode is known. Of one that is not authentic it is what it claims.
    #[must_use]
    pub fn command(&self) -> Option<Command> {
        Some(Command {
            opcode: Opcode::from_number(self.opcode)?,
            subject: self.subject,
            start: self.start,
            most_victims: self.most_victims,
            argument: self.argument,
            dry_run: self.dry_run,
        })
    }

    /// What was commanded, in the words of the opcodes.
    #[must_use]
    pub fn order(&self) -> String {
        let mut text = self.opcode_name();
        if self.command().is_none_or(|command| command.opcode.subject() != Subject::Nothing) {
            text.push_str(&format!(" {}", self.subject));
        }
        if self.argument > 0 {
            text.push_str(&format!(" argument {}", self.argument));
        }
        if self.most_victims > 0 {
            text.push_str(&format!(" at most {}", self.most_victims));
        }
        if self.dry_run {
            text.push_str(" dry-run");
        }
        text
    }

    /// What became of it.
    #[must_use]
    pub fn outcome(&self) -> String {
        let mut text = match (self.kind, self.state) {
            (AuditKind::Judged, CommandState::Running) => "accepted".to_owned(),
            (_, state) => state.to_string(),
        };
        if self.refusal != Refusal::None {
            text.push_str(&format!(": {}", self.refusal));
        }
        if self.failure != 0 {
            text.push_str(&format!(" ({})", self.failure));
        }
        if self.kind == AuditKind::Ended {
            let AuditEntry { matched, signalled, remaining, .. } = self;
            text.push_str(&format!(", {matched} matched, {signalled} signalled, {remaining} alive"));
        }
        if self.left_out > 0 {
            text.push_str(&format!(" (and {} refusals before it that are not listed)", self.left_out));
        }
        text
    }
}
