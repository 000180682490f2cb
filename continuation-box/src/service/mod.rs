//! Sessions of a service, as its server, its machine's agent and whoever recovers them hand them to each other.

mod adopter;
pub mod channel;
pub mod message;

pub use adopter::{AdoptError, Adopter, Offered};
