//! `backdoors events`.

use crate::ask::print;
use anyhow::Context;
use backdoors_monitor::api::{Answer, AskError, Client, Query};
use serde::Deserialize;
use std::path::Path;
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only events of this target.
    target: Option<String>,
    /// Go on with events as they happen.
    #[arg(short, long)]
    follow: bool,
    /// Begin with the last so many events.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1000)]
    lines: usize,
    /// Only what was found, wanted, allowed and done to targets, by whom, and what came of it.
    #[arg(long)]
    audit: bool,
    /// Print JSON lines, as in the journal.
    #[arg(long)]
    json: bool,
}

/// What is shown of an entry; other versions may write more.
#[derive(Deserialize)]
struct Shown {
    time: String,
    target: String,
    kind: String,
    text: String,
}

pub fn run(socket: &Path, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { target, follow, lines, audit, .. } = arguments;
    let query = Query::Events { target, lines, follow, audit };
    for line in Client::connect(socket)?.ask_lines(&query)? {
        let line = line.context("the monitor hung up")?;
        if let Ok(Answer::<()>::Error(failure)) = serde_json::from_str(&line) {
            return Err(AskError::Failed(failure).into());
        }
        if arguments.json {
            print(&format!("{line}\n"))?;
        } else {
            print(&show(&line))?;
        }
    }
    if arguments.follow {
        anyhow::bail!("the monitor hung up: it stopped, or this terminal was too slow");
    }
    Ok(ExitCode::SUCCESS)
}

/// The line for people of a line of the journal.
pub fn show(line: &str) -> String {
    match serde_json::from_str::<Shown>(line) {
        Ok(Shown { time, target, kind, text }) => format!("{time}  {target:<12}  {kind:<15}  {text}\n"),
        // Half a line that a crash left, or an entry of another version.
        Err(_) => format!("?  {line}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_and_an_odd_one_is_shown_as_it_is() {
        let line = r#"{"time":"T","target":"web1","kind":"lost","text":"not readable","more":1}"#;
        assert_eq!(show(line), "T  web1          lost             not readable\n");
        assert_eq!(show("{\"ti"), "?  {\"ti\n");
    }
}
