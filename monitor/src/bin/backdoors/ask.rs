//! What the commands that speak to the daemon share: asking and printing.

use crate::exit::wants_json;
use crate::progress::Waiting;
use backdoors_monitor_api::{Client, Endpoint, Query};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::Write;

/// Asks the daemon, and says on a terminal what is waited for.
pub fn ask<T: DeserializeOwned>(daemon: &Endpoint, query: &Query) -> anyhow::Result<T> {
    let _waiting = Waiting::begin(&what(query), wants_json());
    Ok(Client::connect(daemon)?.ask(query)?)
}

fn what(query: &Query) -> String {
    match query {
        Query::Heal { target, dry_run: false, .. } => format!("{target} is being healed"),
        Query::Approve { target, id, dry_run: false } => {
            format!("{target}: proposal {id} is being carried out")
        }
        Query::Recover { target, dry_run: false, .. } => {
            format!("the sessions of {target} are being taken over")
        }
        Query::Fence { target, .. } => format!("the fence of {target} is being seen to"),
        Query::Heal { target, .. } | Query::Approve { target, .. } | Query::Recover { target, .. } => {
            format!("{target} is being tried")
        }
        Query::Processes { target }
        | Query::Offers { target }
        | Query::Audit { target, .. }
        | Query::Sessions { target } => format!("{target}'s memory is being read"),
        _ => "the monitor is being asked".to_owned(),
    }
}

/// Prints an answer as one JSON document.
pub fn print_json(answer: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(answer)?;
    print(&format!("{text}\n"))
}

/// Prints text; unlike `print!` it does not panic when nobody reads.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()?;
    Ok(())
}
