//! The journal's file: append, rotation, reading back.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file entries are appended to.
#[derive(Debug)]
pub struct JournalFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    most_bytes: u64,
}

impl JournalFile {
    /// Opens or creates the journal, readable by its owner alone. If a crash left half a line, it is ended, so
    /// that it spoils no other.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: &Path, most_bytes: u64) -> io::Result<JournalFile> {
        let mut file = OpenOptions::new().append(true).read(true).create(true).mode(0o600).open(path)?;
        let mut bytes = file.metadata()?.len();
        if bytes > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                bytes += 1;
            }
        }
        Ok(JournalFile { path: path.to_owned(), file, bytes, most_bytes })
    }

    /// Appends a line, which must not hold a newline. When the file has reached its bound it is renamed to `….1`
    /// first.
    ///
    /// # Errors
    /// Those of the file system. The line may be there in part; the next opening ends it.
    pub fn append(&mut self, line: &str) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 + 1 > self.most_bytes {
            std::fs::rename(&self.path, older(&self.path))?;
            *self = JournalFile::open(&self.path, self.most_bytes)?;
        }
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        self.file.write_all(&bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

/// The last `most` lines of the journal at `path` that `wanted` accepts, oldest first, its older file included.
///
/// # Errors
/// Those of the file system; a file that is not there is empty.
pub fn tail(path: &Path, most: usize, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
    let mut found: std::collections::VecDeque<String> = std::collections::VecDeque::new();
    for path in [older(path), path.to_owned()] {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in io::BufRead::split(io::BufReader::new(file), b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            if !line.is_empty() && wanted(&line) {
                found.push_back(line);
                if found.len() > most {
                    found.pop_front();
                }
            }
        }
    }
    Ok(found.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back_in_order_across_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut file = JournalFile::open(&path, 100).unwrap();
        for number in 0..25 {
            file.append(&format!("line {number:02}")).unwrap();
        }
        let lines = tail(&path, 13, |_| true).unwrap();
        let expected: Vec<String> = (12..25).map(|number| format!("line {number:02}")).collect();
        assert_eq!(lines, expected);
        assert!(std::fs::metadata(&path).unwrap().len() <= 100);
        assert!(std::fs::metadata(older(&path)).unwrap().len() <= 100);
    }

    #[test]
    fn half_a_line_from_a_crash_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        std::fs::write(&path, "whole\nhal").unwrap();
        JournalFile::open(&path, 1000).unwrap().append("next").unwrap();
        assert_eq!(tail(&path, 9, |_| true).unwrap(), ["whole", "hal", "next"]);
    }

    #[test]
    fn a_journal_that_is_not_there_is_empty() {
        assert_eq!(tail(Path::new("/nonexistent/journal"), 9, |_| true).unwrap(), Vec::<String>::new());
    }
}
