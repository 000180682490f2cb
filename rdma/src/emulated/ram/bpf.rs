//! The calls of bpf(2) that are needed to keep a map alive, and to make one.
#![allow(unsafe_code, reason = "rustix has no bpf(2)")]

use std::ffi::CString;
use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, BorrowedFd};
#[cfg(feature = "conformance")]
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `BPF_OBJ_PIN` of linux/bpf.h.
const PIN: libc::c_long = 6;

/// What `BPF_OBJ_PIN` reads: the part of `union bpf_attr` that is for it.
#[repr(C)]
struct PinRequest {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// Gives a map a name in the BPF file system, at `path`: until that is removed the map keeps its memory.
///
/// # Errors
/// What the system says: `AlreadyExists`, or `PermissionDenied` outside the BPF file system.
pub(super) fn pin(map: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let descriptor = u32::try_from(map.as_raw_fd()).map_err(io::Error::other)?;
    let request = PinRequest { path: path.as_ptr() as u64, descriptor, flags: 0 };
    // SAFETY: the pointer is to a live value, and the length is its own; the string it points to lives on, too.
    let result = unsafe { libc::syscall(libc::SYS_bpf, PIN, &raw const request, size_of_val(&request)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes an array map that can be mapped, of at least `length` bytes, all zero.
///
/// # Errors
/// What the system says.
#[cfg(feature = "conformance")]
pub(crate) fn mappable_array(length: usize) -> io::Result<OwnedFd> {
    const CREATE: libc::c_long = 0;
    const ARRAY: u32 = 2;
    const MAPPABLE: u32 = 1 << 10;
    /// What `BPF_MAP_CREATE` reads: the part of `union bpf_attr` that is wanted here.
    #[repr(C)]
    struct CreateRequest {
        kind: u32,
        key_size: u32,
        value_size: u32,
        entries: u32,
        flags: u32,
    }
    let entries = u32::try_from(length.div_ceil(8)).map_err(io::Error::other)?;
    let request = CreateRequest { kind: ARRAY, key_size: 4, value_size: 8, entries, flags: MAPPABLE };
    // SAFETY: the pointer is to a live value, and the length is its own.
    let result = unsafe { libc::syscall(libc::SYS_bpf, CREATE, &raw const request, size_of_val(&request)) };
    let descriptor = i32::try_from(result).map_err(io::Error::other)?;
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
