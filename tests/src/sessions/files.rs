//! A file that two nodes serve.

use crate::host::Host;
use crate::machine::Machine;
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// The folder that is served.
pub(super) const FOLDER: &str = "/run/served";

/// Puts the file `large`, of so many random bytes, where both nodes serve it; returns its SHA-256.
pub(super) fn put([node, standby]: [&Host; 2], bytes: usize) -> Result<String> {
    node.shell(&format!("mkdir {FOLDER} && head -c {bytes} /dev/urandom > {FOLDER}/large"))?;
    std::fs::create_dir(standby.path(FOLDER))?;
    // With its time: that is how the server knows that it is the same.
    let [from, to] = [node, standby].map(|host| host.path(&format!("{FOLDER}/large")));
    let copied = Command::new("cp").arg("-p").args([from, to]).status()?;
    ensure!(copied.success(), "the file was not copied: {copied}");
    sum(node, &format!("{FOLDER}/large"))
}

/// SHA-256 of a file.
pub(super) fn sum(host: &Host, path: &str) -> Result<String> {
    let text = Machine::shell(host, &format!("sha256sum < {path}"))?;
    Ok(text.split(' ').next().context("sha256sum says nothing")?.to_owned())
}
