//! The provider under the conformance suite.

use crate::conformance::fixtures::Process;
use crate::conformance::{Failure, Fixture};
use crate::dial::Dialer;
use crate::owner::MemoryOwner;
use crate::verbs::{Device, VerbsDialer, VerbsOwner};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Owners and dialers over one device, which is its own peer.
#[derive(Debug)]
pub struct VerbsFixture {
    device: Arc<Device>,
}

impl VerbsFixture {
    /// A fixture over an open device.
    #[must_use]
    pub fn new(device: Arc<Device>) -> VerbsFixture {
        VerbsFixture { device }
    }

    /// The same, with `backdoors-nic` as the owner.
    #[must_use]
    pub fn process(device: Arc<Device>, program: PathBuf, socket: PathBuf) -> Process {
        let arguments = ["--provider", "verbs", "--device", device.name()].map(String::from).into();
        let mut dialers = VerbsFixture::new(device);
        Process::new(program, arguments, socket, Box::new(move |deadline| dialers.dialer(deadline)))
    }
}

impl Fixture for VerbsFixture {
    fn name(&self) -> String {
        format!("verbs over {}", self.device.name())
    }

    fn start(&mut self) -> Result<Box<dyn MemoryOwner>, Failure> {
        Ok(Box::new(VerbsOwner::new(Arc::clone(&self.device))))
    }

    fn dialer(&mut self, deadline: Duration) -> Result<Box<dyn Dialer>, Failure> {
        match VerbsDialer::new(Arc::clone(&self.device), deadline) {
            Ok(dialer) => Ok(Box::new(dialer)),
            Err(error) => Err(Failure(format!("no dialer: {error}"))),
        }
    }

    fn lose(&mut self, owner: Box<dyn MemoryOwner>) {
        drop(owner);
    }
}
