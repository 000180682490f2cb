//! What the commands that speak to the daemon share: asking, printing, exit codes.

use backdoors_monitor_api::{AskError, Client, Endpoint, ErrorKind, Failure, Query};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::Write;
use std::process::ExitCode;

pub const FAILED: u8 = 1;
pub const REFUSED: u8 = 2;
pub const UNREACHABLE: u8 = 3;
pub const NOT_DONE: u8 = 4;
const USAGE_CODE: u8 = 64;

pub struct Usage;

/// The command line is wrong.
pub const USAGE: Usage = Usage;

impl From<Usage> for ExitCode {
    fn from(_: Usage) -> ExitCode {
        ExitCode::from(USAGE_CODE)
    }
}

/// Asks the daemon.
pub fn ask<T: DeserializeOwned>(daemon: &Endpoint, query: &Query) -> anyhow::Result<T> {
    Ok(Client::connect(daemon)?.ask(query)?)
}

/// Prints an answer as one JSON document.
pub fn print_json(answer: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(answer)?;
    print(&format!("{text}\n"))
}

/// Prints text; unlike `print!` it does not panic when nobody reads.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()?;
    Ok(())
}

/// The exit code that an error calls for.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let code = match error.downcast_ref::<AskError>() {
        Some(AskError::Failed(Failure { kind: ErrorKind::Unreachable, .. })) => UNREACHABLE,
        Some(AskError::Failed(Failure {
            kind:
                ErrorKind::NotAllowed | ErrorKind::StandsBy | ErrorKind::Unsafe | ErrorKind::BadConfiguration,
            ..
        })) => REFUSED,
        _ => FAILED,
    };
    ExitCode::from(code)
}
