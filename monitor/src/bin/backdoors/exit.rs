//! How a command line ends: exit codes, and what is told of an error.

use backdoors_monitor_api::{AskError, ErrorKind, Failure};
use serde_json::json;
use std::process::ExitCode;

/// It failed.
pub const FAILED: u8 = 1;
/// Somebody said no.
pub const REFUSED: u8 = 2;
/// The target is not there.
pub const UNREACHABLE: u8 = 3;
/// It was begun, and not ended well.
pub const NOT_DONE: u8 = 4;
/// The command line is wrong.
pub const USAGE: u8 = 64;

/// All there are, with what they say. `docs/exit-codes.md` says more.
pub const CODES: [(u8, &str); 6] = [
    (0, "done"),
    (FAILED, "it failed: no monitor is running, no such target, a file that cannot be read, ..."),
    (
        REFUSED,
        "the target or the guard refused the command, or another monitor acts on it; a configuration that was checked is bad; \
         this machine cannot be what `doctor` was asked for",
    ),
    (UNREACHABLE, "the target cannot be reached"),
    (NOT_DONE, "the target gave up, did not end in time, or nobody knows; sessions were lost"),
    (USAGE, "the command line is wrong"),
];

/// What the help says of them.
pub fn help() -> String {
    let lines: Vec<String> = CODES.iter().map(|(code, says)| format!("  {code:<2}  {says}")).collect();
    format!("Exit codes:\n{}", lines.join("\n"))
}

/// Whether whoever asks is a program. It is seen also where the rest of the command line is wrong.
pub fn wants_json() -> bool {
    std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json")
}

/// The exit code that an error calls for.
fn code(error: &anyhow::Error) -> u8 {
    match failure(error).map(|failure| failure.kind) {
        Some(ErrorKind::Unreachable) => UNREACHABLE,
        Some(
            ErrorKind::NotAllowed | ErrorKind::StandsBy | ErrorKind::Unsafe | ErrorKind::BadConfiguration,
        ) => REFUSED,
        _ => FAILED,
    }
}

/// What kind of error it is, for programs: that of the daemon's answer, or why there is none.
fn kind(error: &anyhow::Error) -> String {
    let of_daemon = failure(error).and_then(|failure| serde_json::to_value(failure.kind).ok());
    if let Some(kind) = of_daemon.as_ref().and_then(|kind| kind.as_str()) {
        return kind.to_owned();
    }
    match error.downcast_ref::<AskError>() {
        Some(AskError::NoDaemon { .. } | AskError::Unreachable { .. }) => "no-monitor",
        Some(AskError::NotAllowed(_) | AskError::NotAdmitted(_)) => "not-allowed",
        Some(_) => "no-answer",
        None => "failed",
    }
    .to_owned()
}

fn failure(error: &anyhow::Error) -> Option<&Failure> {
    match error.downcast_ref::<AskError>() {
        Some(AskError::Failed(failure)) => Some(failure),
        _ => None,
    }
}

/// Tells an error, and the exit code that it calls for.
pub fn with(error: &anyhow::Error) -> ExitCode {
    let code = code(error);
    tell(&format!("{error:#}"), &kind(error), code);
    code.into()
}

/// Tells what is wrong with the command line.
pub fn with_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Also help and version come this way. If they cannot be printed there is nobody to tell.
        drop(error.print());
        return ExitCode::SUCCESS;
    }
    if wants_json() {
        tell(error.render().to_string().trim_end(), "usage", USAGE);
    } else {
        drop(error.print());
    }
    USAGE.into()
}

fn tell(error: &str, kind: &str, code: u8) {
    if wants_json() {
        eprintln!("{}", json!({ "error": error, "kind": kind, "exit_code": code }));
    } else {
        eprintln!("backdoors: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../../docs/exit-codes.md");

    #[test]
    fn every_exit_code_is_in_the_document_and_no_other() {
        let rows =
            DOCUMENT.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()?.parse().ok());
        assert_eq!(rows.collect::<Vec<u8>>(), CODES.map(|(code, _)| code));
    }

    #[test]
    fn every_kind_of_failure_is_in_the_document() {
        for kind in [
            ErrorKind::BadRequest,
            ErrorKind::UnknownTarget,
            ErrorKind::Unreachable,
            ErrorKind::NoSuchProcess,
            ErrorKind::StandsBy,
            ErrorKind::NotOpen,
            ErrorKind::Unsafe,
            ErrorKind::BadConfiguration,
            ErrorKind::Busy,
            ErrorKind::Internal,
            ErrorKind::NotAllowed,
        ] {
            let error = anyhow::Error::from(AskError::Failed(Failure { kind, message: "no".to_owned() }));
            let row = format!("| `{}` | {} |", super::kind(&error), code(&error));
            assert!(DOCUMENT.contains(&row), "{row}");
        }
    }

    #[test]
    fn what_comes_of_no_daemon_is_a_failure_of_a_kind_of_its_own() {
        let nobody = AskError::NoDaemon { socket: "/s".into(), source: std::io::ErrorKind::NotFound.into() };
        let error = anyhow::Error::from(nobody);
        assert_eq!((&*kind(&error), code(&error)), ("no-monitor", FAILED));
        let other = anyhow::anyhow!("no such file");
        assert_eq!((&*kind(&other), code(&other)), ("failed", FAILED));
    }
}
