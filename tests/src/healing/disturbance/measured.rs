//! What the useful program's rounds tell of a machine that was disturbed.

use crate::healing::useful::{Round, median_and_longest};

/// Rounds that are looked at together to tell whether the machine answers: single ones are late on any machine.
const WINDOW: usize = 10;
/// So many times their undisturbed time they may take.
const ANSWERS: f64 = 2.0;

/// When things happened, nanoseconds on the clock of the rounds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The hostile program started.
    pub begun: u64,
    /// Its last process was gone, if that was seen.
    pub gone: Option<u64>,
    /// The last look.
    pub until: u64,
}

/// Times of the useful program's work, which is a number of rounds; seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// The work when nothing disturbs it.
    pub undisturbed: f64,
    /// The longest that the work took that began while the hostile program lived; or has taken so far, if it was not done.
    pub disturbed: f64,
    /// Whether it was done.
    pub is_done: bool,
    /// Rounds that began while the hostile program lived, and were done.
    pub rounds: usize,
    /// From the start of the hostile program to its last process's end.
    pub gone: Option<f64>,
    /// From the start of the hostile program until the machine answers again: from then on rounds take, ten together, at most
    /// twice their undisturbed time.
    pub answers: Option<f64>,
    /// The same work, begun when the hostile program was gone.
    pub after: Option<f64>,
}

fn end(round: &Round) -> f64 {
    round.at as f64 / 1e9 + round.milliseconds / 1e3
}

fn seconds(at: u64) -> f64 {
    at as f64 / 1e9
}

/// How long the first `work` of these rounds took in all; nothing if there are fewer.
fn time(rounds: &[Round], work: usize, since: f64) -> Option<f64> {
    rounds.get(work.checked_sub(1)?).map(|last| end(last) - since)
}

impl Measured {
    /// What these rounds tell; nothing without a round before the hostile program.
    #[must_use]
    pub fn new(rounds: &[Round], times: Times, work: usize) -> Option<Measured> {
        let begun = seconds(times.begun);
        let calm = rounds.iter().take_while(|round| end(round) <= begun).count();
        let from = |at: u64| &rounds[rounds.iter().take_while(|round| round.at < at).count()..];
        let (median, _) = median_and_longest(&rounds[..calm])?;
        let (median, until) = (median / 1e3, seconds(times.until));
        let undisturbed = median * work as f64;

        let later = from(times.begun);
        let alive = later.iter().take_while(|round| round.at < times.gone.unwrap_or(times.until)).count();
        let starts = [begun].into_iter().chain(later[..alive].iter().map(|round| seconds(round.at)));
        // The remnant of the round under way at the hostile program's start, then every later round.
        let begins = starts.zip([0].into_iter().chain(0..alive));
        let (done, open): (Vec<_>, Vec<_>) = begins
            .map(|(start, index)| (start, time(&later[index..], work, start)))
            .partition(|(_, took)| took.is_some());
        let longest = done.iter().filter_map(|(_, took)| *took).fold(0.0, f64::max);
        let open = open.first().map_or(0.0, |(start, _)| until - start);
        // What began just before the last look is not late yet.
        let is_late = open > ANSWERS * undisturbed && open > longest;

        let after = times.gone.map(from).unwrap_or_default();
        Some(Measured {
            undisturbed,
            disturbed: if is_late || done.is_empty() { open } else { longest },
            is_done: !is_late && !done.is_empty(),
            rounds: alive,
            gone: times.gone.map(|gone| seconds(gone) - begun),
            answers: answers(&rounds[calm..], median, until).map(|at| (at - begun).max(0.0)),
            after: after.first().and_then(|first| time(after, work, seconds(first.at))),
        })
    }

    /// Nothing is known but these rounds from before the hostile program, and how long it has been there.
    #[must_use]
    pub fn lost(calm: &[Round], work: usize, disturbed: f64) -> Measured {
        let undisturbed = median_and_longest(calm).map_or(0.0, |(median, _)| median / 1e3 * work as f64);
        Measured { undisturbed, disturbed, ..Measured::default() }
    }
}

/// When the first round began from which on all is well, up to the last look.
fn answers(rounds: &[Round], median: f64, until: f64) -> Option<f64> {
    let longest = ANSWERS * median * WINDOW as f64;
    let is_well = |window: &[Round]| match window {
        [first, .., last] => end(last) - seconds(first.at) <= longest,
        _ => false,
    };
    if until - end(rounds.last()?) > longest {
        return None;
    }
    let well = rounds.windows(WINDOW).rev().take_while(|window| is_well(window)).last();
    well.map(|window| seconds(window[0].at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds that follow each other, from second 100 on.
    fn rounds(milliseconds: &[f64]) -> Vec<Round> {
        let mut at = 100_000_000_000;
        let mut next = |milliseconds: f64| {
            let round = Round { at, milliseconds };
            at += (milliseconds * 1e6) as u64;
            round
        };
        milliseconds.iter().map(|took| next(*took)).collect()
    }

    fn after(seconds: f64) -> u64 {
        100_000_000_000 + (seconds * 1e9) as u64
    }

    fn of(values: &[(usize, f64)]) -> Vec<Round> {
        rounds(&values.iter().flat_map(|(count, took)| vec![*took; *count]).collect::<Vec<_>>())
    }

    fn near(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|value| (value - expected).abs() < 1e-3)
    }

    #[test]
    fn work_that_was_held_up_is_told_from_work_before_and_after() {
        // A second of calm, five seconds in which one round is done, then calm again.
        let rounds = of(&[(10, 100.0), (1, 5000.0), (30, 110.0)]);
        let times = Times { begun: after(1.0), gone: Some(after(6.0)), until: after(9.3) };
        let measured = Measured::new(&rounds, times, 10).unwrap();
        assert!(near(Some(measured.undisturbed), 1.0), "{measured:?}");
        assert!(near(Some(measured.disturbed), 5.0 + 9.0 * 0.11) && measured.is_done, "{measured:?}");
        assert!(near(measured.gone, 5.0) && near(measured.answers, 5.0), "{measured:?}");
        assert!(near(measured.after, 1.1), "{measured:?}");
        assert_eq!(measured.rounds, 1);
    }

    #[test]
    fn a_machine_that_stands_still_at_the_last_look_does_not_answer() {
        let rounds = of(&[(10, 100.0), (15, 100.0)]);
        let times = Times { begun: after(1.0), gone: None, until: after(2.5) };
        let calm = Measured::new(&rounds, times, 10).unwrap();
        assert!(near(calm.answers, 0.0) && near(Some(calm.disturbed), 1.0) && calm.is_done, "{calm:?}");
        let still = Measured::new(&rounds, Times { until: after(8.0), ..times }, 10).unwrap();
        assert_eq!((still.answers, still.is_done, still.after, still.rounds), (None, false, None, 15));
        // The work that began with the seventh round lacks one.
        assert!(near(Some(still.disturbed), 6.4), "{still:?}");
    }

    #[test]
    fn work_that_begins_long_after_the_hostile_program_counts_too() {
        let rounds = of(&[(10, 100.0), (30, 100.0), (1, 4000.0), (10, 100.0)]);
        let times = Times { begun: after(1.0), gone: None, until: after(9.0) };
        let measured = Measured::new(&rounds, times, 10).unwrap();
        assert!(near(Some(measured.disturbed), 4.9) && measured.is_done, "{measured:?}");
    }

    #[test]
    fn a_short_respite_is_no_answer() {
        let rounds = of(&[(10, 100.0), (1, 3000.0), (15, 100.0), (5, 2000.0)]);
        let times = Times { begun: after(1.0), gone: None, until: after(15.5) };
        assert_eq!(Measured::new(&rounds, times, 5).unwrap().answers, None);
    }

    #[test]
    fn without_a_round_before_there_is_nothing_to_compare_with() {
        let times = Times { begun: after(0.0), gone: None, until: after(9.0) };
        assert_eq!(Measured::new(&of(&[(10, 100.0)]), times, 5), None);
    }
}
