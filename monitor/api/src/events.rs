//! Entries of the journal.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An entry of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// When, nanoseconds since 1970 UTC.
    #[serde(default)]
    pub time_ns: u64,
    /// The same for people, RFC 3339.
    pub time: String,
    /// When, on the monitor's monotonic clock, nanoseconds.
    #[serde(default)]
    pub monotonic_ns: u64,
    /// The target.
    pub target: String,
    /// What, such as `verdict`; `damaged` for a line that a crash left half written, or that another version wrote otherwise.
    pub kind: String,
    /// A sentence for people; the line itself if it is damaged.
    pub text: String,
    /// More, by kind.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Event {
    /// The kind of a line that is no entry.
    pub const DAMAGED: &str = "damaged";

    /// Of a line of the journal.
    #[must_use]
    pub fn of_line(line: &str) -> Event {
        serde_json::from_str(line).unwrap_or_else(|_| Event {
            time_ns: 0,
            time: String::new(),
            monotonic_ns: 0,
            target: String::new(),
            kind: Event::DAMAGED.to_owned(),
            text: line.to_owned(),
            more: Map::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_entry_is_told_as_it_is() {
        let line = r#"{"time_ns":1,"time":"T","monotonic_ns":2,"target":"web1","kind":"lost","text":"not readable","silence_ns":3}"#;
        let event = Event::of_line(line);
        assert_eq!((event.kind.as_str(), event.more["silence_ns"].as_u64()), ("lost", Some(3)));
        assert_eq!(serde_json::to_string(&event).unwrap(), line);
        let half = Event::of_line("{\"ti");
        assert_eq!((half.kind.as_str(), half.text.as_str()), (Event::DAMAGED, "{\"ti"));
    }
}
