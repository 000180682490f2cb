//! What a client's session needs to go on at another machine.
//!
//! [`tcp`] rebuilds a live connection in this machine's kernel from plain data, so that the peer notices no more than
//! lost packets. Where that data comes from, and who decides that a session moves, is not its business.

pub mod tcp;
