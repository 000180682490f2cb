//! Which packages programs depend on, by the libraries that they name.

use crate::run;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

/// Libraries and the packages that have them, by the names of Debian 12 and of later ones.
const LIBRARIES: &[(&str, &str)] =
    &[("libelf.so.1", "libelf1 | libelf1t64"), ("libgcc_s.so.1", "libgcc-s1"), ("libz.so.1", "zlib1g")];
/// These are the C library's own.
const C_LIBRARY: &[&str] = &["ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6"];

/// The field `Depends` for these programs.
pub(crate) fn of(programs: &[PathBuf]) -> Result<String> {
    let mut packages = BTreeSet::new();
    let mut newest = (0, 0);
    for program in programs {
        let text = run(Command::new("objdump").arg("--private-headers").arg(program))?;
        for library in needed(&text).filter(|library| !C_LIBRARY.contains(library)) {
            packages.insert(package(library)?.to_owned());
        }
        newest = newest.max(c_library(&text));
    }
    if newest > (0, 0) {
        packages.insert(format!("libc6 (>= {}.{})", newest.0, newest.1));
    }
    Ok(packages.into_iter().collect::<Vec<_>>().join(", "))
}

fn package(library: &str) -> Result<&'static str> {
    let found = LIBRARIES.iter().find(|(name, _)| *name == library).map(|(_, package)| *package);
    found.with_context(|| format!("a program needs {library}: say in depends.rs which package has it"))
}

fn needed(headers: &str) -> impl Iterator<Item = &str> {
    headers.lines().filter_map(|line| line.trim().strip_prefix("NEEDED").map(str::trim))
}

/// The newest version of the C library that something is wanted of.
fn c_library(headers: &str) -> (u32, u32) {
    let versions = headers.split_whitespace().filter_map(|word| word.strip_prefix("GLIBC_"));
    let parsed = versions.filter_map(|version| {
        let mut parts = version.split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    });
    parsed.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: &str = "Dynamic Section:\n  NEEDED               libelf.so.1\n  NEEDED               libc.so.6\n\
        Version References:\n  required from libc.so.6:\n    0x09691a75 0x00 07 GLIBC_2.2.5\n\
        \x20   0x069691b4 0x00 04 GLIBC_2.34\n    0x06969189 0x00 03 GLIBC_2.9\n";

    #[test]
    fn what_a_program_needs_is_read_from_its_headers() {
        assert_eq!(needed(HEADERS).collect::<Vec<_>>(), ["libelf.so.1", "libc.so.6"]);
        assert_eq!(c_library(HEADERS), (2, 34));
        assert_eq!(package("libelf.so.1").unwrap(), "libelf1 | libelf1t64");
    }

    #[test]
    fn a_library_that_nobody_knows_is_an_error() {
        assert!(package("libnew.so.1").unwrap_err().to_string().contains("depends.rs"));
    }
}
