//! What a block says is to be done. In a `console` block a line that begins with a machine and `#` (root) or `$` (somebody else) is a
//! command on that machine; `\` at its end goes on in the next line. Behind it may stand what it prints. A comment may say that it
//! `stays` (it does not end by itself), or that it `exits with 2`.

use crate::markdown::{Block, Document};

/// A command of a document.
#[derive(Clone, Debug)]
pub struct Step {
    /// The document and its line.
    pub place: String,
    /// The machine.
    pub machine: String,
    pub is_root: bool,
    pub command: String,
    /// Whether it goes on until it is told to stop.
    pub stays: bool,
    pub exit_code: i32,
    /// Lines that are shown behind it.
    pub shown: Vec<String>,
}

/// The commands of a block; or the line in which there is none.
pub fn steps(document: &Document, block: &Block) -> Result<Vec<Step>, String> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = (block.line + 1..).zip(block.text.lines());
    while let Some((number, line)) = lines.next() {
        let place = format!("{}:{number}", document.name);
        let Some((machine, is_root, first)) = prompt(line) else {
            let step = steps.last_mut().ok_or(format!("{place}: no command is before `{line}`"))?;
            step.shown.push(line.to_owned());
            continue;
        };
        let mut command = first.to_owned();
        while command.ends_with('\\') {
            let (_, more) = lines.next().ok_or(format!("{place}: nothing is behind the backslash"))?;
            command.extend(["\n", more]);
        }
        let comment = command.rsplit_once(" # ").map_or("", |(_, comment)| comment).to_owned();
        let exit_code = match comment.split_once("exits with ") {
            Some((_, code)) => code.split([',', ';', ':']).next().and_then(|code| code.parse().ok()),
            None => Some(0),
        };
        steps.push(Step {
            machine: machine.to_owned(),
            is_root,
            stays: comment.contains("stays"),
            exit_code: exit_code.ok_or(format!("{place}: with what?"))?,
            command,
            place,
            shown: Vec::new(),
        });
    }
    Ok(steps)
}

/// The machine, whether it is root who types, and what.
fn prompt(line: &str) -> Option<(&str, bool, &str)> {
    let end = line.find(|letter: char| !letter.is_ascii_lowercase()).filter(|end| *end > 0)?;
    let (machine, rest) = line.split_at(end);
    match (rest.strip_prefix("# "), rest.strip_prefix("$ ")) {
        (Some(command), _) => Some((machine, true, command)),
        (_, Some(command)) => Some((machine, false, command)),
        _ => None,
    }
}

/// Whether the lines that a document shows are among those that were printed, in this order. Numbers may differ, `…` and `...` stand
/// for anything, and blanks are one.
pub fn is_as_shown(shown: &[String], printed: &str) -> bool {
    let mut printed = printed.lines().map(words);
    shown.iter().filter(|line| !line.trim().is_empty()).all(|line| {
        let wanted = words(line);
        printed.any(|line| matches(&wanted, &line))
    })
}

/// The words of a line, with `0` for each number.
fn words(line: &str) -> Vec<String> {
    let without_numbers = |word: &str| {
        let mut without = String::new();
        for letter in word.replace("...", "…").chars() {
            let is_digit = letter.is_ascii_digit();
            let goes_on = without.ends_with('0') && (is_digit || letter == '.');
            match (is_digit, goes_on) {
                (_, true) => {}
                (true, false) => without.push('0'),
                (false, false) => without.push(letter),
            }
        }
        without
    };
    line.split_whitespace().map(without_numbers).collect()
}

fn matches(wanted: &[String], line: &[String]) -> bool {
    match (wanted.split_first(), line.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "…" => {
            rest.is_empty() || (0..=line.len()).any(|skipped| matches(rest, &line[skipped..]))
        }
        (Some((first, rest)), Some((word, others))) => fits(first, word) && matches(rest, others),
        _ => false,
    }
}

/// A word may end with anything, too.
fn fits(wanted: &str, word: &str) -> bool {
    match wanted.split_once('…') {
        Some((begin, end)) => word.starts_with(begin) && word[begin.len()..].ends_with(end),
        None => wanted == word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Step>, String> {
        let document = Document::parse("x.md", &format!("```console\n{text}\n```\n"));
        steps(&document, &document.blocks[0])
    }

    #[test]
    fn commands_have_a_machine_and_a_user_and_say_how_they_end() {
        let steps =
            read("target# one \\\n  --two   # exits with 2: it is bad\nbad\nclient$ three # stays").unwrap();
        assert_eq!((steps[0].machine.as_str(), steps[0].is_root, steps[0].exit_code), ("target", true, 2));
        assert!(steps[0].command.starts_with("one \\\n  --two") && steps[0].shown == ["bad"]);
        assert_eq!((steps[1].is_root, steps[1].stays, steps[1].place.as_str()), (false, true, "x.md:5"));
        assert!(read("no prompt").unwrap_err().contains("x.md:2"));
    }

    #[test]
    fn what_is_shown_may_have_other_numbers_and_no_other_words() {
        let is = |shown: &str, printed: &str| is_as_shown(&[shown.to_owned()], printed);
        assert!(is("a  12.5 ms b", "x\na 3 ms b\n"));
        assert!(is("a … z", "a b c z") && is("a …", "a b") && is("ab…", "abc"));
        assert!(!is("a 1 b", "a 1 c") && !is("a", "a b") && !is("a … z", "a b"));
        let both = ["a".to_owned(), "b".to_owned()];
        assert!(is_as_shown(&both, "a\nx\nb\n") && !is_as_shown(&both, "b\na\n"));
    }
}
