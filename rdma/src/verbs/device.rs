//! The RDMA device: finding it, opening it, and what its port can do.
#![allow(unsafe_code, reason = "calls libibverbs")]

use crate::verbs::OUTSTANDING_READS;
use rdma_mummy_sys as ffi;
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// `IBV_LINK_LAYER_ETHERNET` of infiniband/verbs.h.
const ETHERNET: u8 = 2;
/// Entries of the GID table that are looked at; NICs have up to 256.
const GID_TABLE: u32 = 256;

/// Why no device can be used. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// No library, no kernel support, or no device. A retry helps once there is one.
    #[error(
        "this machine has no RDMA device ({reason}): install libibverbs1 and ibverbs-providers, load the NIC's driver, or \
         make a software device with `modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0`; or use the \
         provider `emulated`"
    )]
    None {
        /// What was tried and what came of it.
        reason: String,
    },
    /// There are devices, but not this one. Pick one of those there are.
    #[error("no RDMA device is called {name:?}; there are: {}", there.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        there: Vec<String>,
    },
    /// The device has no port that is up, on Ethernet, and has an address. A retry helps once it has.
    #[error(
        "RDMA device {name} has no usable port ({reason}): bring its network interface up and give it an IP address"
    )]
    NoPort {
        /// The device's name.
        name: String,
        /// What is wrong with its ports.
        reason: String,
    },
    /// The device is there, but a call to it failed.
    #[error("RDMA device {name}: {call} failed: {source}; may this process open /dev/infiniband/uverbs*?")]
    Call {
        /// The device's name.
        name: String,
        /// Which call of libibverbs.
        call: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl From<DeviceError> for io::Error {
    fn from(error: DeviceError) -> io::Error {
        let kind = match &error {
            DeviceError::None { .. } | DeviceError::Unknown { .. } => io::ErrorKind::NotFound,
            DeviceError::NoPort { .. } => io::ErrorKind::NetworkDown,
            DeviceError::Call { source, .. } => source.kind(),
        };
        io::Error::new(kind, error)
    }
}

/// An open RDMA device and the one port of it that is used.
#[derive(Debug)]
pub struct Device {
    context: NonNull<ffi::ibv_context>,
    name: String,
    port: Port,
    attributes: Attributes,
}

/// The port that is used, and how it is addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) number: u8,
    pub(super) gid: [u8; 16],
    pub(super) gid_index: u8,
    /// Code of the largest payload of a packet, an `ibv_mtu`.
    pub(super) mtu: Mtu,
    /// Bytes one request can carry.
    pub(super) largest_message: u32,
}

/// What the device can do, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes {
    /// Requests one queue can hold.
    pub(super) queue_depth: u32,
    /// READs and atomics a queue pair can answer at once.
    pub(super) reads_answered: u8,
    /// READs and atomics a queue pair can have under way.
    pub(super) reads_asked: u8,
    /// Whether it knows atomics.
    pub(super) atomics: bool,
}

/// Payload of a packet: one of 256, 512, 1024, 2048, 4096 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mtu(ffi::ibv_mtu::Type);

impl Mtu {
    fn from_code(code: ffi::ibv_mtu::Type) -> Option<Mtu> {
        (ffi::ibv_mtu::IBV_MTU_256..=ffi::ibv_mtu::IBV_MTU_4096).contains(&code).then_some(Mtu(code))
    }

    /// The MTU of so many bytes; `None` if there is no such.
    pub(super) fn from_bytes(bytes: u16) -> Option<Mtu> {
        (ffi::ibv_mtu::IBV_MTU_256..=ffi::ibv_mtu::IBV_MTU_4096).map(Mtu).find(|mtu| mtu.bytes() == bytes)
    }

    pub(super) fn bytes(self) -> u16 {
        128 << self.0
    }

    pub(super) fn code(self) -> ffi::ibv_mtu::Type {
        self.0
    }
}

// SAFETY: libibverbs promises that its calls may be made from any thread; the context belongs to this value.
unsafe impl Send for Device {}
// SAFETY: libibverbs promises that calls on one context may be made from several threads at once.
unsafe impl Sync for Device {}

impl Device {
    /// Opens the device of this name, or the first one, and picks its first port that can be used.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn open(name: Option<&str>) -> Result<Device, DeviceError> {
        let list = DeviceList::get()?;
        let names = list.names();
        let index = match name {
            None => 0,
            Some(name) => names
                .iter()
                .position(|other| other == name)
                .ok_or_else(|| DeviceError::Unknown { name: name.into(), there: names.clone() })?,
        };
        let (Some(device), Some(name)) = (list.devices.get(index).copied(), names.get(index).cloned()) else {
            return Err(DeviceError::None { reason: "libibverbs lists none".into() });
        };
        // SAFETY: `device` is an entry of a list that is freed only when `list` is dropped.
        let context = unsafe { ffi::ibv_open_device(device) };
        let call = |call| {
            let name = name.clone();
            move |source| DeviceError::Call { name, call, source }
        };
        let Some(context) = NonNull::new(context) else {
            return Err(call("ibv_open_device")(io::Error::last_os_error()));
        };
        let open = OpenContext(context);
        let (attributes, ports) = query_device(context).map_err(call("ibv_query_device"))?;
        let mut reason = String::from("it has none");
        for number in 1..=ports {
            match query_port(context, number).map_err(call("ibv_query_port"))? {
                Ok(port) => {
                    std::mem::forget(open);
                    return Ok(Device { context, name, port, attributes });
                }
                Err(why) => reason = format!("port {number} {why}"),
            }
        }
        Err(DeviceError::NoPort { name, reason })
    }

    /// Its name, as `rdma link` and `ibv_devices` show it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The GID that is used: an IP address, mapped as `::ffff:a.b.c.d` where it is one of version 4.
    #[must_use]
    pub fn gid(&self) -> [u8; 16] {
        self.port.gid
    }

    /// Largest payload of a packet, in bytes.
    #[must_use]
    pub fn path_mtu(&self) -> u16 {
        self.port.mtu.bytes()
    }

    /// Whether its port is still as it was when the device was opened: up, and with the same address.
    pub(super) fn is_current(&self) -> bool {
        matches!(query_port(self.context, self.port.number), Ok(Ok(port)) if port == self.port)
    }

    pub(super) fn context(&self) -> *mut ffi::ibv_context {
        self.context.as_ptr()
    }

    pub(super) fn port(&self) -> &Port {
        &self.port
    }

    pub(super) fn attributes(&self) -> &Attributes {
        &self.attributes
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        drop(OpenContext(self.context));
    }
}

/// Closes the context when dropped.
struct OpenContext(NonNull<ffi::ibv_context>);

impl Drop for OpenContext {
    fn drop(&mut self) {
        // SAFETY: everything made of the context holds the `Device`, so nothing of it is left, and it is closed once.
        if unsafe { ffi::ibv_close_device(self.0.as_ptr()) } != 0 {
            tracing::warn!("an RDMA device could not be closed: {}", io::Error::last_os_error());
        }
    }
}

/// Names of this machine's RDMA devices.
///
/// # Errors
/// [`DeviceError::None`].
pub fn devices() -> Result<Vec<String>, DeviceError> {
    Ok(DeviceList::get()?.names())
}

/// The list that libibverbs hands out, never empty.
struct DeviceList {
    list: NonNull<*mut ffi::ibv_device>,
    devices: Vec<*mut ffi::ibv_device>,
}

impl DeviceList {
    fn get() -> Result<DeviceList, DeviceError> {
        let mut count = 0;
        // SAFETY: `count` is a place for an int.
        let list = unsafe { ffi::ibv_get_device_list(&raw mut count) };
        let Some(list) = NonNull::new(list) else {
            let error = io::Error::last_os_error();
            let reason = match error.raw_os_error() {
                Some(libc::EOPNOTSUPP) => "libibverbs.so.1 cannot be opened".into(),
                Some(libc::ENOSYS) => "the kernel has no RDMA support loaded".into(),
                _ => format!("libibverbs cannot list devices: {error}"),
            };
            return Err(DeviceError::None { reason });
        };
        let count = usize::try_from(count).unwrap_or(0);
        // SAFETY: the list has `count` entries and lives until it is freed in `drop`.
        let devices = unsafe { std::slice::from_raw_parts(list.as_ptr(), count) }.to_vec();
        let list = DeviceList { list, devices };
        if list.devices.is_empty() {
            return Err(DeviceError::None { reason: "libibverbs lists none".into() });
        }
        Ok(list)
    }

    fn names(&self) -> Vec<String> {
        let name = |device: &*mut ffi::ibv_device| {
            // SAFETY: the device is an entry of a list that is not freed yet.
            let name = unsafe { ffi::ibv_get_device_name(*device) };
            if name.is_null() {
                return String::new();
            }
            // SAFETY: a name of libibverbs ends with a zero and lives as long as the list.
            unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
        };
        self.devices.iter().map(name).collect()
    }
}

impl Drop for DeviceList {
    fn drop(&mut self) {
        // SAFETY: the list came from `ibv_get_device_list` and is freed once.
        unsafe { ffi::ibv_free_device_list(self.list.as_ptr()) }
    }
}

/// A return code of libibverbs: zero, or an errno.
pub(super) fn check(code: i32) -> io::Result<()> {
    match code {
        0 => Ok(()),
        errno if errno > 0 => Err(io::Error::from_raw_os_error(errno)),
        _ => Err(io::Error::last_os_error()),
    }
}

fn query_device(context: NonNull<ffi::ibv_context>) -> io::Result<(Attributes, u8)> {
    let mut attributes = MaybeUninit::<ffi::ibv_device_attr>::zeroed();
    // SAFETY: the context is open; `attributes` is a place for the structure.
    check(unsafe { ffi::ibv_query_device(context.as_ptr(), attributes.as_mut_ptr()) })?;
    // SAFETY: integers and arrays of them, all zero before and filled by the call.
    let attributes = unsafe { attributes.assume_init() };
    let reads = |limit: i32| u8::try_from(limit.clamp(0, i32::from(OUTSTANDING_READS))).unwrap_or(0);
    Ok((
        Attributes {
            queue_depth: u32::try_from(attributes.max_qp_wr).unwrap_or(0),
            reads_answered: reads(attributes.max_qp_rd_atom),
            reads_asked: reads(attributes.max_qp_init_rd_atom),
            atomics: attributes.atomic_cap != ffi::ibv_atomic_cap::IBV_ATOMIC_NONE,
        },
        attributes.phys_port_cnt,
    ))
}

/// The port, or why it cannot be used.
fn query_port(context: NonNull<ffi::ibv_context>, number: u8) -> io::Result<Result<Port, &'static str>> {
    let mut attributes = MaybeUninit::<ffi::ibv_port_attr>::zeroed();
    // SAFETY: the context is open; `attributes` is a place for the structure.
    check(unsafe { ffi::ibv_query_port(context.as_ptr(), number, attributes.as_mut_ptr()) })?;
    // SAFETY: integers, all zero before and filled by the call.
    let attributes = unsafe { attributes.assume_init() };
    if attributes.state != ffi::ibv_port_state::IBV_PORT_ACTIVE {
        return Ok(Err("is down"));
    }
    if attributes.link_layer != ETHERNET {
        return Ok(Err("is InfiniBand, and only RoCE is supported"));
    }
    let Some(mtu) = Mtu::from_code(attributes.active_mtu) else {
        return Ok(Err("has an unknown MTU"));
    };
    let Some((gid_index, gid)) = pick_gid(context, number) else {
        return Ok(Err("has no RoCE v2 address"));
    };
    Ok(Ok(Port { number, gid, gid_index, mtu, largest_message: attributes.max_msg_sz }))
}

/// The first RoCE v2 GID that is an IPv4 address, else the first that is any.
fn pick_gid(context: NonNull<ffi::ibv_context>, port: u8) -> Option<(u8, [u8; 16])> {
    let mut other = None;
    for index in 0..GID_TABLE {
        let mut entry = MaybeUninit::<ffi::ibv_gid_entry>::zeroed();
        // SAFETY: the context is open; `entry` is a place for the structure.
        let code =
            unsafe { ffi::ibv_query_gid_ex(context.as_ptr(), u32::from(port), index, entry.as_mut_ptr(), 0) };
        match code {
            0 => {}
            // An empty place in the table.
            libc::ENODATA => continue,
            _ => break,
        }
        // SAFETY: integers, all zero before and filled by the call.
        let entry = unsafe { entry.assume_init() };
        if entry.gid_type != ffi::IBV_GID_TYPE_ROCE_V2 {
            continue;
        }
        // SAFETY: every pattern of bits is an array of bytes.
        let gid = unsafe { entry.gid.raw };
        let found = (u8::try_from(index).ok()?, gid);
        if is_ipv4(&gid) {
            return Some(found);
        }
        if gid != [0; 16] {
            other.get_or_insert(found);
        }
    }
    other
}

/// Whether the GID is an IPv4 address, `::ffff:a.b.c.d`.
fn is_ipv4(gid: &[u8; 16]) -> bool {
    gid[..10] == [0; 10] && gid[10..12] == [0xff; 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_rdma_says_what_to_install() {
        let error = match Device::open(None) {
            Ok(_) | Err(DeviceError::NoPort { .. } | DeviceError::Call { .. }) => return,
            Err(error) => error.to_string(),
        };
        assert!(error.contains("this machine has no RDMA device"), "{error}");
        assert!(error.contains("rdma link add rxe0 type rxe"), "{error}");
        assert!(error.contains("`emulated`"), "{error}");
    }

    #[test]
    fn only_the_five_sizes_of_packets_are_an_mtu() {
        for bytes in [256, 512, 1024, 2048, 4096] {
            assert_eq!(Mtu::from_bytes(bytes).unwrap().bytes(), bytes);
        }
        for bytes in [0, 1, 128, 255, 1500, 8192, u16::MAX] {
            assert_eq!(Mtu::from_bytes(bytes), None);
        }
        assert!(Mtu::from_code(0).is_none());
        assert!(Mtu::from_code(6).is_none());
    }

    #[test]
    fn mapped_addresses_are_told_from_link_local_ones() {
        assert!(is_ipv4(&std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets()));
        assert!(!is_ipv4(&"fe80::5054:ff:fe12:3456".parse::<std::net::Ipv6Addr>().unwrap().octets()));
    }
}
