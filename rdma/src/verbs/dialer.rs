//! The monitor's side: queue pairs that ask.

use crate::access::{AccessError, Connection};
use crate::dial::{DialError, Dialer};
use crate::owner::Endpoint;
use crate::verbs::connection::{VerbsConnection, prepare};
use crate::verbs::device::Device;
use crate::verbs::protection_domain::ProtectionDomain;
use crate::verbs::queue_pair::{Peer, QueuePair};
use crate::verbs::shared_device;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Makes connections over a device.
#[derive(Debug)]
pub struct VerbsDialer {
    domain: Arc<ProtectionDomain>,
    deadline: Duration,
    prepared: Vec<QueuePair>,
}

impl VerbsDialer {
    /// Makes a dialer whose connections give up after `deadline`.
    ///
    /// # Errors
    /// When the device has no room for another protection domain.
    pub fn new(device: Arc<Device>, deadline: Duration) -> io::Result<VerbsDialer> {
        let domain = Arc::new(ProtectionDomain::new(device)?);
        Ok(VerbsDialer { domain, deadline, prepared: Vec::new() })
    }

    /// The same, over the device of this name, or the first one. All dialers made like this share it.
    ///
    /// # Errors
    /// What [`Device::open`] says, or as [`VerbsDialer::new`].
    pub fn open(device: Option<&str>, deadline: Duration) -> io::Result<VerbsDialer> {
        VerbsDialer::new(shared_device::open(device)?, deadline)
    }
}

impl Dialer for VerbsDialer {
    fn prepare(&mut self, count: usize) -> Result<Vec<Endpoint>, DialError> {
        self.prepared.clear();
        let prepared: io::Result<Vec<QueuePair>> = (0..count).map(|_| prepare(&self.domain)).collect();
        self.prepared = prepared.map_err(DialError::Device)?;
        Ok(self.prepared.iter().map(QueuePair::endpoint).collect())
    }

    fn connect(&mut self, remote: &[Endpoint]) -> Result<Vec<Box<dyn Connection>>, DialError> {
        let prepared = std::mem::take(&mut self.prepared);
        if prepared.len() != remote.len() {
            return Err(DialError::Mismatch("there are fewer or more of them than were asked for"));
        }
        let largest_message = self.domain.device().port().largest_message;
        let mut connections: Vec<Box<dyn Connection>> = Vec::with_capacity(prepared.len());
        for (queue_pair, endpoint) in prepared.into_iter().zip(remote) {
            let peer = Peer::new(endpoint).ok_or(DialError::Mismatch("no queue pair is like that"))?;
            let mut connection = VerbsConnection::join(queue_pair, &peer, self.deadline, largest_message)
                .map_err(DialError::Unreachable)?;
            connection.probe().map_err(|error| match error {
                AccessError::Denied => DialError::Refused,
                AccessError::Device(error) => DialError::Device(error),
                other => DialError::Unreachable(io::Error::new(io::ErrorKind::TimedOut, other.to_string())),
            })?;
            connections.push(Box::new(connection));
        }
        Ok(connections)
    }
}
