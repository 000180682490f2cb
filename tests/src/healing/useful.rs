//! How a useful program on the target fares, from the lines it printed.

/// A round of the useful program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// When it began, nanoseconds since 1970 UTC.
    pub at: u64,
    /// How long it took, milliseconds.
    pub milliseconds: f64,
}

/// Reads the program's lines; a last, unfinished one is left out.
#[must_use]
pub fn rounds(text: &str) -> Vec<Round> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .filter_map(|line| {
            let (at, took) = line.split_once(' ')?;
            let microseconds: f64 = took.parse().ok()?;
            Some(Round { at: at.parse().ok()?, milliseconds: microseconds / 1e3 })
        })
        .collect()
}

/// Median and longest time of some rounds, milliseconds.
#[must_use]
pub fn median_and_longest(rounds: &[Round]) -> Option<(f64, f64)> {
    let mut times: Vec<f64> = rounds.iter().map(|round| round.milliseconds).collect();
    times.sort_by(f64::total_cmp);
    Some((*times.get(times.len() / 2)?, *times.last()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_are_rounds_and_a_half_one_is_not() {
        let read = rounds("100 2000\n200 4500\n300 1");
        assert_eq!(read.len(), 2);
        assert_eq!(median_and_longest(&read), Some((4.5, 4.5)));
        assert_eq!(median_and_longest(&[]), None);
    }
}
