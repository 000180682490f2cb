//! The agent's side of the owner's socket.

use crate::owner::socket::{self, MAX_MESSAGE, Packet, Reply, Request};
use crate::owner::{Admission, Endpoint, MemoryOwner, OwnerError, RegionId, RegionRequest, check_admission};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Longest time to wait for the owner. It answers in well under a millisecond unless its machine is in trouble.
pub const ANSWER_TIME: Duration = Duration::from_secs(5);

/// An owner in another process. Its end changes nothing of what is registered.
#[derive(Debug)]
pub struct Client {
    /// `None` once an answer was missed: a late one must not be taken for the next request's.
    socket: Option<OwnedFd>,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to the owner that listens at `path`.
    ///
    /// # Errors
    /// What the system says: `NotFound` or `ConnectionRefused` if no owner is there.
    pub fn connect(path: &Path) -> io::Result<Client> {
        let socket = socket::connect(path)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIME))?;
        set_socket_timeout(&socket, Timeout::Send, Some(ANSWER_TIME))?;
        Ok(Client { socket: Some(socket), buffer: vec![0; MAX_MESSAGE] })
    }

    fn ask(&mut self, request: &Request, descriptor: Option<BorrowedFd<'_>>) -> Result<Reply, OwnerError> {
        let Some(socket) = self.socket.take() else {
            return Err(OwnerError::Lost("an earlier request found no answer".into()));
        };
        let lost = |error: io::Error| OwnerError::Lost(error.to_string());
        socket::send(socket.as_fd(), request, descriptor, SendFlags::empty()).map_err(lost)?;
        let packet = loop {
            match socket::receive(socket.as_fd(), &mut self.buffer, RecvFlags::empty()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(lost)?,
            }
        };
        match packet {
            Packet::End => Err(OwnerError::Lost("it closed the connection".into())),
            Packet::Malformed => Err(OwnerError::Lost("its answer makes no sense".into())),
            Packet::Message(reply, _) => {
                self.socket = Some(socket);
                match reply {
                    Reply::Failed(error) => Err(error),
                    reply => Ok(reply),
                }
            }
        }
    }

    fn mistaken(&mut self) -> OwnerError {
        self.socket = None;
        OwnerError::Lost("it answered another question".into())
    }
}

impl MemoryOwner for Client {
    fn register(&mut self, region: RegionRequest, memory: OwnedFd) -> Result<RegionId, OwnerError> {
        match self.ask(&Request::Register(region), Some(memory.as_fd()))? {
            Reply::Registered(id) => Ok(id),
            _ => Err(self.mistaken()),
        }
    }

    fn retire(&mut self, region: RegionId) -> Result<(), OwnerError> {
        match self.ask(&Request::Retire(region), None)? {
            Reply::Done => Ok(()),
            _ => Err(self.mistaken()),
        }
    }

    fn admit(&mut self, monitor: &str, slot: u32, endpoints: &[Endpoint]) -> Result<Admission, OwnerError> {
        check_admission(monitor, endpoints)?;
        let request = Request::Admit { monitor: monitor.into(), slot, endpoints: endpoints.into() };
        match self.ask(&request, None)? {
            Reply::Admitted(admission) => Ok(admission),
            _ => Err(self.mistaken()),
        }
    }

    fn dismiss(&mut self, monitor: &str) -> Result<(), OwnerError> {
        match self.ask(&Request::Dismiss { monitor: monitor.into() }, None)? {
            Reply::Done => Ok(()),
            _ => Err(self.mistaken()),
        }
    }

    fn monitors(&mut self) -> Result<Vec<String>, OwnerError> {
        match self.ask(&Request::Monitors, None)? {
            Reply::Monitors(monitors) => Ok(monitors),
            _ => Err(self.mistaken()),
        }
    }

    fn regions(&mut self) -> Result<Vec<(RegionId, RegionRequest)>, OwnerError> {
        match self.ask(&Request::Regions, None)? {
            Reply::Regions(regions) => Ok(regions),
            _ => Err(self.mistaken()),
        }
    }
}
