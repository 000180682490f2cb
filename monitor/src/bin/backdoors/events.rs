//! `backdoors events`.

use crate::ask::print;
use anyhow::Context;
use backdoors_monitor_api::{Client, Endpoint, Event, Query};
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors events -f
  backdoors events web1 --audit -n 50
  backdoors events --json")]
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

pub fn run(daemon: &Endpoint, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { target, follow, lines, audit, json } = arguments;
    let mut client = Client::connect(daemon)?;
    if !follow {
        let events: Vec<Event> = client.ask(&Query::Events { target, lines, audit })?;
        events.iter().try_for_each(|event| tell(event, json))?;
        return Ok(ExitCode::SUCCESS);
    }
    for event in client.follow(&Query::Follow { target, lines, audit })? {
        tell(&event.context("the monitor hung up; its log tells why")?, json)?;
    }
    anyhow::bail!("the monitor hung up: it stopped, or this terminal was too slow; start it, or ask again");
}

fn tell(event: &Event, json: bool) -> anyhow::Result<()> {
    let line = if json { serde_json::to_string(event)? + "\n" } else { show(event) };
    print(&line)
}

/// The line for people of an entry of the journal.
pub fn show(event: &Event) -> String {
    let Event { time, target, kind, text, .. } = event;
    if kind == Event::DAMAGED {
        return format!("?  {text}\n");
    }
    format!("{time}  {target:<12}  {kind:<15}  {text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_and_an_odd_one_is_shown_as_it_is() {
        let line = r#"{"time":"T","target":"web1","kind":"lost","text":"not readable","more":1}"#;
        assert_eq!(show(&Event::of_line(line)), "T  web1          lost             not readable\n");
        assert_eq!(show(&Event::of_line("{\"ti")), "?  {\"ti\n");
    }
}
