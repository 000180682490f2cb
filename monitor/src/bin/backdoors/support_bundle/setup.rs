//! How the monitor is set up, as far as its configuration can be read.

use super::bundle::Bundle;
use super::secrets::Secrets;
use crate::keys::certificates;
use backdoors_monitor::config::{Config, DEFAULT_SOCKET};
use backdoors_monitor::journal::tail;
use backdoors_monitor_api::Endpoint;
use std::fs;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Lines of the journal.
const LINES: usize = 20_000;
/// The shortest line of a file with a key that is looked for elsewhere.
const OF_KEY: usize = 16;

/// A configuration, or why there is none.
pub struct Setup {
    path: PathBuf,
    table: Result<Table, String>,
}

impl Setup {
    pub fn read(path: &Path) -> Setup {
        Setup { path: path.to_owned(), table: table(path) }
    }

    /// What must not leave this machine.
    pub fn secrets(&self) -> Secrets {
        let secrets = self.table.as_ref().map_or_else(|_| Secrets::default(), Secrets::of);
        secrets.and(self.file("identity").map(|folder| lines_of_keys(&folder)).unwrap_or_default())
    }

    /// Which daemon is asked: that one, unless only the configuration names a socket.
    pub fn daemon(&self, named: Endpoint) -> Endpoint {
        match named {
            Endpoint::Socket(socket) if socket == Path::new(DEFAULT_SOCKET) => {
                Endpoint::Socket(self.file("socket").unwrap_or(socket))
            }
            named => named,
        }
    }

    /// A file or folder that the configuration names.
    fn file(&self, key: &str) -> Result<PathBuf, String> {
        let table = self.table.as_ref().map_err(Clone::clone)?;
        let name = table
            .get(key)
            .and_then(Value::as_str)
            .ok_or_else(|| format!("{} has no `{key}`", self.path.display()))?;
        Ok(self.path.parent().unwrap_or(Path::new("")).join(name))
    }

    pub fn put_into(&self, bundle: &mut Bundle) -> anyhow::Result<()> {
        bundle.put(
            "configuration/monitor.toml",
            self.table.as_ref().map(Table::to_string).map_err(Clone::clone),
        )?;
        let checked = match Config::load(&self.path) {
            Ok(_) => "good\n".to_owned(),
            Err(error) => format!("{error}\n"),
        };
        bundle.put("configuration/check.txt", Ok(checked))?;
        let agent = self.path.with_file_name("agent.toml");
        bundle.put("configuration/agent.toml", table(&agent).map(|table| table.to_string()))?;
        bundle.put("certificates.json", self.file("identity").and_then(|folder| fingerprints(&folder)))?;
        bundle.put("journal.jsonl", self.file("journal").and_then(|path| journal(&path)))?;
        bundle.put("recordings.txt", self.file("recorder").and_then(|folder| sizes(&folder)))
    }
}

fn table(path: &Path) -> Result<Table, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    // What is a secret in it cannot be told if it is not understood.
    text.parse().map_err(|_| format!("{} is no TOML: `backdoors config check` tells where", path.display()))
}

fn lines_of_keys(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let keys =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "key"));
    let texts = keys.filter_map(|path| fs::read_to_string(path).ok());
    let is_key = |line: &&str| line.len() >= OF_KEY && !line.starts_with("-----");
    texts.flat_map(|text| text.lines().filter(is_key).map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn fingerprints(folder: &Path) -> Result<String, String> {
    let lines = certificates(folder).map_err(|error| format!("{error:#}"))?;
    serde_json::to_string_pretty(&lines).map_err(|error| error.to_string())
}

fn journal(path: &Path) -> Result<String, String> {
    let lines = tail(path, LINES, |_| true).map_err(|error| format!("{}: {error}", path.display()))?;
    if lines.is_empty() {
        return Err(format!("{} is empty, or not there", path.display()));
    }
    Ok(lines.join("\n") + "\n")
}

/// Recordings are too large, and too telling, to be sent along unasked.
fn sizes(folder: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let size = entry.metadata().map_err(failed)?.len();
        lines.push(format!("{size:>10}  {}\n", entry.file_name().to_string_lossy()));
    }
    lines.sort_unstable();
    Ok(lines.concat())
}
