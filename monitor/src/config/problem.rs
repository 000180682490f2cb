//! What is wrong with a configuration, and where it stands.

use serde::Serialize;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// Everything that was found wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct BadFile {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, in the order of the lines.
    pub problems: Vec<Problem>,
}

impl fmt::Display for BadFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { line, column, message }) in self.problems.iter().enumerate() {
            let end = if index + 1 < self.problems.len() { "\n" } else { "" };
            write!(formatter, "{}:{line}:{column}: {message}{end}", self.path.display())?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Problem {
    pub(super) fn at(text: &str, place: Range<usize>, message: String) -> Problem {
        let before = text.get(..place.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Problem { line, column, message }
    }
}

/// A step on the way from the root of a document to a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    Key(&'a str),
    Item(usize),
}

/// Where the value at the end of these steps stands, or the last one on the way that is there. Of what has a key it is
/// the key.
pub(super) fn place(root: &Spanned<DeTable<'_>>, steps: &[Step<'_>]) -> Range<usize> {
    let mut found = root.span();
    let mut table = Some(root.get_ref());
    let mut value: Option<&Spanned<DeValue<'_>>> = None;
    for step in steps {
        let next = match step {
            Step::Key(key) => {
                table.and_then(|table| table.get_key_value(*key)).map(|(key, value)| (key.span(), value))
            }
            Step::Item(index) => value
                .and_then(|value| value.get_ref().as_array())
                .and_then(|array| array.get(*index))
                .map(|item| (item.span(), item)),
        };
        let Some((span, next)) = next else { return found };
        found = span;
        table = next.get_ref().as_table();
        value = Some(next);
    }
    found
}

/// Takes the key or item out that stands at `span`, or whose value does. Returns its key, empty for an item; `None` if
/// there is none.
pub(super) fn take_out(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let is_it = |(key, value): &(&Spanned<_>, &Spanned<_>)| key.span() == *span || value.span() == *span;
    let found = table.iter().find(is_it).map(|(key, _)| key.get_ref().to_string());
    if let Some(key) = &found {
        table.remove(key.as_str());
    }
    found.or_else(|| table.iter_mut().find_map(|(_, value)| take_out_of_value(value.get_mut(), span)))
}

fn take_out_of_value(value: &mut DeValue<'_>, span: &Range<usize>) -> Option<String> {
    match value {
        DeValue::Table(table) => take_out(table, span),
        DeValue::Array(array) => {
            if array.iter().any(|item| item.span() == *span) {
                let items = std::mem::replace(array, DeArray::new());
                *array = items.into_iter().filter(|item| item.span() != *span).collect();
                return Some(String::new());
            }
            array.iter_mut().find_map(|item| take_out_of_value(item.get_mut(), span))
        }
        _ => None,
    }
}
