//! Entries of the journal, as the API tells them.

use crate::journal::{Journal, What, tail};
use std::collections::HashSet;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// Which entries of the journal are wanted. A quote within a text is escaped, so what is looked for is in no text.
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

    fn is_for(&self, line: &str) -> bool {
        self.target.as_ref().is_none_or(|mark| line.contains(mark))
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| line.contains(kind)))
    }
}

/// The entries of the past, then those to come.
pub(super) fn events(
    journal: &Journal,
    mut stream: &UnixStream,
    wish: &Wish,
    lines: usize,
    follow: bool,
) -> io::Result<()> {
    let wanted = |line: &str| wish.is_for(line);
    // Followed before the past is read, so that nothing falls in between; what comes twice is left out.
    let following = follow.then(|| journal.follow());
    let past = tail(journal.path(), lines, wanted)?;
    for line in &past {
        stream.write_all(format!("{line}\n").as_bytes())?;
    }
    let Some(following) = following else { return hang_up(stream) };
    let already_told: HashSet<&str> = past.iter().map(String::as_str).collect();
    loop {
        match following.recv_timeout(Duration::from_secs(1)) {
            Ok(line) if wanted(&line) && !already_told.contains(&*line) => {
                stream.write_all(format!("{line}\n").as_bytes())?;
            }
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) if is_gone(stream) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
            // This asker did not read for too long.
            Err(RecvTimeoutError::Disconnected) => return hang_up(stream),
        }
    }
}

/// Entries are many lines: the end of the stream is their end.
fn hang_up(stream: &UnixStream) -> io::Result<()> {
    stream.shutdown(std::net::Shutdown::Both)
}

fn is_gone(stream: &UnixStream) -> bool {
    use rustix::net::{RecvFlags, recv};
    let mut byte = [0; 1];
    match recv(stream, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, received)) => received == 0,
        Err(error) => error != rustix::io::Errno::AGAIN,
    }
}
