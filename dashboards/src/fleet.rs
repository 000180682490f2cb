//! All targets, a row each. Pure.

use backdoors_monitor_api::{State, TargetSummary};
use std::cmp::Ordering;

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// What is worst comes first.
    #[default]
    Verdict,
    /// By name.
    Name,
    /// What changed last comes first.
    Since,
    /// What is nearest its limit comes first.
    Nearest,
    /// Whoever has most sessions comes first.
    Sessions,
    /// Of whom the journal told last comes first.
    LastEvent,
}

impl Order {
    const ALL: [Order; 6] =
        [Order::Verdict, Order::Name, Order::Since, Order::Nearest, Order::Sessions, Order::LastEvent];

    /// Its name, as the column's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Order::Verdict => "verdict",
            Order::Name => "name",
            Order::Since => "since",
            Order::Nearest => "nearest limit",
            Order::Sessions => "sessions",
            Order::LastEvent => "last event",
        }
    }

    fn next(self) -> Order {
        let at = Order::ALL.iter().position(|order| *order == self).unwrap_or(0);
        Order::ALL[(at + 1) % Order::ALL.len()]
    }

    fn compare(self, left: &TargetSummary, right: &TargetSummary) -> Ordering {
        let sessions = |target: &TargetSummary| target.sessions.map_or(0, |sessions| sessions.open);
        let share = |target: &TargetSummary| target.nearest.as_ref().map_or(-1.0, |nearest| nearest.share);
        let event = |target: &TargetSummary| target.last_event.as_ref().map_or(0, |event| event.time_ns);
        let first = match self {
            Order::Verdict => severity(right.state).cmp(&severity(left.state)),
            Order::Name => Ordering::Equal,
            Order::Since => left.since_ms.cmp(&right.since_ms),
            Order::Nearest => share(right).total_cmp(&share(left)),
            Order::Sessions => sessions(right).cmp(&sessions(left)),
            Order::LastEvent => event(right).cmp(&event(left)),
        };
        first.then_with(|| left.name.cmp(&right.name))
    }
}

/// How bad a state is. Not to know is worse than to know that all is well.
fn severity(state: State) -> u8 {
    match state {
        State::Healthy => 0,
        State::Unknown => 1,
        State::Suspect => 2,
        State::Failed => 3,
    }
}

/// The rows and which is selected.
#[derive(Debug, Default)]
pub struct Fleet {
    all: Vec<TargetSummary>,
    /// Indices into `all`, in the order in which they are shown.
    shown: Vec<usize>,
    order: Order,
    is_reversed: bool,
    filter: String,
    /// Name of the target that is selected: rows move, and the selection stays with it.
    selected: Option<String>,
}

impl Fleet {
    /// Takes in what a daemon told.
    pub fn take_in(&mut self, all: Vec<TargetSummary>) {
        self.all = all;
        self.arrange();
    }

    /// All there are.
    #[must_use]
    pub fn all(&self) -> &[TargetSummary] {
        &self.all
    }

    /// The target of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&TargetSummary> {
        self.all.iter().find(|target| target.name == name)
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shown.len()
    }

    /// The rows from `first` on, as many as there is room for.
    pub fn rows(&self, first: usize, room: usize) -> impl Iterator<Item = &TargetSummary> {
        self.shown.iter().skip(first).take(room).filter_map(|index| self.all.get(*index))
    }

    /// The row that is selected.
    #[must_use]
    pub fn position(&self) -> usize {
        let is_selected = |index: &usize| Some(&self.all[*index].name) == self.selected.as_ref();
        self.shown.iter().position(is_selected).unwrap_or(0)
    }

    /// The target that is selected.
    #[must_use]
    pub fn selected(&self) -> Option<&TargetSummary> {
        self.shown.get(self.position()).and_then(|index| self.all.get(*index))
    }

    /// Selects the row `position`, or the last one.
    pub fn select(&mut self, position: usize) {
        let position = position.min(self.shown.len().saturating_sub(1));
        self.selected = self.shown.get(position).map(|index| self.all[*index].name.clone());
    }

    /// What rows are sorted by, and whether the other way round.
    #[must_use]
    pub fn order(&self) -> (Order, bool) {
        (self.order, self.is_reversed)
    }

    /// Sorts by the next column.
    pub fn sort_by_next(&mut self) {
        self.order = self.order.next();
        self.arrange();
    }

    /// Sorts the other way round.
    pub fn reverse(&mut self) {
        self.is_reversed = !self.is_reversed;
        self.arrange();
    }

    /// What names, verdicts, sensors and events must contain to be shown.
    #[must_use]
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// Shows only what contains this, whatever the case of its letters.
    pub fn set_filter(&mut self, filter: &str) {
        filter.clone_into(&mut self.filter);
        self.arrange();
    }

    fn arrange(&mut self) {
        let wanted = self.filter.to_lowercase();
        let is_wanted = |target: &TargetSummary| {
            let nearest = target.nearest.as_ref().map_or("", |nearest| nearest.name.as_str());
            let event = target.last_event.as_ref().map_or("", |event| event.text.as_str());
            let words = [target.name.as_str(), &target.verdict, &target.address, nearest, event];
            wanted.is_empty() || words.iter().any(|word| word.to_lowercase().contains(&wanted))
        };
        let all = &self.all;
        self.shown = (0..all.len()).filter(|index| is_wanted(&all[*index])).collect();
        let order = self.order;
        self.shown.sort_by(|left, right| order.compare(&all[*left], &all[*right]));
        if self.is_reversed {
            self.shown.reverse();
        }
        // Before anything was selected the first row stays selected, whoever it is.
        if self.selected.as_ref().is_some_and(|name| !all.iter().any(|target| target.name == *name)) {
            self.selected = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str, state: State, since_ms: u64) -> TargetSummary {
        let text = format!(
            r#"{{"name":"{name}","address":"a","reach":"reachable","problem":null,"age_ns":1,"clock_moved_ns":1,"generation":1,
            "capabilities":[],"slot":0,"connections":3,"period_ns":1,"samples":1,"failures":0,"exceeded":[],"running":null,
            "verdict":"{state}","state":"{state}","since_ms":{since_ms}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn names(fleet: &Fleet) -> Vec<&str> {
        fleet.rows(0, 100).map(|target| target.name.as_str()).collect()
    }

    fn fleet() -> Fleet {
        let mut fleet = Fleet::default();
        fleet.take_in(vec![
            target("web1", State::Healthy, 30),
            target("web2", State::Failed, 20),
            target("db1", State::Unknown, 10),
            target("db2", State::Suspect, 40),
        ]);
        fleet
    }

    #[test]
    fn what_is_worst_comes_first_unless_asked_otherwise() {
        let mut fleet = fleet();
        assert_eq!(names(&fleet), ["web2", "db2", "db1", "web1"]);
        fleet.sort_by_next();
        assert_eq!(names(&fleet), ["db1", "db2", "web1", "web2"]);
        fleet.sort_by_next();
        assert_eq!(names(&fleet), ["db1", "web2", "web1", "db2"]);
        fleet.reverse();
        assert_eq!(names(&fleet), ["db2", "web1", "web2", "db1"]);
    }

    #[test]
    fn the_selection_stays_with_its_target_when_rows_move() {
        let mut fleet = fleet();
        fleet.select(1);
        assert_eq!(fleet.selected().unwrap().name, "db2");
        fleet.take_in(vec![
            target("web1", State::Failed, 1),
            target("db2", State::Healthy, 1),
            target("new", State::Failed, 1),
        ]);
        assert_eq!((fleet.selected().unwrap().name.as_str(), fleet.position()), ("db2", 2));
        fleet.take_in(vec![target("web1", State::Failed, 1)]);
        assert_eq!(fleet.selected().unwrap().name, "web1");
        fleet.take_in(Vec::new());
        assert!(fleet.selected().is_none());
        fleet.select(3);
        assert!(fleet.selected().is_none());
    }

    #[test]
    fn a_filter_looks_at_names_and_verdicts_whatever_the_case() {
        let mut fleet = fleet();
        fleet.set_filter("WEB");
        assert_eq!(names(&fleet), ["web2", "web1"]);
        fleet.set_filter("fail");
        assert_eq!(names(&fleet), ["web2"]);
        fleet.set_filter("nobody");
        assert!(names(&fleet).is_empty());
        fleet.set_filter("");
        assert_eq!(fleet.len(), 4);
    }
}
