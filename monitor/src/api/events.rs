//! Entries of the journal, as the API tells them.

use super::answers::MOST_LINES;
use crate::journal::{Journal, What, tail};
use std::collections::HashSet;
use std::io;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// How often it is seen to that somebody still listens.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Which entries are wanted.
pub(super) struct Wish {
    target: Option<String>,
    kinds: Vec<String>,
}

impl Wish {
    pub(super) fn new(target: Option<&str>, audit: bool) -> Wish {
        let kinds = if audit { What::AUDIT } else { &[] };
        Wish {
            // Only names from the configuration get here: nothing in them needs escaping.
            target: target.map(|name| format!("\"target\":\"{name}\"")),
            kinds: kinds.iter().map(|kind| format!("\"kind\":\"{kind}\"")).collect(),
        }
    }

    pub(super) fn is_for(&self, line: &str) -> bool {
        self.target.as_ref().is_none_or(|mark| line.contains(mark))
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| line.contains(kind)))
    }
}

/// Hands the last so many lines to `tell`, then each that comes, until `is_over`, or `tell` says that nobody listens any more.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn follow(
    journal: &Journal,
    wish: &Wish,
    lines: usize,
    is_over: impl Fn() -> bool,
    mut tell: impl FnMut(&str) -> bool,
) -> io::Result<()> {
    // Followed before the past is read, so that nothing falls in between; what comes twice is left out.
    let following = journal.follow();
    let past = tail(journal.path(), lines.min(MOST_LINES), |line| wish.is_for(line))?;
    if !past.iter().all(|line| tell(line)) {
        return Ok(());
    }
    let already_told: HashSet<&str> = past.iter().map(String::as_str).collect();
    loop {
        match following.recv_timeout(LOOK_AGAIN) {
            Ok(line) if wish.is_for(&line) && !already_told.contains(&*line) => {
                if !tell(&line) {
                    return Ok(());
                }
            }
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) if is_over() => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
            // This asker did not read for too long.
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}
