//! What of a document a program can see: blocks, headings, links, and code within lines.

use std::path::{Path, PathBuf};

/// A document of the project.
#[derive(Debug)]
pub struct Document {
    /// Its path from the project's root.
    pub name: String,
    pub blocks: Vec<Block>,
    /// What links to its headings name.
    pub anchors: Vec<String>,
    pub links: Vec<String>,
    /// Code within lines.
    pub code: Vec<String>,
}

/// A block of code.
#[derive(Clone, Debug)]
pub struct Block {
    /// Where it begins.
    pub line: usize,
    pub language: String,
    pub text: String,
}

pub fn root() -> &'static Path {
    // The manifest's folder is tests/, which has a parent.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// All documents.
pub fn documents() -> Vec<Document> {
    let mut names = vec![PathBuf::from("README.md"), PathBuf::from("SPECIFICATION.md")];
    for folder in ["docs", "docs/evaluation"] {
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        names.extend(
            entries
                .map(|entry| Path::new(folder).join(entry.unwrap().file_name()))
                .filter(|path| path.extension().is_some_and(|extension| extension == "md")),
        );
    }
    names.iter().map(|name| Document::read(name.to_str().unwrap())).collect()
}

impl Document {
    pub fn read(name: &str) -> Document {
        Document::parse(name, &std::fs::read_to_string(root().join(name)).unwrap())
    }

    pub fn parse(name: &str, text: &str) -> Document {
        let mut document = Document {
            name: name.to_owned(),
            blocks: Vec::new(),
            anchors: Vec::new(),
            links: Vec::new(),
            code: Vec::new(),
        };
        let mut open: Option<Block> = None;
        let mut prose = String::new();
        for (line, text) in (1..).zip(text.lines()) {
            match (&mut open, text.strip_prefix("```")) {
                (Some(_), Some(_)) => document.blocks.extend(open.take()),
                (Some(block), None) => block.text.extend([text, "\n"]),
                (None, Some(language)) => {
                    open = Some(Block { line, language: language.to_owned(), text: String::new() });
                }
                (None, None) => {
                    if let Some(heading) = text.strip_prefix('#') {
                        document.anchors.push(anchor(heading.trim_start_matches('#').trim()));
                    }
                    prose.extend([text, "\n"]);
                }
            }
        }
        assert!(open.is_none(), "{name} ends within a block");
        // Code may go on in the next line, and what looks like a link in it is none.
        for (nth, piece) in prose.split('`').enumerate() {
            if nth % 2 == 1 {
                document.code.push(piece.split_whitespace().collect::<Vec<_>>().join(" "));
            } else {
                let ends = piece.split("](").skip(1).filter_map(|rest| rest.split(')').next());
                document.links.extend(ends.map(str::to_owned));
            }
        }
        document
    }
}

/// What a link to this heading names.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
}
