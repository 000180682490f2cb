//! `cargo xtask pictures`.

use anyhow::Result;

use crate::command::{cargo, succeed};

/// Draws the pictures of the dashboard in `docs/pictures` anew, by the test that looks whether they are still right.
pub fn run() -> Result<()> {
    let test = ["test", "-p", "backdoors-monitor", "--test", "top", "pictures_in_the_documents"];
    succeed(cargo().args(test).env("UPDATE_SCREENS", "1"))
}
