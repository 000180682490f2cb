//! The text format that came before OpenMetrics: counters are described by the names of their samples, and there are no units and no end.

/// `text`, OpenMetrics, in the older format.
pub(in crate::api) fn classic(text: &str) -> String {
    let mut counters = std::collections::HashSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter")) {
            counters.insert(name);
        }
    }
    let mut classic = String::with_capacity(text.len());
    for line in text.lines() {
        let described = line.strip_prefix("# ").map(|rest| rest.splitn(3, ' ').collect::<Vec<_>>());
        match described.as_deref() {
            Some(["EOF"] | ["UNIT", ..]) => continue,
            Some([what, name, rest]) if counters.contains(name) => {
                classic.push_str(&format!("# {what} {name}_total {rest}"));
            }
            _ => classic.push_str(line),
        }
        classic.push('\n');
    }
    classic
}
