//! Sessions that outlive their server, for C: what `include/backdoors-sessions.h` declares.
//!
//! Every pointer that comes in is C's word. Those to handles are good as long as the header says; NULL is an error or
//! does nothing, never more. A panic ends the process, as it does in every function that C can call: then the sessions go on
//! with the next server where they were exported last, which nothing that is half done can spoil.
#![allow(unsafe_code, reason = "C passes raw pointers, and names of functions must not be mangled for it")]

mod header;
mod log;

pub use header::c_header;

use backdoors_continuation_box::service::{AttachError, HoldError, Listener, Service, Session};
use backdoors_continuation_box::snapshot::ExportError;
use rustix::net::{ipproto, sockopt};
use std::cell::RefCell;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr::{null, null_mut};
use std::sync::{Mutex, OnceLock, PoisonError};

/// `struct backdoors_service`.
struct Handle {
    attached: Mutex<Option<Service>>,
    listener: OnceLock<Listener>,
}

thread_local! {
    static ERROR: RefCell<CString> = RefCell::default();
}

fn fail<T>(with: T, error: impl ToString) -> T {
    // Names in it may hold anything but zeros, as they came as C strings.
    let text = CString::new(error.to_string().replace('\0', " ")).unwrap_or_default();
    ERROR.with(|last| *last.borrow_mut() = text);
    with
}

/// What a function gives that counts something, or fails.
fn counted(result: io::Result<usize>) -> isize {
    match result {
        // No buffer is larger.
        Ok(count) => count.cast_signed(),
        Err(error) => failed(&error) as isize,
    }
}

fn done(result: io::Result<()>) -> c_int {
    result.map_or_else(|error| failed(&error), |()| 0)
}

/// Less than 0: a number of the system's, negative.
fn failed(error: &io::Error) -> c_int {
    let number = error.raw_os_error().unwrap_or(match error.kind() {
        io::ErrorKind::WouldBlock => libc::EAGAIN,
        io::ErrorKind::StorageFull => libc::ENOSPC,
        io::ErrorKind::InvalidInput => libc::EINVAL,
        _ => libc::EIO,
    });
    fail(-number, error)
}

/// # Safety
/// `handle` is NULL, or what `backdoors_service_attach` gave and nobody left yet.
unsafe fn listener<'a>(handle: *const Handle) -> Result<&'a Listener, c_int> {
    // SAFETY: the caller promises as much; it is only read.
    match unsafe { handle.as_ref() } {
        None => Err(fail(-libc::EINVAL, "the service may not be NULL")),
        Some(handle) => {
            handle.listener.get().ok_or_else(|| fail(-libc::EINVAL, "the service listens nowhere yet"))
        }
    }
}

/// # Safety
/// `session` is NULL, or what `backdoors_service_accept` gave and nobody ended yet; nobody else uses it meanwhile.
unsafe fn session<'a>(session: *mut Session) -> Result<&'a mut Session, c_int> {
    // SAFETY: the caller promises as much.
    unsafe { session.as_mut() }.ok_or_else(|| fail(-libc::EINVAL, "the session may not be NULL"))
}

/// # Safety
/// `bytes` is NULL or points to that many bytes, which stay as they are for `'a`.
unsafe fn slice<'a>(bytes: *const c_void, length: usize) -> Result<&'a [u8], c_int> {
    if bytes.is_null() && length == 0 {
        return Ok(&[]);
    }
    if bytes.is_null() || isize::try_from(length).is_err() {
        return Err(fail(-libc::EINVAL, "the bytes may not be NULL, nor more than there can be"));
    }
    // SAFETY: not NULL, hence as many bytes as the caller promises; no more than a slice may have.
    Ok(unsafe { std::slice::from_raw_parts(bytes.cast(), length) })
}

/// The value of a result whose other side is one, too.
fn either<T>(result: Result<T, T>) -> T {
    result.unwrap_or_else(|error| error)
}

#[unsafe(no_mangle)]
extern "C" fn backdoors_session_log(log: Option<log::Log>) {
    log::set(log);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_service_attach(socket: *const c_char, service: *const c_char) -> *mut Handle {
    if service.is_null() {
        return fail(null_mut(), "the service's name may not be NULL");
    }
    // SAFETY: the header asks for a C string, which the caller leaves alone while this runs.
    let name = unsafe { CStr::from_ptr(service) };
    let Ok(name) = name.to_str() else {
        return fail(null_mut(), AttachError::Name(name.to_string_lossy().into_owned()));
    };
    log::begin();
    let attached = if socket.is_null() {
        Service::attach(name)
    } else {
        // SAFETY: as for the name.
        let socket = unsafe { CStr::from_ptr(socket) };
        Service::attach_at(OsStr::from_bytes(socket.to_bytes()), name)
    };
    match attached {
        Err(error) => fail(null_mut(), error),
        Ok(service) => {
            let attached = Mutex::new(Some(service));
            Box::into_raw(Box::new(Handle { attached, listener: OnceLock::new() }))
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_service_listen(handle: *const Handle, socket: RawFd) -> c_int {
    // SAFETY: NULL, or what `backdoors_service_attach` gave and nobody left yet; it is only read.
    let Some(handle) = (unsafe { handle.as_ref() }) else {
        return fail(-libc::EINVAL, "the service may not be NULL");
    };
    if socket < 0 {
        return fail(-libc::EBADF, "the socket is no descriptor");
    }
    // SAFETY: not -1. Whether it is open the system says when it is duplicated, and nothing else is done with it.
    let socket = unsafe { BorrowedFd::borrow_raw(socket) };
    let socket = match socket.try_clone_to_owned() {
        Ok(socket) => socket,
        Err(error) => return failed(&error),
    };
    let is_listening = sockopt::socket_acceptconn(&socket).unwrap_or(false);
    if !is_listening || sockopt::socket_protocol(&socket) != Ok(Some(ipproto::TCP)) {
        return fail(-libc::EINVAL, "the socket is none of TCP that listens");
    }
    let mut attached = handle.attached.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(service) = attached.take() else {
        return fail(-libc::EALREADY, "the service listens already");
    };
    done(service.listen(TcpListener::from(socket)).map(|listener| {
        // It is set under the lock, and once.
        let _ = handle.listener.set(listener);
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_service_descriptors(handle: *const Handle, descriptors: *mut RawFd) -> c_int {
    if descriptors.is_null() {
        return fail(-libc::EINVAL, "the descriptors may not be NULL");
    }
    // SAFETY: the header asks for the same.
    let listener = match unsafe { listener(handle) } {
        Ok(listener) => listener,
        Err(code) => return code,
    };
    let all =
        listener.descriptors().map(|descriptor| descriptor.map_or(-1, |descriptor| descriptor.as_raw_fd()));
    // SAFETY: not NULL, hence room for two, as the header asks.
    unsafe { descriptors.cast::<[RawFd; 2]>().write(all) };
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_service_set_nonblocking(
    handle: *const Handle,
    is_nonblocking: c_int,
) -> c_int {
    // SAFETY: the header asks for the same.
    either(unsafe { listener(handle) }.map(|listener| {
        listener.set_nonblocking(is_nonblocking != 0);
        0
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_service_accept(handle: *const Handle, session: *mut *mut Session) -> c_int {
    if session.is_null() {
        return fail(-libc::EINVAL, "where the session is to be put may not be NULL");
    }
    // SAFETY: not NULL, hence room for a pointer, as the header asks.
    unsafe { session.write(null_mut()) };
    // SAFETY: the header asks for the same.
    let accepted = match unsafe { listener(handle) } {
        Ok(listener) => listener.accept(),
        Err(code) => return code,
    };
    done(accepted.map(|accepted| {
        // SAFETY: as above.
        unsafe { session.write(Box::into_raw(Box::new(accepted))) };
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_service_leave(handle: *mut *mut Handle) {
    // SAFETY: NULL, or points to a pointer, as the header asks.
    let Some(handle) = (unsafe { handle.as_mut() }) else { return };
    let handle = std::mem::replace(handle, null_mut());
    if !handle.is_null() {
        // SAFETY: what `backdoors_service_attach` made of a box; the header forbids to use it after this.
        drop(unsafe { Box::from_raw(handle) });
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_session_descriptor(given: *mut Session) -> RawFd {
    use std::os::fd::AsFd;
    // SAFETY: the header asks for the same.
    either(unsafe { session(given) }.map(|session| session.as_fd().as_raw_fd()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_session_set_nonblocking(given: *mut Session, is_nonblocking: c_int) -> c_int {
    // SAFETY: the header asks for the same.
    either(unsafe { session(given) }.map(|session| done(session.set_nonblocking(is_nonblocking != 0))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_session_is_protected(given: *mut Session) -> c_int {
    // SAFETY: the header asks for the same.
    unsafe { session(given) }.map_or(0, |session| session.is_protected().into())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_session_is_recovered(given: *mut Session) -> c_int {
    // SAFETY: the header asks for the same.
    unsafe { session(given) }.map_or(0, |session| session.recovered().is_some().into())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_session_snapshot(given: *mut Session, length: *mut usize) -> *const c_void {
    // SAFETY: the header asks for the same.
    let snapshot = unsafe { session(given) }.ok().and_then(|session| session.recovered());
    // SAFETY: NULL, or room for a length, as the header asks.
    if let Some(length) = unsafe { length.as_mut() } {
        *length = snapshot.map_or(0, <[u8]>::len);
    }
    snapshot.map_or(null(), |snapshot| snapshot.as_ptr().cast())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_session_output_to_repeat(given: *mut Session) -> u64 {
    // SAFETY: the header asks for the same.
    unsafe { session(given) }.map_or(0, |session| session.output_to_repeat())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_session_has_replay(given: *mut Session) -> c_int {
    // SAFETY: the header asks for the same.
    unsafe { session(given) }.map_or(0, |session| session.has_replay().into())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_session_has_unsent(given: *mut Session) -> c_int {
    // SAFETY: the header asks for the same.
    unsafe { session(given) }.map_or(0, |session| session.has_unsent().into())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_session_read(given: *mut Session, buffer: *mut c_void, room: usize) -> isize {
    // SAFETY: the header asks for the same.
    let session = match unsafe { session(given) } {
        Ok(session) => session,
        Err(code) => return code as isize,
    };
    if buffer.is_null() || isize::try_from(room).is_err() {
        return fail(-libc::EINVAL, "the buffer may not be NULL, nor larger than there can be") as isize;
    }
    // SAFETY: not NULL, hence room for as many bytes that are the caller's alone, as the header asks; what they are does not
    // matter, they are only written.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer.cast(), room) };
    counted(session.read(buffer))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_session_write(
    given: *mut Session,
    bytes: *const c_void,
    length: usize,
) -> isize {
    // SAFETY: the header asks for the same of both.
    match (unsafe { session(given) }, unsafe { slice(bytes, length) }) {
        (Ok(session), Ok(bytes)) => counted(session.write(bytes)),
        (Err(code), _) | (_, Err(code)) => code as isize,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_session_flush(given: *mut Session) -> c_int {
    // SAFETY: the header asks for the same.
    either(unsafe { session(given) }.map(|session| done(session.flush())))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_session_export(
    given: *mut Session,
    snapshot: *const c_void,
    length: usize,
) -> c_int {
    // SAFETY: the header asks for the same of both.
    match (unsafe { session(given) }, unsafe { slice(snapshot, length) }) {
        (Ok(session), Ok(snapshot)) => match session.export(snapshot) {
            Ok(()) => 0,
            Err(error @ ExportError::TooLarge { .. }) => fail(-libc::EMSGSIZE, error),
        },
        (Err(code), _) | (_, Err(code)) => code,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_session_hold_back(given: *mut Session) -> c_int {
    // SAFETY: the header asks for the same.
    either(unsafe { session(given) }.map(|session| match session.hold_back() {
        Ok(()) => 0,
        Err(error @ HoldError::Regenerated) => fail(-libc::EOPNOTSUPP, error),
        Err(error @ HoldError::Full(_)) => fail(-libc::ENOSPC, error),
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn backdoors_session_end(given: *mut *mut Session) -> c_int {
    // SAFETY: NULL, or points to a pointer, as the header asks.
    let Some(given) = (unsafe { given.as_mut() }) else { return 0 };
    // SAFETY: the header asks for the same.
    let Some(session) = (unsafe { given.as_mut() }) else { return 0 };
    if let Err(error) = session.flush()
        && error.kind() == io::ErrorKind::WouldBlock
    {
        return failed(&error);
    }
    // SAFETY: what `backdoors_service_accept` made of a box; from here on the caller has NULL.
    let session = unsafe { Box::from_raw(std::mem::replace(given, null_mut())) };
    match session.end() {
        // The caller, who has nothing left to try it with again, is not told to.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            fail(-libc::EIO, "not all that was held back could be sent: export before the session is ended")
        }
        ended => done(ended),
    }
}

#[unsafe(no_mangle)]
extern "C" fn backdoors_session_error() -> *const c_char {
    ERROR.with(|last| last.borrow().as_ptr())
}
