//! `backdoors boxes`.

use crate::ask::{ask, print, print_json};
use crate::table::{Align, table};
use crate::units::{bytes, time};
use backdoors_monitor_api::{Endpoint, Query, SessionRow};
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors boxes web1
  backdoors boxes web1 --json")]
pub struct Arguments {
    /// Name of the target.
    target: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(daemon: &Endpoint, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let sessions: Vec<SessionRow> = ask(daemon, &Query::Sessions { target: arguments.target.clone() })?;
    if arguments.json {
        print_json(&sessions)?;
    } else {
        print(&show(&sessions))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(sessions: &[SessionRow]) -> String {
    let columns = [
        ("SERVICE", Align::Left),
        ("CLIENT", Align::Left),
        ("STATE", Align::Left),
        ("AGE", Align::Right),
        ("STILL", Align::Right),
        ("SNAPSHOT", Align::Right),
        ("HELD", Align::Right),
        ("REPLAYED", Align::Right),
        ("UNACKED", Align::Right),
        ("RECOVERABLE", Align::Left),
    ];
    let rows: Vec<Vec<String>> = sessions.iter().map(row).collect();
    let lost = sessions.iter().filter(|session| session.lost.is_some()).count();
    let plural = if sessions.len() == 1 { "session" } else { "sessions" };
    format!("{}{} {plural}, {lost} of them not recoverable\n", table(&columns, &rows), sessions.len())
}

fn row(session: &SessionRow) -> Vec<String> {
    vec![
        session.service.clone(),
        session.remote.to_string(),
        session.state.clone(),
        time(session.age_ns),
        time(session.still_ns),
        session.snapshot.map_or("none".to_owned(), |_| bytes(session.snapshot_bytes as u64)),
        bytes(session.received_bytes as u64),
        bytes(session.replayed_bytes),
        bytes(u64::from(session.unacknowledged_bytes)),
        session.lost.clone().unwrap_or_else(|| "yes".to_owned()),
    ]
}
