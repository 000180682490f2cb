//! Programs of this machine and what they need to run elsewhere.

use std::{
    collections::BTreeSet,
    env, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::VmError;

/// Finds a system program, also where only root looks for it.
pub(super) fn system_program(name: &str) -> Result<PathBuf, VmError> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| VmError::NotSetUp(format!("there is no program {name}")))
}

/// Finds a program of this workspace, built with the same profile as the running one.
pub(super) fn built_program(name: &str) -> Result<PathBuf, VmError> {
    let running = env::current_exe().map_err(VmError::host("find the running program"))?;
    let directory = running.parent().unwrap_or(Path::new("/"));
    // Tests run from target/PROFILE/deps, examples from …/examples, programs from target/PROFILE.
    let directory = match directory.file_name() {
        Some(last) if last == "deps" || last == "examples" => directory.parent().unwrap_or(directory),
        _ => directory,
    };
    let program = directory.join(name);
    if program.is_file() {
        Ok(program)
    } else {
        Err(VmError::NotBuilt { name: name.to_owned(), directory: directory.display().to_string() })
    }
}

/// The shared libraries, and the loader, that a program or library needs; empty for a static one.
pub(super) fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>, VmError> {
    let output = Command::new("ldd")
        .arg(program)
        .stdin(Stdio::null())
        .output()
        .map_err(VmError::host(format!("list the libraries of {}", program.display())))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(line) = text.lines().find(|line| line.contains("not found")) {
        return Err(VmError::Host {
            action: format!("find the libraries of {}", program.display()),
            source: io::Error::new(io::ErrorKind::NotFound, line.trim().to_owned()),
        });
    }
    // `libc.so.6 => /lib/libc.so.6 (0x…)` or `/lib64/ld-linux-x86-64.so.2 (0x…)`.
    let words = text.lines().flat_map(str::split_whitespace);
    Ok(words.filter(|word| word.starts_with('/') && word.contains(".so")).map(PathBuf::from).collect())
}
