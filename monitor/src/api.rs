//! The daemon's side of [`backdoors_monitor_api`]: over a unix socket, and over mutual TLS where it is configured. The socket is its
//! owner's alone (mode 0600): access to it is access to the repairs.

mod answers;
mod audit;
mod events;
mod healing;
mod metrics;
mod offering;
mod ordering;
mod peers;
mod proposals;
mod remote;
mod routes;
mod server;
mod verdicts;
mod views;

pub use answers::Reload;
pub use remote::{Admission, AdmitError, Remote, RemoteError, Role};
pub use server::{ListenError, Server};
pub use views::TargetHandle;
