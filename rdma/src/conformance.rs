//! What every provider must do alike, as named checks that can run in a test or, as `backdoors-conformance`, inside
//! a virtual machine.

use crate::dial::Dialer;
use crate::owner::MemoryOwner;
use std::time::Duration;

/// A provider under examination: makes owners, reaches them, and loses them.
pub trait Fixture {
    /// The provider's name, for the report.
    fn name(&self) -> String;

    /// Starts a fresh owner. The one before it has been given back to [`Fixture::lose`] or dropped.
    ///
    /// # Errors
    /// Why there is none.
    fn start(&mut self) -> Result<Box<dyn MemoryOwner>, Failure>;

    /// Makes a dialer whose connections give up after `deadline`.
    ///
    /// # Errors
    /// Why there is none.
    fn dialer(&mut self, deadline: Duration) -> Result<Box<dyn Dialer>, Failure>;

    /// Ends the owner without a farewell, as a crash of its process would.
    fn lose(&mut self, owner: Box<dyn MemoryOwner>);
}

/// What went wrong in a check, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);
