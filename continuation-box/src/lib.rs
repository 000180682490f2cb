//! What one client's session needs to go on at another node: the application's light-weight snapshot and the state of its
//! TCP connection (thesis, sections 3.5 and 3.6).
//!
//! - [`snapshot`]: the memory an application exports its snapshots into, and what is read of it after its end;
//! - [`resume`]: what is to be restored, replayed and discarded so that the client's streams go on exactly, or why they
//!   cannot;
//! - [`position`]: positions in a connection's streams, and TCP's sequence numbers.

pub mod position;
pub mod resume;
pub mod snapshot;
