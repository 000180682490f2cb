//! How the command line, and others on the same machine, speak to the daemon: over a unix socket, one JSON request
//! per line, answered by one JSON line, or by many for events.
//!
//! The daemon holds the connections that a sick target could no longer make; so whoever wants to see or heal a
//! target asks the daemon. The socket is its owner's alone (mode 0600): access to it is access to the repairs.

mod audit;
mod client;
mod events;
mod healing;
mod offering;
mod ordering;
mod peers;
mod proposals;
mod protocol;
mod server;
mod verdicts;
mod views;

pub use audit::{AuditAnswer, AuditRow};
pub use client::{AskError, Client, Lines};
pub use healing::{CommandAnswer, GraceAnswer, HealAnswer, HealOutcome};
pub use offering::{OfferedHookRow, OfferedVariableRow, OffersAnswer};
pub use peers::PeerSummary;
pub use proposals::ProposalRow;
pub use protocol::{
    Answer, ApplicationRow, ErrorKind, Failure, HealDeed, HealSubject, HealersAnswer, HookCallRow, HookRow,
    ProcessRow, ProcessesAnswer, Query, ReloadAnswer, SensorRow, SensorsAnswer, TargetSummary, VerdictRow,
    VerdictsAnswer,
};
pub use server::{ListenError, Reload, Server};
pub use views::TargetHandle;
