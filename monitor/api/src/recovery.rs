//! What came of a recovery.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// What came of a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The target.
    pub target: String,
    /// Whether nothing was to be done.
    pub dry_run: bool,
    /// Whether the services are here now.
    pub outcome: Outcome,
    /// Each session.
    pub sessions: Vec<SessionReport>,
    /// Records of the target that could not be read, and why. Each is of a session that is lost, of which no more is known.
    #[serde(default)]
    pub unreadable: Vec<String>,
    /// When which phase ended.
    pub marks: Vec<Mark>,
    /// What else somebody should know.
    pub notes: Vec<String>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As asked.
    Done,
    /// Nothing was taken over.
    Failed(String),
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionReport {
    /// The service's end.
    pub local: SocketAddr,
    /// The client's end.
    pub remote: SocketAddr,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It can go on exactly.
    Recoverable,
    /// It goes on here.
    Resumed {
        /// When it spoke, from the beginning of the recovery.
        #[serde(rename = "after_ns", with = "nanoseconds")]
        #[schemars(with = "u64")]
        after: Duration,
    },
    /// It goes on here since an earlier recovery.
    Earlier,
    /// It cannot go on exactly.
    Lost(String),
}

/// The end of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mark {
    /// Which.
    pub phase: Phase,
    /// When, from the beginning of the recovery.
    #[serde(rename = "after_ns", with = "nanoseconds")]
    #[schemars(with = "u64")]
    pub after: Duration,
}

/// Phases of a recovery, by what was reached at their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Local servers are reached, and the addresses are local and silent.
    Prepared,
    /// The target was seen to be fenced, or not.
    Fenced,
    /// The sessions are here.
    Pulled,
    /// All are sockets again, and held by the local agent.
    Rebuilt,
    /// The network knows.
    Announced,
    /// The first session speaks.
    FirstResumed,
    /// All sessions speak.
    Resumed,
    /// The local servers have them.
    Begun,
    /// All was undone.
    Undone,
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Phase::Prepared => "prepared",
            Phase::Fenced => "fenced",
            Phase::Pulled => "pulled",
            Phase::Rebuilt => "rebuilt",
            Phase::Announced => "announced",
            Phase::FirstResumed => "first resumed",
            Phase::Resumed => "all resumed",
            Phase::Begun => "all served",
            Phase::Undone => "undone",
        })
    }
}

impl Report {
    /// The report that an entry of the journal has, unless another version wrote it otherwise.
    #[must_use]
    pub fn of_value(value: &serde_json::Value) -> Option<Report> {
        serde_json::from_value(value.clone()).ok()
    }

    /// Sessions that go on here.
    #[must_use]
    pub fn resumed(&self) -> usize {
        self.count(|fate| matches!(fate, Fate::Resumed { .. }))
    }

    /// How many sessions go on here, in words.
    #[must_use]
    pub fn going_on(&self) -> String {
        let (resumed, all) = (self.resumed(), self.all());
        match self.earlier() {
            0 => format!("{resumed} of {all} sessions go on here"),
            earlier => format!("{resumed} of {all} sessions go on here, {earlier} did before"),
        }
    }

    /// Sessions that an earlier recovery brought here.
    #[must_use]
    pub fn earlier(&self) -> usize {
        self.count(|fate| *fate == Fate::Earlier)
    }

    /// Sessions that are lost.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.count(|fate| matches!(fate, Fate::Lost(_))) + self.unreadable.len()
    }

    /// All sessions, also those of which nothing could be read.
    #[must_use]
    pub fn all(&self) -> usize {
        self.sessions.len() + self.unreadable.len()
    }

    /// A sentence for people.
    #[must_use]
    pub fn text(&self) -> String {
        let marks =
            self.marks.iter().map(|mark| format!("{} {:.1} ms", mark.phase, mark.after.as_secs_f64() * 1e3));
        let marks = marks.collect::<Vec<_>>().join(", ");
        let (all, lost) = (self.all(), self.lost());
        match &self.outcome {
            Outcome::Failed(reason) => format!("nothing was taken over: {reason}; {marks}"),
            Outcome::Done if self.dry_run => {
                format!("{} of {all} sessions could go on here; {marks}", all - lost)
            }
            Outcome::Done => format!("{}, {lost} are lost; {marks}", self.going_on()),
        }
    }

    fn count(&self, is: impl Fn(&Fate) -> bool) -> usize {
        self.sessions.iter().filter(|session| is(&session.fate)).count()
    }
}

mod nanoseconds {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_nanos)
    }
}
