//! Durations as people write them: a number and `ns`, `us`, `ms`, `s`, `m` or `h`.

use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// Reads a duration such as `100ms` or `1.5s`.
///
/// # Errors
/// A sentence that says what would be right.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration: write a number and ns, us, ms, s, m or h, as in 100ms");
    let unit_at = text.find(|letter: char| letter.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_unit() {
        for (text, nanoseconds) in [
            ("5ns", 5),
            ("5us", 5_000),
            ("100ms", 100_000_000),
            ("1.5s", 1_500_000_000),
            ("2 m", 120_000_000_000),
            ("1h", 3_600_000_000_000),
        ] {
            assert_eq!(parse(text).unwrap(), Duration::from_nanos(nanoseconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "5", "ms", "-1s", "1e400s", "5 parsecs", "nan s"] {
            assert!(parse(text).unwrap_err().contains("is no duration"), "{text}");
        }
    }
}
