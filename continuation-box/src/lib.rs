//! What a client's session needs to go on at another machine: the application's light-weight snapshot and the state of its
//! TCP connection (thesis, sections 3.5 and 3.6).
//!
//! - [`snapshot`]: the memory an application exports its snapshots into, and what is read of it after its end;
//! - [`resume`]: what is to be restored, replayed and discarded so that the client's streams go on exactly, or why they
//!   cannot;
//! - [`connection`]: what the kernel half recorded of a connection, as those streams, and as what it is rebuilt from;
//! - [`service`]: what a server uses: sessions that outlive it, and what hands sessions to it that were recovered elsewhere;
//! - [`tcp`]: rebuilds a live connection in this machine's kernel from plain data, so that the peer notices no more than
//!   lost packets, and takes over its address.
//!
//! Where the data comes from, and who decides that a session moves, is not the business of this library.

pub mod connection;
pub mod descriptors;
pub mod resume;
pub mod service;
pub mod snapshot;
pub mod tcp;
