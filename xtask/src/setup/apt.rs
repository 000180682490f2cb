//! Packages of a Debian suite that this machine does not use.
//!
//! Everything lives in a directory of our own, so the machine's sources, lists and caches stay as they are. The
//! machine's settings for apt still apply: it may need a proxy.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::command::{output, succeed};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// A mirror of Debian, for machines whose own sources have none.
const MIRROR_VARIABLE: &str = "BACKDOORS_DEBIAN_MIRROR";

/// The package index of one suite.
pub struct Suite {
    directory: TempDir,
}

impl Suite {
    /// Fetches the index of `suite`.
    pub fn open(suite: &str) -> Result<Suite> {
        if !Path::new(KEYRING).is_file() {
            bail!(
                "{KEYRING} is missing, so nothing from Debian can be trusted: install debian-archive-keyring"
            );
        }
        let directory = tempfile::Builder::new().prefix("backdoors-apt-").tempdir()?;
        for part in ["lists/partial", "cache/archives/partial", "download"] {
            fs::create_dir_all(directory.path().join(part))?;
        }
        let mirror = std::env::var(MIRROR_VARIABLE).ok().or_else(|| mirror(&machine_sources())).with_context(|| {
            format!("this machine's sources for apt have no mirror of Debian: set {MIRROR_VARIABLE} to the address of one")
        })?;
        fs::write(
            directory.path().join("sources.list"),
            format!("deb [arch=amd64 signed-by={KEYRING}] {mirror} {suite} main\n"),
        )?;
        fs::write(directory.path().join("apt.conf"), configuration(directory.path()))?;
        let suite = Suite { directory };
        succeed(suite.apt("apt-get").args(["--quiet=2", "update"]))?;
        Ok(suite)
    }

    /// The fields of the newest version of `package`, as `Name: value` lines.
    fn show(&self, package: &str) -> Result<String> {
        output(self.apt("apt-cache").args(["show", "--no-all-versions", package]))
    }

    /// The version of `package`.
    pub fn version(&self, package: &str) -> Result<String> {
        let fields = self.show(package)?;
        let version = field(&fields, "Version").with_context(|| format!("{package} has no version"))?;
        Ok(version.to_owned())
    }

    /// All packages that `package` pulls in and whose name starts with one of `prefixes`, itself left out.
    pub fn closure(&self, package: &str, prefixes: &[&str]) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        let mut open = vec![package.to_owned()];
        while let Some(package) = open.pop() {
            for dependency in dependencies(&self.show(&package)?) {
                let wanted = prefixes.iter().any(|prefix| dependency.starts_with(prefix));
                if wanted && found.insert(dependency.clone()) {
                    open.push(dependency);
                }
            }
        }
        Ok(found)
    }

    /// Downloads packages and unpacks them below `into`. Nothing of them is run.
    pub fn unpack(&self, packages: &BTreeSet<String>, into: &Path) -> Result<()> {
        let download = self.directory.path().join("download");
        succeed(self.apt("apt-get").current_dir(&download).args(["--quiet=2", "download"]).args(packages))?;
        for archive in fs::read_dir(&download)? {
            let archive = archive?.path();
            output(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(into))?;
            fs::remove_file(archive)?;
        }
        Ok(())
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--config-file").arg(self.directory.path().join("apt.conf"));
        command
    }
}

/// What apt reads after the machine's own configuration.
fn configuration(ours: &Path) -> String {
    let ours = ours.display();
    format!(
        r#"
Dir::Etc::SourceList "{ours}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State "{ours}";
Dir::State::Lists "{ours}/lists";
Dir::State::Status "/dev/null";
Dir::Cache "{ours}/cache";
// These are for the machine's own lists and caches.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Architecture "amd64";
#clear APT::Architectures;
// The directory is ours alone.
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
"#
    )
}

/// Names of the packages needed in any case; of alternatives, none.
fn dependencies(fields: &str) -> Vec<String> {
    let names = ["Depends", "Pre-Depends"].into_iter().filter_map(|name| field(fields, name));
    names
        .flat_map(|value| value.split(','))
        .filter(|dependency| !dependency.contains('|'))
        .filter_map(|dependency| dependency.split_whitespace().next())
        .map(|name| name.split(':').next().unwrap_or(name).to_owned())
        .collect()
}

fn field<'a>(fields: &'a str, name: &str) -> Option<&'a str> {
    fields.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The text of the machine's own sources, in both of apt's formats.
fn machine_sources() -> String {
    let mut sources = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    for part in parts {
        sources.push('\n');
        sources.push_str(&fs::read_to_string(part.path()).unwrap_or_default());
    }
    sources
}

/// The Debian mirror that the machine uses, for it may be the only one within reach.
fn mirror(sources: &str) -> Option<String> {
    let words =
        sources.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace);
    let mut mirrors = words.map(|word| word.trim_end_matches('/')).filter(|word| {
        (word.starts_with("http://") || word.starts_with("https://")) && word.ends_with("/debian")
    });
    mirrors.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_the_machine_uses() {
        let modern = "Types: deb\n# http://snapshot.example/archive/debian/2025\n\
                      URIs: http://mirror.example/debian/\nSuites: bookworm\n";
        assert_eq!(mirror(modern).as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(
            mirror("deb [arch=amd64] https://other.example/debian sid main").as_deref(),
            Some("https://other.example/debian")
        );
        assert_eq!(mirror("deb http://mirror.example/ubuntu noble main"), None);
        assert_eq!(mirror("#deb http://mirror.example/debian sid main"), None);
    }

    #[test]
    fn only_dependencies_without_alternative_count() {
        let fields =
            "Package: linux-image-amd64\nPre-Depends: a:any\nDepends: b (= 1), c | d, e\nSuggests: f\n";
        assert_eq!(dependencies(fields), ["b", "e", "a"]);
    }
}
