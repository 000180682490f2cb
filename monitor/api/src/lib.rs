//! The monitor's API: what can be asked of the daemon, what it answers, and a client.
//!
//! It is HTTP/1.1 with JSON, over the daemon's unix socket, and over mutual TLS where it is configured. [`operations::OPERATIONS`] lists what there is; it is also what the daemon
//! builds its routes from, and [`openapi::document`] describes.
//!
//! The daemon holds the connections that a sick target could no longer make; so whoever wants to see or heal a
//! target asks the daemon.

mod audit;
mod client;
mod endpoint;
mod events;
mod failure;
mod fence;
mod heal;
mod healers;
mod offers;
pub mod openapi;
pub mod operations;
mod peers;
mod processes;
mod proposals;
mod query;
pub mod recovery;
mod reload;
mod sensors;
mod sessions;
mod target;
mod verdict;

pub use audit::{AuditAnswer, AuditRow};
pub use client::{AskError, Client, Events};
pub use endpoint::{Endpoint, Remote};
pub use events::Event;
pub use failure::{ErrorKind, Failure};
pub use fence::{FenceAnswer, FenceDeed};
pub use heal::{CommandAnswer, CommandEnd, Deed, GraceAnswer, HealAnswer, HealOutcome};
pub use healers::{Enlisted, HealersAnswer, Mode};
pub use offers::{OfferedHookRow, OfferedVariableRow, OffersAnswer};
pub use peers::{PeerReach, PeerSummary};
pub use processes::{ProcessRow, ProcessesAnswer};
pub use proposals::{ProposalRow, ProposalState};
pub use query::{HealDeed, HealSubject, Query};
pub use recovery::Report;
pub use reload::ReloadAnswer;
pub use sensors::{ApplicationRow, HookCallRow, HookRow, SensorRow, SensorsAnswer};
pub use sessions::SessionRow;
pub use target::{LastEvent, NearestSensor, Reach, SessionCounts, Standing, TargetSummary};
pub use verdict::{Layer, State, VerdictRow, VerdictsAnswer};
