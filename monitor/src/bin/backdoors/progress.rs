//! A line on the terminal that says what is waited for, once that takes longer than a second.

use crate::units::time;
use std::io::{IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long nothing is said.
const FIRST: Duration = Duration::from_secs(1);
/// How often it is said anew.
const AGAIN: Duration = Duration::from_millis(200);
/// Columns that a line may take where nobody knows how many there are.
const COLUMNS: usize = 80;

/// Waiting for something. The line is gone when this is.
pub struct Waiting(Option<(Sender<String>, JoinHandle<()>)>);

impl Waiting {
    /// Waits for `what`. Nothing is ever shown to programs, which read `json` or have no terminal, nor on a terminal that cannot take
    /// a line back.
    pub fn begin(what: &str, json: bool) -> Waiting {
        let is_dumb = std::env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
        if json || is_dumb || !std::io::stderr().is_terminal() {
            return Waiting(None);
        }
        let columns =
            rustix::termios::tcgetwinsize(std::io::stderr()).map_or(COLUMNS, |size| usize::from(size.ws_col));
        let (sender, said) = channel();
        let what = what.to_owned();
        // Without a thread there is no line, and nothing else is missed.
        let thread = std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || show(&mut std::io::stderr(), &what, columns, &said));
        Waiting(thread.ok().map(|thread| (sender, thread)))
    }

    /// From now on it is something else that is waited for.
    pub fn say(&self, what: &str) {
        if let Some((sender, _)) = &self.0 {
            // The thread ends after this is gone only.
            drop(sender.send(what.to_owned()));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            drop(thread.join());
        }
    }
}

/// Shows what was said last, until nobody can say anything any more.
fn show(terminal: &mut impl Write, what: &str, columns: usize, said: &Receiver<String>) {
    let begun = Instant::now();
    let mut what = what.to_owned();
    let mut shown = false;
    loop {
        let wait = if shown { AGAIN } else { FIRST.saturating_sub(begun.elapsed()) };
        match said.recv_timeout(wait) {
            Ok(new) => what = new,
            Err(RecvTimeoutError::Timeout) => shown = true,
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if shown {
            put(terminal, &line(&what, begun.elapsed(), columns));
        }
    }
    if shown {
        put(terminal, "");
    }
}

/// Replaces the line. A terminal that does not take it is none to be told of.
fn put(terminal: &mut impl Write, line: &str) {
    drop(terminal.write_all(format!("\r\x1b[K{line}").as_bytes()).and_then(|()| terminal.flush()));
}

/// A line that does not reach the last column, where terminals begin another one.
fn line(what: &str, since: Duration, columns: usize) -> String {
    let since = time(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    let room = columns.saturating_sub(since.chars().count() + 4);
    let shown: String = what.chars().take(room).collect();
    format!("{shown} … {since}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written while this lasts, and the waiting changes to these.
    fn shown_after(lasting: Duration, changes: &[&str]) -> String {
        let (sender, said) = channel();
        changes.iter().for_each(|what| sender.send((*what).to_owned()).unwrap());
        let shown = std::thread::spawn(move || {
            let mut terminal = Vec::new();
            show(&mut terminal, "waiting for web1", 80, &said);
            terminal
        });
        std::thread::sleep(lasting);
        drop(sender);
        String::from_utf8(shown.join().unwrap()).unwrap()
    }

    #[test]
    fn what_ends_within_a_second_is_not_spoken_of() {
        assert_eq!(shown_after(Duration::from_millis(300), &[]), "");
    }

    #[test]
    fn what_takes_longer_has_a_line_that_is_taken_back_at_the_end() {
        let shown = shown_after(Duration::from_millis(1500), &[]);
        assert!(shown.starts_with("\r\x1b[Kwaiting for web1 … 1.0 s"), "{shown:?}");
        assert!(shown.ends_with("\r\x1b[K"), "{shown:?}");
    }

    #[test]
    fn what_is_waited_for_can_change() {
        let shown = shown_after(Duration::from_millis(1300), &["the daemon", "the journal"]);
        assert!(shown.contains("the journal … ") && !shown.contains("the daemon"), "{shown:?}");
    }

    #[test]
    fn a_line_never_reaches_the_last_column() {
        let long = line(&"x".repeat(300), Duration::from_secs(2), 40);
        assert!(long.chars().count() < 40 && long.ends_with("… 2.0 s"), "{long}");
        assert_eq!(line("web1", Duration::from_secs(2), 0), " … 2.0 s");
    }
}
