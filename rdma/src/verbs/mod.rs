//! Provider `verbs`: an RDMA NIC, or soft-RoCE, through libibverbs.
//!
//! libibverbs is opened at run time, so a program with this provider builds and starts on machines without it;
//! [`Device::open`] then says what is missing.
//!
//! What must outlive what is enforced by ownership: a queue pair holds its completion queue and that its channel, its
//! protection domain and the region its requests use; regions hold their protection domain and the mapping under them;
//! all of them hold the device. Each destroys its own object first, then lets go of the others. An object the NIC
//! refuses to destroy might still be in use by it: then everything it needs is leaked on purpose.
//!
//! Memory that the NIC reaches is always a mapping of a shared file (memfd or BPF map), never a part of the heap, so a
//! child process made by `fork` does not move it away from under the NIC.

mod completion;
mod completion_channel;
mod connection;
mod device;
mod dialer;
#[cfg(feature = "conformance")]
mod fixture;
mod owner;
mod protection_domain;
mod queue_pair;
mod region;
mod send_list;
mod shared_device;
mod status;
mod timing;
mod work;

pub use connection::VerbsConnection;
pub use device::{Device, DeviceError, devices};
pub use dialer::VerbsDialer;
#[cfg(feature = "conformance")]
pub use fixture::VerbsFixture;
pub use owner::VerbsOwner;
pub use timing::Timing;

/// Most READs and compare-and-swaps a connection keeps under way, where the devices allow as many.
const OUTSTANDING_READS: u8 = 16;
