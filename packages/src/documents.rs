//! What programs say of themselves: manual pages, completions for shells, the schema of a configuration.

use anyhow::Result;
use std::path::Path;

/// Has the program write its documents, and puts them where they are looked for.
pub(crate) fn add(_program: &str, _place: &Path, _root: &Path) -> Result<()> {
    Ok(())
}
