//! What must not leave this machine.
//!
//! A private key never does. Of a configuration that goes for what somebody may have written down as a secret: arguments of commands, and
//! text among the settings of a healer of one's own. The same words are withheld wherever else they turn up, as in the daemon's answers.

use std::collections::BTreeSet;
use toml::{Table, Value};

/// Stands for what is withheld.
const WITHHELD: &str = "(withheld)";
/// What is shorter gives nothing away, and is part of too much else.
const SHORTEST: usize = 4;
/// Keys whose values are commands.
const COMMANDS: [&str; 3] = ["command", "run", "announce"];
/// Settings of a healer of one's own that are no secrets.
const KNOWN: [&str; 10] = [
    "name",
    "mode",
    "cooldown",
    "grace",
    "watches",
    "applications",
    "may",
    "timeout",
    "spare",
    "spare_commands",
];
/// Parts of names of keys whose values are secrets, whoever reads them.
const TELLING: [&str; 6] = ["password", "passphrase", "secret", "token", "credential", "api_key"];

/// Words to withhold.
#[derive(Clone, Debug, Default)]
pub struct Secrets(BTreeSet<String>);

impl Secrets {
    /// Those of a configuration.
    pub fn of(table: &Table) -> Secrets {
        let mut secrets = Secrets::default();
        secrets.collect(table);
        // A target's name as an argument must not be taken out of everything.
        for key in ["target", "peer", "service", "healer", "monitor", "client"] {
            for name in names(table, key) {
                secrets.0.remove(&name);
            }
        }
        if let Some(name) = table.get("name").and_then(Value::as_str) {
            secrets.0.remove(name);
        }
        secrets
    }

    /// These, too.
    pub fn and(mut self, words: impl IntoIterator<Item = String>) -> Secrets {
        self.0.extend(words.into_iter().filter(|word| word.len() >= SHORTEST));
        self
    }

    fn collect(&mut self, table: &Table) {
        let is_own = table.contains_key("command");
        for (key, value) in table {
            if COMMANDS.contains(&key.as_str()) {
                let words = value.as_array().into_iter().flatten().skip(1);
                self.0.extend(words.filter_map(secret));
            } else if (is_own && !KNOWN.contains(&key.as_str())) || is_telling(key) {
                self.add_all(value);
            } else {
                self.look_into(value);
            }
        }
    }

    fn look_into(&mut self, value: &Value) {
        match value {
            Value::Table(table) => self.collect(table),
            Value::Array(items) => items.iter().for_each(|item| self.look_into(item)),
            _ => {}
        }
    }

    fn add_all(&mut self, value: &Value) {
        match value {
            Value::Table(table) => table.values().for_each(|value| self.add_all(value)),
            Value::Array(items) => items.iter().for_each(|item| self.add_all(item)),
            value => self.0.extend(secret(value)),
        }
    }

    /// A text without them, and without private keys.
    pub fn withheld(&self, text: &str) -> String {
        let mut text = without_keys(text);
        // The longest first: it may hold others.
        let mut words: Vec<&String> = self.0.iter().collect();
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        for word in words {
            for form in [word.clone(), escaped(word)] {
                if text.contains(&form) {
                    text = text.replace(&form, WITHHELD);
                }
            }
        }
        text
    }
}

/// A text that is long enough to be one.
fn secret(value: &Value) -> Option<String> {
    value.as_str().filter(|text| text.len() >= SHORTEST).map(str::to_owned)
}

/// As it stands between quotation marks, with escapes.
fn escaped(word: &str) -> String {
    let quoted = serde_json::Value::from(word).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn is_telling(key: &str) -> bool {
    let key = key.to_lowercase().replace('-', "_");
    TELLING.iter().any(|part| key.contains(part))
}

/// Names in all tables of this key, however deep.
fn names(table: &Table, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in table {
        for item in value.as_array().into_iter().flatten().filter_map(Value::as_table) {
            if name == key {
                found.extend(item.get("name").and_then(Value::as_str).map(str::to_owned));
            }
            found.extend(names(item, key));
        }
    }
    found
}

/// A text without what stands between the lines that mark a private key.
fn without_keys(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find("-----BEGIN ") {
        let (before, block) = rest.split_at(begin);
        let label = block["-----BEGIN ".len()..].split("-----").next();
        let is_key = label.is_some_and(|label| label.contains("PRIVATE KEY"));
        let end = block.find("-----END ").and_then(|end| {
            let after = &block[end + "-----END ".len()..];
            Some(end + "-----END ".len() + after.find("-----")? + "-----".len())
        });
        kept.push_str(before);
        let block = match end {
            Some(end) => {
                rest = &block[end..];
                &block[..end]
            }
            // Whatever comes may belong to it.
            None => {
                rest = "";
                block
            }
        };
        kept.push_str(if is_key { WITHHELD } else { block });
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        name = "watch1"
        [[target]]
        name = "web1"
        [[target.healer]]
        name = "own"
        command = ["/usr/lib/own", "--bearer=hunter22", "web1", "-x"]
        watches = ["processes"]
        hook = "https://example.org/T0K3N"
        nested = { deep = ["also this"] }
        [[target.healer]]
        name = "forkbomb"
        mode = "propose"
        [[target.rule]]
        layer = "kernel"
        run = ["/usr/bin/page", "pager-number-5551"]
        [[target.service]]
        announce = ["/usr/bin/move", "web1", "key-8842"]
        [extra]
        Smtp-Password = "swordfish"
    "#;

    #[test]
    fn what_could_be_a_secret_is_withheld_and_nothing_else() {
        let secrets = Secrets::of(&TEXT.parse().unwrap());
        let told = secrets.withheld(TEXT);
        for word in ["hunter22", "T0K3N", "also this", "5551", "8842", "swordfish"] {
            assert!(!told.contains(word), "{word} is in {told}");
        }
        for word in [
            "/usr/lib/own",
            "\"web1\", \"-x\"",
            "processes",
            "forkbomb",
            "propose",
            "/usr/bin/page",
            "kernel",
        ] {
            assert!(told.contains(word), "{word} is not in {told}");
        }
        let quoted = Secrets::default().and(["say \"friend\"".to_owned()]);
        assert_eq!(quoted.withheld(r#"{"x":"say \"friend\""}"#), r#"{"x":"(withheld)"}"#);
        assert_eq!(secrets.withheld("runs /usr/lib/own --bearer=hunter22"), "runs /usr/lib/own (withheld)");
    }

    #[test]
    fn private_keys_are_cut_out_of_any_text() {
        let key = "-----BEGIN PRIVATE KEY-----\nMIIB\nabc\n-----END PRIVATE KEY-----";
        let certificate = "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----";
        let text = format!("a {certificate} b {key} c {key}\nd");
        let told = Secrets::default().withheld(&text);
        assert_eq!(told, format!("a {certificate} b (withheld) c (withheld)\nd"));
        assert_eq!(without_keys("x -----BEGIN EC PRIVATE KEY-----\nMII"), "x (withheld)");
    }
}
