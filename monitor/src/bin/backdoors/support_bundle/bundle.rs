//! The file itself.

use super::secrets::Secrets;
use anyhow::Context;
use backdoors_monitor::clock::{Clock, SystemClock, rfc3339};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tar::{Builder, Header};

/// Most bytes of one file; of longer ones the end is kept.
const MOST: usize = 16 << 20;

/// A bundle that is being filled.
pub struct Bundle {
    archive: Builder<GzEncoder<File>>,
    secrets: Secrets,
    name: String,
    contents: Contents,
}

/// What is in a bundle, and what is not.
#[derive(Debug, Default, Serialize)]
pub struct Contents {
    file: PathBuf,
    pub files: Vec<Entry>,
    pub lacking: Vec<Lacking>,
}

/// A file in it.
#[derive(Debug, Serialize)]
pub struct Entry {
    name: String,
    bytes: usize,
}

/// A file that could not be had.
#[derive(Debug, Serialize)]
pub struct Lacking {
    pub name: String,
    pub why: String,
}

impl Bundle {
    /// Begins a file for this user's eyes only.
    ///
    /// # Errors
    /// Those of the file system; it refuses to overwrite.
    pub fn create(path: &Path, name: &str, secrets: Secrets) -> io::Result<Bundle> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Bundle {
            archive: Builder::new(GzEncoder::new(file, Compression::default())),
            secrets,
            name: name.to_owned(),
            contents: Contents { file: path.to_owned(), ..Contents::default() },
        })
    }

    /// Adds a file without what is secret in it, or notes why it could not be had.
    ///
    /// # Errors
    /// If the bundle cannot be written.
    pub fn put(&mut self, name: &str, had: Result<String, String>) -> anyhow::Result<()> {
        match had {
            Ok(text) => {
                let text = self.secrets.withheld(&text);
                let text = end_of(&text);
                self.append(name, text)?;
                self.contents.files.push(Entry { name: name.to_owned(), bytes: text.len() });
            }
            Err(why) => {
                let (name, why) = (name.to_owned(), self.secrets.withheld(&why));
                self.contents.lacking.push(Lacking { name, why });
            }
        }
        Ok(())
    }

    /// Adds the manifest, and ends the file.
    ///
    /// # Errors
    /// If the bundle cannot be written.
    pub fn finish(mut self) -> anyhow::Result<Contents> {
        self.append("MANIFEST", &self.manifest())?;
        let Bundle { archive, contents, .. } = self;
        let ended = || archive.into_inner()?.finish()?.sync_all();
        ended().with_context(|| format!("writing {}", contents.file.display()))?;
        Ok(contents)
    }

    fn manifest(&self) -> String {
        let Contents { files, lacking, .. } = &self.contents;
        let mut text = format!(
            "{}, made {} by backdoors {}\n\nIn it are, with their sizes in bytes:\n",
            self.name,
            rfc3339(SystemClock.wall()),
            env!("CARGO_PKG_VERSION")
        );
        text.extend(files.iter().map(|entry| format!("{:>10}  {}\n", entry.bytes, entry.name)));
        text.push_str("\nCould not be had:\n");
        text.extend(lacking.iter().map(|lacking| format!("  {}: {}\n", lacking.name, lacking.why)));
        text.push_str(
            "\nLeft out on purpose: private keys, arguments of configured commands, settings of your own healers that are text, \
             recordings (`backdoors record` saves one)\n",
        );
        text
    }

    fn append(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(SystemClock.wall().as_secs());
        let path = format!("{}/{name}", self.name);
        self.archive
            .append_data(&mut header, path, text.as_bytes())
            .with_context(|| format!("writing {}: is there room?", self.contents.file.display()))
    }
}

/// What of a text is kept: its last lines.
fn end_of(text: &str) -> &str {
    let begins = text.len().saturating_sub(MOST);
    let Some((at, _)) =
        text.bytes().enumerate().skip(begins.saturating_sub(1)).find(|(_, byte)| *byte == b'\n')
    else {
        return if begins == 0 { text } else { "" };
    };
    if begins == 0 { text } else { &text[at + 1..] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_text_the_last_whole_lines_are_kept() {
        assert_eq!(end_of("short"), "short");
        let long = format!("first\n{}\nlast\n", "x".repeat(MOST));
        assert_eq!(end_of(&long), "last\n");
        assert_eq!(end_of(&"é".repeat(MOST)), "");
    }
}
