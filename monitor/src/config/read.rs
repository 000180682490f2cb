//! From text to a configuration, with all that is wrong on the way.

use super::problem::{Problem, Step, place, take_out};
use super::{Config, ConfigError};
use serde::Deserialize;
use std::collections::BTreeSet;
use toml::Spanned;
use toml::de::DeTable;

/// Most problems that are told at once.
const MOST: usize = 100;

/// A document, as far as it could be understood.
pub(super) struct Reading<'a> {
    text: &'a str,
    root: Spanned<DeTable<'a>>,
    /// What is wrong so far.
    pub problems: Vec<Problem>,
}

impl<'a> Reading<'a> {
    /// Reads a text. Keys that are unknown and values that do not fit are told, and taken out to see what else is wrong;
    /// there is no configuration if nothing can be made of what is left.
    pub(super) fn of(text: &'a str) -> (Reading<'a>, Option<Config>) {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut reading = Reading { text, root, problems: Vec::new() };
        if !errors.is_empty() {
            for error in errors.iter().take(MOST) {
                reading.add_error(error);
            }
            return (reading, None);
        }
        let mut taken_out = BTreeSet::new();
        while reading.problems.len() < MOST {
            let error = match Config::deserialize(toml::Deserializer::from(reading.root.clone())) {
                Ok(config) => return (reading, Some(config)),
                Err(error) => error,
            };
            // What is missing because it was taken out was told already.
            let told = |key: &String| error.message() == format!("missing field `{key}`");
            if !taken_out.iter().any(told) {
                reading.add_error(&error);
            }
            let Some(key) = error.span().and_then(|span| take_out(reading.root.get_mut(), &span)) else {
                return (reading, None);
            };
            taken_out.insert(key);
        }
        (reading, None)
    }

    fn add_error(&mut self, error: &toml::de::Error) {
        let place = error.span().unwrap_or(self.text.len()..self.text.len());
        let message = match error.message().strip_prefix("unknown field ") {
            Some(rest) => format!("unknown key {}", rest.replace(", expected one of ", ": there are ")),
            None => error.message().trim_end().replace("missing field", "missing key"),
        };
        self.problems.push(Problem::at(self.text, place, message));
    }

    /// Adds a problem of the value at the end of these steps.
    pub(super) fn add(&mut self, steps: &[Step<'_>], error: &ConfigError) {
        let place = place(&self.root, steps);
        self.problems.push(Problem::at(self.text, place, error.to_string()));
    }

    /// All that is wrong, in the order of the lines.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.problems.sort();
        self.problems.dedup();
        self.problems
    }
}
