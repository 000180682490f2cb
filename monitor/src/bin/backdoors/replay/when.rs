//! Moments of a recording, as people name them.

use backdoors_monitor::clock::rfc3339;
use backdoors_monitor::config::parse_duration;
use backdoors_monitor::recorder::Recording;
use std::str::FromStr;
use std::time::Duration;

/// A moment of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// So long after its beginning.
    After(Duration),
    /// So long before its end.
    Before(Duration),
    /// A time of the day, or date and time, UTC.
    At(String),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<When, String> {
        if let Some(before) = text.strip_prefix('-') {
            return parse_duration(before).map(When::Before);
        }
        let is_time = text.contains(':') && text.chars().all(|letter| "0123456789:.-TZ".contains(letter));
        if is_time {
            Ok(When::At(text.trim_end_matches('Z').to_owned()))
        } else {
            parse_duration(text).map(When::After)
        }
    }
}

impl When {
    /// Since 1970 UTC, for a recording of that span.
    pub fn in_span(&self, first: Duration, last: Duration) -> Duration {
        match self {
            When::After(time) => first.saturating_add(*time),
            When::Before(time) => last.saturating_sub(*time),
            When::At(text) => {
                let date = if text.contains('T') { "" } else { &rfc3339(first)[..11] };
                let wanted = format!("{date}{text}");
                first_not_before(first, last, &wanted)
            }
        }
    }
}

/// The first microsecond of the span whose RFC 3339 text is not before `wanted`: such texts are in the order of time.
fn first_not_before(first: Duration, last: Duration, wanted: &str) -> Duration {
    let (mut low, mut high) = (first.as_micros() as u64, last.as_micros() as u64 + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if rfc3339(Duration::from_micros(middle)).as_str() < wanted {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Duration::from_micros(low)
}

/// Wall-clock times of the first and the last moment.
pub fn span(recording: &Recording) -> Option<(Duration, Duration)> {
    recording.play().map(|moment| moment.wall).fold(None, |span, wall| match span {
        None => Some((wall, wall)),
        Some((first, last)) => Some((wall.min(first), wall.max(last))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_named_from_either_end_and_by_the_clock() {
        // 2023-11-14T22:13:20Z.
        let (first, last) = (Duration::from_secs(1_700_000_000), Duration::from_secs(1_700_000_100));
        for (text, seconds) in [
            ("10s", 10.0),
            ("-10s", 90.0),
            ("22:13:30", 10.0),
            ("22:13:30.5Z", 10.5),
            ("2023-11-14T22:14:00", 40.0),
            ("2022-01-01T00:00:00", 0.0),
        ] {
            let found = text.parse::<When>().unwrap().in_span(first, last);
            assert_eq!(found, first + Duration::from_secs_f64(seconds), "{text}");
        }
        for text in ["", "soon", "10", "-x"] {
            assert!(text.parse::<When>().is_err(), "{text}");
        }
    }
}
