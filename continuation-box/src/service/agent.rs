//! The agent, as a server's library attaches to it.

use super::channel;
use super::message::{Hello, Message, Refusal, Role};
use crate::snapshot::BoxMemory;
use rustix::net::{RecvFlags, SendFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Longest time to wait for the agent, for each of being let in, heard and answered.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the agent gave.
#[derive(Debug)]
pub(super) struct Attached {
    pub connection: OwnedFd,
    pub boxes: Arc<BoxMemory>,
}

/// Why the server is not attached.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no agent, or it does not answer.
    NoAgent(io::Error),
    /// It refused.
    Refused(Refusal),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::NoAgent(error)
    }
}

pub(super) fn attach(path: &Path, service: &str, role: Role) -> Result<Attached, Failure> {
    let connection = channel::connect(path, PATIENCE)?;
    let hello = Message::Hello(Hello { role, service: service.into() });
    channel::send(connection.as_fd(), &hello.encode(), &[], SendFlags::empty())?;
    let packet = channel::receive(connection.as_fd(), RecvFlags::empty())?;
    let senseless =
        || io::Error::new(io::ErrorKind::InvalidData, "what answered is no agent of this version");
    match (Message::decode(&packet.bytes), packet.descriptors.first()) {
        (Ok(Message::Welcome(welcome)), Some(memory)) => {
            let boxes = BoxMemory::over(memory.as_fd()).map_err(io::Error::other)?;
            if boxes.generation() != welcome.generation || boxes.shape() != welcome.shape() {
                return Err(senseless().into());
            }
            Ok(Attached { connection, boxes })
        }
        (Ok(Message::Refusal(refusal)), _) => Err(Failure::Refused(refusal)),
        _ => Err(senseless().into()),
    }
}
