//! What the daemon answers, whatever can be asked without changing anything.

use super::bundle::Bundle;
use crate::progress::Waiting;
use backdoors_monitor_api::operations::{Answered, Method, OPERATIONS, Operation};
use backdoors_monitor_api::{Client, Endpoint, Query};
use serde_json::{Map, Value};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Longest wait for one answer. Some take a read of a target's memory.
const PATIENCE: Duration = Duration::from_secs(20);

/// A file's name, and what is in it or why there is none.
type Told = (String, Result<String, String>);

/// Asks on a thread of its own: a daemon that hangs must not keep what else is known.
pub fn put_into(bundle: &mut Bundle, daemon: Endpoint, waiting: &Waiting) -> anyhow::Result<()> {
    waiting.say("collecting: the daemon's answers");
    let (sender, told) = sync_channel(0);
    std::thread::spawn(move || ask_everything(&daemon, &sender));
    loop {
        match told.recv_timeout(PATIENCE) {
            Ok((name, had)) => {
                waiting.say(&format!("collecting: the daemon's answers, after {name}"));
                bundle.put(&name, had)?;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                let why = format!("no answer within {PATIENCE:?}; nothing more was asked");
                return bundle.put("daemon", Err(why));
            }
        }
    }
}

/// Until all is told, or nobody listens any more.
fn ask_everything(daemon: &Endpoint, sender: &SyncSender<Told>) {
    let tell = |name: String, had: Result<String, String>| sender.send((name, had)).is_ok();
    let mut client = match Client::connect(daemon) {
        Ok(client) => client,
        Err(error) => {
            tell("daemon".to_owned(), Err(error.to_string()));
            return;
        }
    };
    let mut ask = |query: Result<Query, String>| -> Result<Value, String> {
        let query = query?;
        client.ask(&query).map_err(|error| error.to_string())
    };
    let targets = ask(Ok(Query::Targets {}));
    let targets: Vec<String> = targets.iter().flat_map(names).collect();
    let asked = OPERATIONS
        .iter()
        .filter(|it| it.method == Method::Get && matches!(it.answered, Answered::Document(_)));
    for operation in asked {
        let of_all = [None];
        let of_each: Vec<Option<&String>> = targets.iter().map(Some).collect();
        let of = if operation.fields().any(|field| field == "target") { &of_each[..] } else { &of_all };
        for target in of {
            let folder = target.map_or("daemon".to_owned(), |target| format!("daemon/{target}"));
            let answer = ask(query(operation, *target)).map(|answer| format!("{answer:#}\n"));
            if !tell(format!("{folder}/{}.json", operation.request), answer) {
                return;
            }
        }
    }
    tell("daemon/metrics.txt".to_owned(), client.metrics().map_err(|error| error.to_string()));
}

fn query(operation: &Operation, target: Option<&String>) -> Result<Query, String> {
    let words = target.map(|target| ("target".to_owned(), target.clone()));
    operation.query(words, Map::new()).map_err(|failure| failure.message)
}

fn names(targets: &Value) -> Vec<String> {
    let targets = targets.as_array().into_iter().flatten();
    targets.filter_map(|target| Some(target.get("name")?.as_str()?.to_owned())).collect()
}
