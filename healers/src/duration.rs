//! Durations as people write them: a number and `ns`, `us`, `ms`, `s`, `m` or `h`.

use serde::{Deserialize, Deserializer, Serializer};
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

/// Writes a duration so that [`parse`] reads it.
#[must_use]
pub fn text(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let units: [(u128, &str); 4] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")];
    let fits = |(unit, _): &(u128, &str)| nanoseconds.is_multiple_of(*unit);
    // Every duration is a multiple of the last unit.
    let (unit, name) = units.into_iter().find(fits).unwrap_or((1, "ns"));
    format!("{}{name}", nanoseconds / unit)
}

/// For `#[serde(with = …)]`.
///
/// # Errors
/// If it is no duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// For `#[serde(with = …)]`.
///
/// # Errors
/// If the serializer has one.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*duration))
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

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for (nanoseconds, written) in
            [(0, "0s"), (1_500_000_000, "1500ms"), (30_000_000_000, "30s"), (7, "7ns")]
        {
            let duration = Duration::from_nanos(nanoseconds);
            assert_eq!(text(duration), written);
            assert_eq!(parse(written).unwrap(), duration);
        }
    }
}
