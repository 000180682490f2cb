//! A file that two nodes serve.

use crate::machine::Machine;
use anyhow::{Context, Result};

/// The folder that is served.
pub(super) const FOLDER: &str = "/run/served";

/// Puts the file `large`, of so many bytes that are the same nowhere else in it, where a node serves it. It is the same at all nodes, and
/// as old: that is how a server knows it again. One that is there stays.
pub(super) fn put<M: Machine>(node: &M, bytes: usize) -> Result<()> {
    let script = format!(
        "mkdir -p {FOLDER} && cd {FOLDER} && test -e large || seq 1000000000 1999999999 | head -c {bytes} > large && \
         touch -d @1000000000 large"
    );
    node.shell(&script).map(drop)
}

/// SHA-256 of the file at a node.
pub(super) fn sum<M: Machine>(node: &M) -> Result<String> {
    sum_of(node, &format!("{FOLDER}/large"))
}

/// SHA-256 of a file.
pub(super) fn sum_of<M: Machine>(machine: &M, path: &str) -> Result<String> {
    let text = machine.shell(&format!("sha256sum < {path}"))?;
    Ok(text.split(' ').next().context("sha256sum says nothing")?.to_owned())
}
