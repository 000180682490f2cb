//! What programs say of themselves: manual pages, completions for shells, the schema of a configuration.

use crate::{compress, make_folder, run, write};
use anyhow::Result;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Shells, and where they look for a program's completions.
const SHELLS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/NAME"),
    ("zsh", "usr/share/zsh/vendor-completions/_NAME"),
    ("fish", "usr/share/fish/vendor_completions.d/NAME.fish"),
];
/// Programs with a configuration, what they print its schema by, and what that is called.
const SCHEMAS: &[(&str, &[&str], &str)] = &[
    ("backdoors-agent", &["schema"], "agent.schema.json"),
    ("backdoors", &["config", "schema"], "monitor.schema.json"),
];

/// Has the program write its documents, and puts them where they are looked for.
pub(crate) fn add(name: &str, program: &Path, root: &Path) -> Result<()> {
    let pages = root.join("usr/share/man/man1");
    make_folder(&pages)?;
    run(Command::new(program).arg("man").arg(&pages))?;
    for page in fs::read_dir(&pages)? {
        let page = page?.path();
        // Those of the program before are done.
        if page.extension().is_some_and(|kind| kind == "1") {
            write(&page, 0o644, &fs::read(&page)?)?;
            compress(&page)?;
        }
    }
    for (shell, place) in SHELLS {
        let text = run(Command::new(program).args(["completions", shell]))?;
        write(&root.join(place.replace("NAME", name)), 0o644, text.as_bytes())?;
    }
    for (_, arguments, file) in SCHEMAS.iter().filter(|(of, ..)| *of == name) {
        let text = run(Command::new(program).args(*arguments))?;
        write(&root.join("usr/share/backdoors").join(file), 0o644, text.as_bytes())?;
    }
    Ok(())
}
