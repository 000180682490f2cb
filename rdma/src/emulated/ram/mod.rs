//! The emulated NIC of a virtual machine, outside of it: it has the file that is the machine's RAM, so it works
//! whatever the machine's processors do, as a hardware NIC does.
//!
//! A process in the guest ([`Attached`]) programs it, as a driver programs a NIC: it tells over a virtio-serial port
//! in which pages of physical memory a region is. The NIC ([`Device`]) keeps those pages mapped side by side, which
//! is its translation table, and serves them to monitors as the emulated NIC serves any memory.
//!
//! What was registered is served until it is retired or the machine's memory holds something else: the machine is
//! switched off (QEMU ends), reset, or booted anew. Resets are noticed as they happen if there is a connection to
//! QEMU's monitor. Without one, and where a kernel starts another one by itself (kexec), a boot is noticed when its
//! process says hello with another boot id; what was registered in the boot before is read and written until then.

mod attached;
pub(crate) mod bpf;
mod device;
mod guest_memory;
pub mod message;
mod pages;
mod resets;
mod serve;

pub use attached::Attached;
pub use device::Device;
pub use guest_memory::{GuestMemory, MAX_RAM};
pub use message::PageRun;
pub use serve::{Sockets, serve};
