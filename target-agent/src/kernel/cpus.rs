//! The machine's CPUs.

/// Numbers of the CPUs that are online, in order.
#[must_use]
pub fn online_cpus() -> Vec<u32> {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let online = parse(&list);
    if online.is_empty() {
        let count = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
        return (0..count).collect();
    }
    online
}

/// A list such as `0-3,6`.
fn parse(list: &str) -> Vec<u32> {
    let number = |text: &str| text.trim().parse::<u32>().ok();
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => Some(number(first)?..=number(last)?),
        None => number(part).map(|only| only..=only),
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cpus_is_its_ranges_and_single_numbers() {
        assert_eq!(parse("0-1\n"), [0, 1]);
        assert_eq!(parse("0,2-4,7\n"), [0, 2, 3, 4, 7]);
        assert_eq!(parse(""), [] as [u32; 0]);
        assert_eq!(parse("none"), [] as [u32; 0]);
    }
}
