//! When the machine answers again, from the answers that `backdoors-asker` had.

use std::time::Duration;

/// Memory is short as soon as less than this share of it is available.
pub const SHORT: f64 = 0.2;
/// An answer is in time if it takes at most so many times what it took undisturbed.
pub const SLOWER: f64 = 3.0;
/// And an answer that took no longer than this is in time on any machine.
pub const SOON: Duration = Duration::from_millis(50);
/// For so long a machine must answer in time,
pub const CALM: Duration = Duration::from_secs(3);
/// as many of the questions that it could have been asked meanwhile: single answers are late on any machine.
pub const SHARE: f64 = 0.9;
/// Between two questions.
const PERIOD: Duration = Duration::from_millis(100);

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

/// The longest time that an answer in time takes, nanoseconds.
pub fn limit(undisturbed: u64) -> u64 {
    ((undisturbed as f64 * SLOWER) as u64).max(SOON.as_nanos() as u64)
}

/// When memory was first seen to be short after `hog_at`.
pub fn short_since(answers: &[Answer], hog_at: u64, memory: u64) -> Option<u64> {
    let least = (memory as f64 * SHORT) as u64;
    answers.iter().find(|answer| answer.due >= hog_at && answer.available < least).map(|answer| answer.due)
}

/// When the first [`CALM`] began in which the machine answered in time, `since` at the earliest. While it stands still it is
/// not asked, so that the answers in time are compared with how many there could be.
pub fn again(answers: &[Answer], since: u64, limit: u64) -> Option<u64> {
    let last = answers.last().map(|answer| answer.due + answer.took)?;
    let needed = (CALM.as_secs_f64() / PERIOD.as_secs_f64() * SHARE).round() as usize;
    let is_calm = |begun: u64| {
        let until = begun + CALM.as_nanos() as u64;
        let within = answers.iter().filter(|answer| answer.due >= begun && answer.due < until);
        last >= until && within.filter(|answer| answer.took <= limit).count() >= needed
    };
    let starts = answers.iter().filter(|answer| answer.due >= since && answer.took <= limit);
    starts.map(|answer| answer.due).find(|begun| is_calm(*begun))
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
        times.extend([10; 31]);
        let answers = row(&times);
        assert_eq!(again(&answers, 0, 30_000_000), Some(SECOND));
        assert_eq!(again(&answers[..answers.len() - 2], 0, 30_000_000), None, "less than three seconds");
        assert_eq!(longest(&answers, 0), SECOND / 2);
    }

    #[test]
    fn three_late_answers_in_three_seconds_are_forgiven_and_four_are_not() {
        let with = |late: usize| {
            let times: Vec<u64> =
                (0..31).map(|index| if index % 7 == 1 && index / 7 < late { 31 } else { 10 }).collect();
            again(&row(&times), 0, 30_000_000)
        };
        assert_eq!(with(3), Some(0));
        assert_eq!(with(4), None);
    }

    #[test]
    fn a_machine_that_stood_still_for_half_a_second_does_not_answer_although_it_was_asked_once() {
        let mut answers = row(&[10; 31]);
        answers[10].took = SECOND / 2;
        answers.drain(11..15);
        assert_eq!(again(&answers, 0, 30_000_000), None);
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
        assert_eq!(undisturbed(&answers, 4 * SECOND / 10), Some(11_000_000));
        assert_eq!(undisturbed(&answers, 0), None);
    }

    #[test]
    fn whole_lines_are_answers_and_a_half_one_is_not() {
        let read = answers("100 20 4\n200 45 3\n300 1");
        assert_eq!(read.len(), 2);
        assert_eq!((read[1].due, read[1].took, read[1].available), (200, 45_000, 3072));
    }
}
