//! Other programs that are asked.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

/// A program beside this one, or where programs are looked for.
pub fn installed(name: &str) -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let administrators = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let folders = beside.into_iter().chain(std::env::split_paths(&path)).chain(administrators);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// What a program writes to its standard output; it is killed if it takes longer than `patience`.
pub fn output(program: &Path, arguments: &[&str], patience: Duration) -> Result<String, String> {
    let program = installed(&program.to_string_lossy()).unwrap_or_else(|| program.to_owned());
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
    // Names the process also when its number is another's already.
    let process =
        pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).map_err(|error| error.to_string())?;
    let (done, wait) = channel();
    std::thread::spawn(move || {
        // Nobody waits any more if it took too long.
        drop(done.send(child.wait_with_output()));
    });
    let Ok(ended) = wait.recv_timeout(patience) else {
        // It fails only if the process has just ended.
        let _ = pidfd_send_signal(process, Signal::KILL);
        return Err(format!("it did not answer within {patience:?}"));
    };
    let Output { status, stdout, stderr } = ended.map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&stderr);
    match complaint.lines().find(|line| !line.trim().is_empty()) {
        Some(line) => Err(format!("it failed, {status}: {line}")),
        None => Err(format!("it failed, {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_takes_too_long_is_not_waited_for() {
        let sleep = |time: &str| output("sleep".as_ref(), &[time], Duration::from_millis(500));
        assert_eq!(sleep("60"), Err("it did not answer within 500ms".to_owned()));
        assert_eq!(sleep("0"), Ok(String::new()));
    }

    #[test]
    fn what_fails_says_nothing() {
        let failed = output("false".as_ref(), &[], Duration::from_secs(60));
        assert_eq!(failed, Err("it failed, exit status: 1".to_owned()));
        let complaining = output("cat".as_ref(), &["/nonexistent"], Duration::from_secs(60));
        assert!(complaining.unwrap_err().contains("/nonexistent"), "its own words are missing");
        assert!(
            output("/nonexistent/agent".as_ref(), &[], Duration::from_secs(60))
                .unwrap_err()
                .starts_with("it cannot be started")
        );
    }
}
