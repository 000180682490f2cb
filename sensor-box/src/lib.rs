//! The sensor box: the bytes a target shows to its monitors, and the only code that reads or writes them.
//!
//! The target's side writes through [`SharedWords`]: eight-byte words, never references. The monitor's side gets
//! bytes that came over the network; they are hostile until [`decode`] has turned them into a view.

#![forbid(unsafe_code)]

pub mod application;
pub mod audit;
pub mod authentication;
pub mod catalogue;
pub mod command;
pub mod date;
pub mod decode;
pub mod fence;
pub mod fetch;
pub mod header;
pub mod layout;
pub mod lease;
mod numbered;
mod opcode;
pub mod session;
pub mod variables;
mod words;
pub mod writer;

pub use application::{
    ApplicationHook, ApplicationSensor, ApplicationState, ApplicationView, ApplicationsFetcher,
};
pub use audit::{AuditEntry, AuditKind, AuditView, fetch_audit};
pub use authentication::{CommandKey, Seal};
pub use catalogue::{CATALOGUE, Class, Instance, SensorDescription, SensorKind, Unit};
pub use command::{Command, CommandState, EncodedCommand, Refusal};
pub use decode::{AcknowledgementView, DecodeError, Process, ProcessView, SensorReading, SensorView};
pub use fence::{FenceView, NotFenced, fetch_fence};
pub use fetch::{FetchError, SensorFetcher, Taken, fetch_acknowledgement, fetch_processes};
pub use lease::{Candidacy, LeaseView, LeaseWord, LeaseWords, Token};
pub use opcode::{MOST_NICE, MOST_REFUSED, Opcode, Opcodes, Signal, Subject};
pub use session::{SessionView, SessionsView, TcpState, fetch_received, fetch_sessions};
pub use words::{LocalWords, SharedWords};
