//! When the machine answers again, from the answers that `backdoors-asker` had.

use std::time::Duration;

/// Memory is short as soon as less than this share of it is available.
pub const SHORT: f64 = 0.2;
/// An answer is in time if it takes at most so many times what it took undisturbed.
pub const SLOWER: f64 = 3.0;
/// For so long answers must be in time, one after the other.
pub const CALM: Duration = Duration::from_secs(3);

/// A sign of life. Times are of the guest, nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// When the question was due.
    pub due: u64,
    /// From there to the answer.
    pub took: u64,
    /// Memory that was available, bytes.
    pub available: u64,
}

/// Reads the asker's lines; a last, unfinished one is left out.
pub fn answers(text: &str) -> Vec<Answer> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let answer = |line: &str| {
        let mut numbers = line.split(' ').map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        Some(Answer { due: next()?, took: next()? * 1000, available: next()? << 10 })
    };
    whole.lines().filter_map(answer).collect()
}

/// The median time of answers before `hog_at`, nanoseconds.
pub fn undisturbed(answers: &[Answer], hog_at: u64) -> Option<u64> {
    let mut times: Vec<u64> =
        answers.iter().filter(|answer| answer.due + answer.took < hog_at).map(|answer| answer.took).collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// When memory was first seen to be short after `hog_at`.
pub fn short_since(answers: &[Answer], hog_at: u64, memory: u64) -> Option<u64> {
    let least = (memory as f64 * SHORT) as u64;
    answers.iter().find(|answer| answer.due >= hog_at && answer.available < least).map(|answer| answer.due)
}

/// When the first row of answers in time began that lasted for [`CALM`], `since` at the earliest.
pub fn again(answers: &[Answer], since: u64, limit: u64) -> Option<u64> {
    let mut begun = None;
    for answer in answers.iter().filter(|answer| answer.due >= since) {
        if answer.took > limit {
            begun = None;
            continue;
        }
        let begun = *begun.get_or_insert(answer.due);
        if answer.due + answer.took - begun >= CALM.as_nanos() as u64 {
            return Some(begun);
        }
    }
    None
}

/// The longest time that an answer took since then.
pub fn longest(answers: &[Answer], since: u64) -> u64 {
    answers.iter().filter(|answer| answer.due >= since).map(|answer| answer.took).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Ten answers a second, each of which takes so many milliseconds.
    fn row(milliseconds: &[u64]) -> Vec<Answer> {
        let answer = |(index, took): (usize, &u64)| Answer {
            due: index as u64 * SECOND / 10,
            took: took * 1_000_000,
            available: 1 << 30,
        };
        milliseconds.iter().enumerate().map(answer).collect()
    }

    #[test]
    fn a_machine_answers_again_when_three_seconds_of_answers_in_time_begin() {
        let mut times = vec![10; 5];
        times.extend([500; 5]);
        times.extend([10; 20]);
        times.push(31);
        times.extend([10; 31]);
        let answers = row(&times);
        assert_eq!(again(&answers, 0, 30_000_000), Some(31 * SECOND / 10));
        assert_eq!(again(&answers[..answers.len() - 1], 0, 30_000_000), None, "less than three seconds");
        assert_eq!(longest(&answers, 0), SECOND / 2);
    }

    #[test]
    fn a_machine_that_never_stops_answering_does_from_the_moment_that_memory_is_short() {
        let mut answers = row(&[10; 60]);
        answers[12..].iter_mut().for_each(|answer| answer.available = 100);
        assert_eq!(short_since(&answers, 0, 1000), Some(12 * SECOND / 10));
        assert_eq!(short_since(&answers, 0, 400), None);
        assert_eq!(again(&answers, 12 * SECOND / 10, 30_000_000), Some(12 * SECOND / 10));
    }

    #[test]
    fn what_is_undisturbed_is_the_median_before_the_hog() {
        let answers = row(&[10, 12, 900, 11, 300]);
        assert_eq!(undisturbed(&answers, 4 * SECOND / 10), Some(12_000_000));
        assert_eq!(undisturbed(&answers, 0), None);
    }

    #[test]
    fn whole_lines_are_answers_and_a_half_one_is_not() {
        let read = answers("100 20 4\n200 45 3\n300 1");
        assert_eq!(read.len(), 2);
        assert_eq!((read[1].due, read[1].took, read[1].available), (200, 45_000, 3072));
    }
}
