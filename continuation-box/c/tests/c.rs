//! The library from C: its header, what it refuses, and the example.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_header_says_what_the_library_does() {
    let path = root().join("include/backdoors-sessions.h");
    let made = backdoors_sessions::c_header();
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(committed == made, "run `UPDATE_HEADER=1 cargo test -p backdoors-sessions`");
}
