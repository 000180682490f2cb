//! Live sessions that outlive their node: a node that serves clients, a standby that looks after it and goes on with its
//! sessions, and clients of many kinds.

mod clients;
mod crowd;
mod files;
pub mod group;
pub mod rows;
pub mod scene;
mod second;
pub mod story;
pub mod stream;
pub mod streaming;
pub mod twice;
pub mod wire;

use std::io;
use std::net::TcpListener;

pub use scene::{Family, Machines, Node, Scene, SceneConfig};

/// Connections that may wait to be accepted by a server of a lab, where a thousand clients come at once. The standard library has room
/// for 128, and who finds none tries again after a second, then after two, and so on.
const MOST_WAITING: i32 = 4096;

/// A socket for a server of a lab.
///
/// # Errors
/// What the system says.
pub fn listen_at(place: &str) -> io::Result<TcpListener> {
    let socket = TcpListener::bind(place)?;
    rustix::net::listen(&socket, MOST_WAITING)?;
    Ok(socket)
}
