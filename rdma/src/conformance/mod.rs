//! What every provider must do alike, as named checks that can run in a test or, as `backdoors-conformance`, inside
//! a virtual machine.

mod admission;
mod batches;
mod bench;
mod bounds;
pub mod fixtures;
mod lifetime;
mod requests;
mod rights;
mod transfers;

pub use bench::Bench;

use crate::dial::Dialer;
use crate::memory::SharedMemory;
use crate::owner::MemoryOwner;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A provider under examination: makes owners, reaches them, and loses them.
pub trait Fixture {
    /// The provider's name, for the report.
    fn name(&self) -> String;

    /// Starts a fresh owner. The one before was given back to [`Fixture::lose`].
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

    /// What makes memory that the provider takes.
    fn memory(&self) -> MakeMemory {
        |length| SharedMemory::create("conformance", length)
    }

    /// Whether the provider is to be held to what the check of this name says.
    fn must(&self, _check: &str) -> bool {
        true
    }
}

/// Makes memory of so many bytes, all zero, and maps it to be written.
pub type MakeMemory = fn(usize) -> io::Result<(SharedMemory, OwnedFd)>;

/// What went wrong in a check, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// A check: the fact it holds a provider to, and how.
pub type Check = (&'static str, fn(&mut Bench<'_>) -> Result<(), Failure>);

// These are about NICs that end with their owner's process.
const LOST_OWNER: &str = "an owner that is lost is unreachable within the deadline";
const ABSENT_NIC: &str = "an absent NIC is unreachable at the deadline of the request";

/// Every check.
pub const CHECKS: &[Check] = &[
    ("the first and the last byte of a region can be reached", bounds::first_and_last_byte),
    ("bytes before and behind a region are denied", bounds::bytes_outside),
    ("addresses that wrap around are denied", bounds::wrapping_addresses),
    ("a read-only key does not write", rights::read_only_key_does_not_write),
    ("a read-only key does not compare-and-swap", rights::read_only_key_does_not_swap),
    ("a key that was never given opens nothing", rights::unknown_key),
    ("another monitor's key opens nothing", rights::foreign_key),
    ("a directory lists what is for its monitor alone", rights::directory_is_private),
    ("a directory cannot be written", rights::directory_is_read_only),
    ("a retired region is denied", lifetime::retired_region),
    ("a region made anew is gone under its old generation", lifetime::region_made_anew),
    ("a region registered later is found in the directory", lifetime::region_registered_later),
    ("a dismissed monitor reaches nothing", lifetime::dismissed_monitor),
    ("a monitor admitted again loses its old connections", lifetime::admitted_again),
    (LOST_OWNER, lifetime::lost_owner),
    ("the owner tells what is registered", admission::owner_tells_regions),
    ("the owner refuses what cannot be", admission::owner_refuses_nonsense),
    ("transfers of every length at odd places are exact", transfers::lengths_and_places),
    ("words are never torn", transfers::whole_words),
    ("a batch is executed in order", batches::in_order),
    ("concurrent compare-and-swaps lose nothing", batches::concurrent_swaps),
    ("a batch over the limits is invalid and does no harm", batches::over_the_limits),
    ("a failed batch stops where it failed", batches::stops_at_failure),
    ("an error ends its own connection alone", batches::own_connection_alone),
    ("a session uses up its connections, then says so", batches::session_uses_up),
    ("a started read brings what its ranges hold, and wakes who waits for it", requests::reads_and_wakes),
    ("a connection carries one request at a time", requests::one_at_a_time),
    ("a request over the limits is invalid and does no harm", requests::over_the_limits),
    ("a denied request ends its own connection alone", requests::denied_ends_its_connection),
    ("several requests are under way at once over a session", requests::several_at_once),
    ("a session passes over connections that a failure ended", requests::ended_are_passed_over),
    ("an answer that comes late harms nobody", requests::late_answer),
    ("a probe is answered by the NIC and touches no memory", requests::probe),
    (ABSENT_NIC, requests::absent_nic),
];

/// The checks that the provider must pass, of those whose names contain `filter`.
#[must_use]
pub fn chosen(fixture: &dyn Fixture, filter: &str) -> Vec<Check> {
    CHECKS.iter().filter(|(name, _)| name.contains(filter) && fixture.must(name)).copied().collect()
}

/// Runs the checks whose names contain `filter`, each with a fresh owner, and reports each. Returns how many failed.
pub fn run(
    fixture: &mut dyn Fixture,
    filter: &str,
    mut report: impl FnMut(&'static str, &Result<(), Failure>),
) -> usize {
    let mut failed = 0;
    for (name, check) in chosen(fixture, filter) {
        let result = Bench::start(fixture).and_then(|mut bench| check(&mut bench));
        failed += usize::from(result.is_err());
        report(name, &result);
    }
    failed
}
