//! Files that documents show. Their first comment says where they are: `# /etc/backdoors/agent.toml`. What is shown of a file that is
//! there already comes into it.

use std::path::Path;
use toml::{Table, Value};

/// Where a file is.
#[derive(Clone, Copy, Debug)]
pub struct Place<'block> {
    pub machine: &'static str,
    pub path: &'block str,
    /// It is there to be refused.
    pub is_bad: bool,
}

/// What the first lines of a file say of where it is.
pub fn place(text: &str) -> Option<Place<'_>> {
    let comment = text.lines().find(|line| !line.starts_with("#!"))?.strip_prefix("# ")?;
    let path = comment.split([' ', ',', ':']).next().filter(|path| path.starts_with('/'))?;
    let is_targets = path.ends_with("/agent.toml") && !comment.contains("on the monitor");
    let machine = if is_targets { "target" } else { "monitor" };
    Some(Place { machine, path, is_bad: path.contains("bad") })
}

/// A configuration with what is shown of it. The agent of a host is told what it shares with others: its kernel.
pub fn merged(before: &str, shown: &str, group: &Path) -> Result<String, String> {
    let mut whole: Table = before.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let shown: Table = shown.parse().map_err(|error: toml::de::Error| error.to_string())?;
    merge(&mut whole, shown);
    if whole.contains_key("owner") {
        whole.insert("scope".to_owned(), "pid-namespace".into());
        whole.insert("service_cgroup".to_owned(), group.display().to_string().into());
    }
    toml::to_string(&whole).map_err(|error| error.to_string())
}

fn merge(whole: &mut Table, shown: Table) {
    for (key, value) in shown {
        match (whole.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            // What is below `[[target]]` belongs to the last one.
            (Some(Value::Array(old)), Value::Table(new)) => {
                if let Some(Value::Table(last)) = old.last_mut() {
                    merge(last, new);
                }
            }
            (Some(Value::Array(old)), Value::Array(new)) if new.iter().all(Value::is_table) => {
                new.into_iter().for_each(|item| add(old, item));
            }
            (_, value) => drop(whole.insert(key, value)),
        }
    }
}

/// Adds an item, or what is new of the one of that name.
fn add(items: &mut Vec<Value>, item: Value) {
    let named = item.get("name").and_then(|name| items.iter_mut().find(|old| old.get("name") == Some(name)));
    match (named, item) {
        (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
        (_, item) => items.push(item),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_a_file_comes_into_it_at_its_place() {
        let before = "a = 1\n[[target]]\nname = 'x'\n[[target.healer]]\nname = 'h'\nmode = 'act'\n";
        let shown = "[[target.healer]]\nname = 'h'\nmode = 'observe'\n[[target.healer]]\nname = 'i'\n";
        let merged = merged(before, shown, Path::new("/")).unwrap();
        let table: Table = merged.parse().unwrap();
        let healers = table["target"][0]["healer"].as_array().unwrap();
        assert_eq!((healers.len(), healers[0]["mode"].as_str()), (2, Some("observe")), "{merged}");
    }

    #[test]
    fn a_file_says_where_it_is() {
        let found = |text| place(text).map(|place| (place.machine, place.path));
        assert_eq!(found("# /e/agent.toml\nx"), Some(("target", "/e/agent.toml")));
        assert_eq!(found("# /e/agent.toml on the monitor's machine\n"), Some(("monitor", "/e/agent.toml")));
        assert_eq!(found("#!/bin/sh\n# /u/own: a healer\n"), Some(("monitor", "/u/own")));
        assert_eq!(found("# no path\n"), None);
    }
}
