//! Live sessions that outlive their node: a node that serves clients, a standby that looks after it and goes on with its
//! sessions, and clients of many kinds.

mod clients;
mod files;
mod group;
pub mod rows;
pub mod scene;
mod second;
pub mod story;
pub mod stream;
pub mod streaming;
pub mod twice;
pub mod wire;

pub use scene::{Family, Machines, Node, Scene, SceneConfig};
