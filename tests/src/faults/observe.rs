//! What monitors say of the target.

use crate::deployment::Watcher;
use crate::machine::Machine;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fmt;

/// A layer that a monitor called failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Accusation {
    /// When, nanoseconds since 1970 on the clock of the monitor's machine.
    pub(super) at: u64,
    pub(super) layer: String,
    /// The application, if it is about one.
    pub(super) subject: Option<String>,
    pub(super) evidence: Vec<String>,
}

impl fmt::Display for Accusation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.layer)?;
        if let Some(subject) = &self.subject {
            write!(formatter, " {subject}")?;
        }
        write!(formatter, " ({})", self.evidence.join("; "))
    }
}

/// The accusations in a monitor's journal behind its first `from` entries, the oldest first.
pub(super) fn accusations<M: Machine>(watcher: &Watcher<'_, M>, from: usize) -> Result<Vec<Accusation>> {
    let journal = watcher.journal()?;
    journal.iter().skip(from).filter(|entry| accuses(entry)).map(accusation).collect()
}

fn accuses(entry: &Value) -> bool {
    entry["kind"] == "verdict" && entry["state"] == "failed"
}

fn accusation(entry: &Value) -> Result<Accusation> {
    let words = |value: &Value| value.as_str().map(str::to_owned);
    let evidence = entry["evidence"].as_array().map(|all| all.iter().filter_map(words).collect());
    let accusation = || {
        Some(Accusation {
            at: entry["time_ns"].as_u64()?,
            layer: words(&entry["layer"])?,
            subject: words(&entry["subject"]),
            evidence: evidence?,
        })
    };
    accusation().with_context(|| format!("an entry that is none: {entry}"))
}

/// What a monitor noted behind the first `from` entries of its journal, a line each, with the time since `begun` on its clock.
pub(super) fn timeline<M: Machine>(watcher: &Watcher<'_, M>, from: usize, begun: u64) -> String {
    let mut text = format!("{} notes:\n", watcher.name);
    for entry in watcher.journal().unwrap_or_default().iter().skip(from) {
        let since = entry["time_ns"].as_u64().unwrap_or(0) as f64 - begun as f64;
        let (kind, words) = (entry["kind"].as_str().unwrap_or("?"), entry["text"].as_str().unwrap_or(""));
        text.push_str(&format!("{:>10.1} ms  {kind:<10} {words}\n", since / 1e6));
    }
    text
}

/// What keeps a monitor from calling every layer healthy, among them the application `application`; `None` if nothing.
pub(super) fn ailment<M: Machine>(watcher: &Watcher<'_, M>, application: &str) -> Result<Option<String>> {
    let verdicts = watcher.json("verdicts target")?;
    let layers = verdicts[0]["layers"].as_array().with_context(|| format!("no layers: {verdicts}"))?;
    let unwell = layers.iter().find(|layer| layer["state"] != "healthy");
    Ok(match unwell {
        Some(layer) => Some(format!("{} says {layer}", watcher.name)),
        None if !layers.iter().any(|layer| layer["subject"] == application) => {
            Some(format!("{} does not know {application} yet", watcher.name))
        }
        None => None,
    })
}

/// Nanoseconds since 1970 on the clock of a machine. A guest's differs from this machine's.
pub(super) fn clock<M: Machine>(machine: &M) -> Result<u64> {
    // Seconds and six digits behind a point, which some languages write as a comma.
    let text = machine.shell("bash -c 'echo $EPOCHREALTIME'")?;
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let microseconds: u64 = digits.parse().with_context(|| format!("a clock that reads `{text}`"))?;
    Ok(microseconds * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_failed_layer_is_an_accusation() {
        let entry = |kind, state| {
            json!({ "time_ns": 7, "kind": kind, "layer": "application", "subject": "shop", "state": state,
                    "evidence": ["it stands still"] })
        };
        assert!(!accuses(&entry("verdict", "suspect")) && !accuses(&entry("event", "failed")));
        let failed = entry("verdict", "failed");
        assert!(accuses(&failed));
        assert_eq!(accusation(&failed).unwrap().to_string(), "application shop (it stands still)");
        assert!(accusation(&json!({ "time_ns": 7 })).is_err());
    }
}
