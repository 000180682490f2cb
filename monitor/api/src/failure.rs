//! Why there is no answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a request was not fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// For programs.
    pub kind: ErrorKind,
    /// For people, with the remedy.
    pub message: String,
}

impl Failure {
    /// The request makes no sense.
    #[must_use]
    pub fn bad_request(message: String) -> Failure {
        Failure { kind: ErrorKind::BadRequest, message }
    }

    /// Something on the daemon's machine failed.
    #[must_use]
    pub fn internal(message: String) -> Failure {
        Failure { kind: ErrorKind::Internal, message }
    }
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The request makes no sense.
    BadRequest,
    /// There is no such target.
    UnknownTarget,
    /// The target cannot be reached. Nothing was written.
    Unreachable,
    /// There is no such process. Nothing was written.
    NoSuchProcess,
    /// Who asks may only look. Nothing was written.
    NotAllowed,
    /// Another monitor holds the target's lease. Nothing was written.
    StandsBy,
    /// There is no such proposal, or it is over. Nothing was written.
    NotOpen,
    /// The proposal would do by now what must not be done. Nothing was written.
    Unsafe,
    /// The configuration is bad; the old one stays in force.
    BadConfiguration,
    /// The daemon has too much to do. Nothing was written.
    Busy,
    /// Something on the daemon's machine failed.
    Internal,
}
