//! Numbers for people.

/// A time, in the unit that leaves one to three digits before the point.
#[must_use]
pub fn time(nanoseconds: u64) -> String {
    let value = nanoseconds as f64;
    match nanoseconds {
        0 => "0 s".to_owned(),
        1..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{:.1} µs", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", value / 1e6),
        1_000_000_000..120_000_000_000 => format!("{:.1} s", value / 1e9),
        120_000_000_000..7_200_000_000_000 => format!("{:.0} min", value / 60e9),
        7_200_000_000_000..172_800_000_000_000 => format!("{:.1} h", value / 3600e9),
        _ => format!("{:.1} d", value / 86_400e9),
    }
}

/// Bytes, in powers of 1024.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A value of a sensor, by the name of its unit.
#[must_use]
pub fn value(number: u64, unit: &str) -> String {
    match unit {
        "bytes" => bytes(number),
        "nanoseconds" => time(number),
        "per-second" => format!("{number}/s"),
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_bytes_are_short() {
        for (nanoseconds, text) in [
            (0, "0 s"),
            (999, "999 ns"),
            (1_500, "1.5 µs"),
            (34_200_000, "34.2 ms"),
            (1_000_000_000, "1.0 s"),
            (600_000_000_000, "10 min"),
            (7_200_000_000_000, "2.0 h"),
            (u64::MAX, "213504.0 d"),
        ] {
            assert_eq!(time(nanoseconds), text);
        }
        for (number, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 20, "3.0 MiB"), (u64::MAX, "16.0 EiB")]
        {
            assert_eq!(bytes(number), text);
        }
    }
}
