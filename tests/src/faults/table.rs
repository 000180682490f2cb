//! What came of the rows, as a table.

use std::fmt;
use std::time::Duration;

/// What came of one row, with load or without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The lab.
    pub lab: &'static str,
    /// The row.
    pub row: &'static str,
    /// Whether there was load on the target.
    pub load: bool,
    /// From the beginning of each fault until the last of its witnesses laid it at the right layer, and nobody at
    /// another one. One for each round that went right.
    pub right: Vec<Duration>,
    /// What was wrong in each other round.
    pub wrong: Vec<String>,
}

/// Lines, one below the other.
#[derive(Clone, Debug, Default)]
pub struct Table(pub Vec<Line>);

impl Table {
    /// The line of a row, made if there is none.
    pub fn line(&mut self, lab: &'static str, row: &'static str, load: bool) -> &mut Line {
        let place = self.0.iter().position(|line| (line.row, line.load) == (row, load));
        let place = place.unwrap_or_else(|| {
            self.0.push(Line { lab, row, load, ..Line::default() });
            self.0.len() - 1
        });
        &mut self.0[place]
    }

    /// Everything that was wrong, a paragraph each.
    #[must_use]
    pub fn wrong(&self) -> String {
        let mut text = String::new();
        for line in &self.0 {
            for wrong in &line.wrong {
                text.push_str(&format!("{}, {}, {}:\n{wrong}\n\n", line.lab, line.row, load(line.load)));
            }
        }
        text
    }
}

fn load(load: bool) -> &'static str {
    if load { "load" } else { "no load" }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{:<18} {:<38} {:<8} {:>6} {:>6} {:>6} {:>9} {:>9} {:>9}",
            "lab", "fault", "load", "rounds", "right", "wrong", "min", "median", "max"
        )?;
        for line in &self.0 {
            let mut times = line.right.clone();
            times.sort_unstable();
            let shown = |time: Option<&Duration>| match time {
                Some(time) => format!("{:.2} s", time.as_secs_f64()),
                None => "-".to_owned(),
            };
            writeln!(
                formatter,
                "{:<18} {:<38} {:<8} {:>6} {:>6} {:>6} {:>9} {:>9} {:>9}",
                line.lab,
                line.row,
                load(line.load),
                line.right.len() + line.wrong.len(),
                line.right.len(),
                line.wrong.len(),
                shown(times.first()),
                shown(times.get(times.len() / 2)),
                shown(times.last())
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_its_rounds_and_orders_its_times() {
        let mut table = Table::default();
        for milliseconds in [900, 300, 600] {
            table.line("hosts", "panic", true).right.push(Duration::from_millis(milliseconds));
        }
        table.line("hosts", "panic", true).wrong.push("path".to_owned());
        let text = table.to_string();
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(words, ["hosts", "panic", "load", "4", "3", "1", "0.30", "s", "0.60", "s", "0.90", "s"]);
        assert_eq!(table.wrong(), "hosts, panic, load:\npath\n\n");
    }
}
