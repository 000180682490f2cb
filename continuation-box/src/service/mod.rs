//! Sessions of a service, as its server, its machine's agent and whoever recovers them hand them to each other.
//!
//! A server attaches to the agent, and serves [`Session`]s:
//!
//! ```no_run
//! use backdoors_continuation_box::service::{Service, Session};
//! use std::io::{Read, Write};
//! use std::net::TcpListener;
//!
//! /// Answers every byte with how many came before it.
//! fn serve(mut session: Session) -> std::io::Result<()> {
//!     // A session that another server began goes on where that had exported it last.
//!     let mut count = match session.recovered() {
//!         Some(&[]) | None => 0,
//!         Some(snapshot) => u64::from_le_bytes(snapshot.try_into().unwrap_or_default()),
//!     };
//!     while session.read(&mut [0])? == 1 {
//!         session.write_all(format!("{count}\n").as_bytes())?;
//!         count += 1;
//!         session.export(&count.to_le_bytes()).map_err(std::io::Error::other)?;
//!     }
//!     session.end()
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The agent's socket is in the variable BACKDOORS_SERVICES.
//! let listener = Service::attach("counter")?.listen(TcpListener::bind("0.0.0.0:7000")?)?;
//! loop {
//!     let session = listener.accept()?;
//!     std::thread::spawn(|| serve(session));
//! }
//! # }
//! ```
//!
//! What happens when
//! - there is no agent, or all boxes are taken: sessions are plain connections, and [`Session::is_protected`] says so. When
//!   an agent comes sessions that are accepted from then on are protected;
//! - the agent is restarted: the library attaches anew by itself, and has all sessions held again. Until then they end with the server.
//!   Where no kernel half keeps the boxes' memory, sessions from before stay unprotected;
//! - the server ends, however it ends, without having dropped its sessions: the clients notice nothing but silence. The next server that attaches
//!   is given all sessions, and one that cannot go on exactly is reset. What nobody comes for is closed after the service's `keep`. Clients that were not
//!   accepted yet are turned away by the kernel;
//! - a session is ended: its agent sees to it that the client gets the rest and the end, whatever becomes of the server or of the machine.
//!   It has its box until then, so a service needs boxes for connections that are just being closed, too;
//! - it drops its listener and all sessions: it has left, and they are over;
//! - it forks: only the process that attached has sessions. Attach after that, and have children hold none of the sockets.

mod adopter;
mod agent;
pub mod channel;
mod link;
mod listener;
pub mod message;
mod session;
mod upkeep;

pub use adopter::{AdoptError, Adopter, Offered};
pub use listener::{AttachError, Listener, Service, VARIABLE};
pub use session::{HoldError, Session};
