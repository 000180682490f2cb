//! What the journal told so far, counted, for whoever draws curves.

use super::entry::{Entry, What};
use backdoors_monitor_api::LastEvent;
use backdoors_monitor_api::recovery::Mark;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts since the daemon began. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<BTreeMap<String, Counts>>>);

/// What was told of one target.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Entries by kind.
    pub entries: BTreeMap<&'static str, u64>,
    /// From decision to end, of all commands that ended as asked, nanoseconds.
    pub repairing_ns: u64,
    /// The newest entry.
    pub last: Option<LastEvent>,
    /// The last recovery of its live sessions that was no dry run.
    pub recovery: Option<Recovered>,
}

/// What of a recovery is drawn.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// When which phase ended.
    pub marks: Vec<Mark>,
    /// Sessions that go on here by it.
    pub resumed: usize,
    /// Sessions that an earlier recovery brought here.
    pub earlier: usize,
    /// Sessions that are lost.
    pub lost: usize,
}

impl Tally {
    pub(super) fn take_in(&self, entry: &Entry) {
        let mut all = self.lock();
        let counts = match all.get_mut(&entry.target) {
            Some(counts) => counts,
            None => all.entry(entry.target.clone()).or_default(),
        };
        *counts.entries.entry(entry.what.kind()).or_default() += 1;
        let kind = entry.what.kind().to_owned();
        counts.last = Some(LastEvent { time_ns: entry.time_ns, kind, text: entry.text.clone() });
        match &entry.what {
            What::Repaired(end) => counts.repairing_ns = counts.repairing_ns.saturating_add(end.took_ns),
            What::SessionsRecovered { report, .. } if !report.dry_run => {
                counts.recovery = Some(Recovered {
                    marks: report.marks.clone(),
                    resumed: report.resumed(),
                    earlier: report.earlier(),
                    lost: report.lost(),
                });
            }
            _ => {}
        }
    }

    /// The counts by target; the empty name has what is of none.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, Counts> {
        self.lock().clone()
    }

    /// The newest entry about `target`.
    #[must_use]
    pub fn last(&self, target: &str) -> Option<LastEvent> {
        self.lock().get(target).and_then(|counts| counts.last.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Counts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
