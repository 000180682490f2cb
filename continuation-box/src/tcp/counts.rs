//! How far a live connection's application has come, by what the kernel counts.

use super::checksum::octets;
use super::options::{Cookie, Info, TcpInfo};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrStorage, getpeername,
    getsockname, getsockopt, recv, sendto, socket,
};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use thiserror::Error;

const ESTABLISHED: u8 = 1;
const TIME_WAIT: u8 = 6;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;
const CLOSE_WAIT: u8 = 8;
/// Readings until two agree. While packets come and go one of some hundreds does.
const MOST_READINGS: usize = 1000;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
const TCP: u8 = 6;
/// Of a `nlmsghdr`.
const HEAD: usize = 16;
/// Within the `inet_diag_msg` that follows it.
const QUEUES: usize = 56;
const STATE: usize = 1;
/// Whatever the socket's cookie is.
const ANY_COOKIE: u64 = u64::MAX;

/// What an application has done with a connection, in bytes since the socket was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Bytes it has read.
    pub read: u64,
    /// Bytes that the kernel has taken of it.
    pub written: u64,
}

/// Why it is not known.
#[derive(Debug, Error)]
pub enum CountsError {
    /// This end was closed, or the connection is no more.
    #[error("the connection is closed")]
    Closed,
    /// Not a TCP connection, or one that this process cannot ask for.
    #[error(
        "the kernel tells nothing of it ({0}): it must be a TCP connection of the agent's own network namespace, and the \
         kernel have CONFIG_INET_TCP_DIAG"
    )]
    NotFound(Errno),
    /// So much happens that no two readings agree. A retry helps.
    #[error("bytes come and go too quickly to count them; try again")]
    Unsteady,
}

/// The cookie of a socket, which the kernel half of the agent knows it by.
///
/// # Errors
/// What the system says.
pub fn cookie(socket: BorrowedFd<'_>) -> Result<u64, Errno> {
    getsockopt(&socket, Cookie)
}

/// How far a connection's application has come, both ends of which are open for this one to write. Who else uses the socket
/// meanwhile makes it [`CountsError::Unsteady`] at worst.
///
/// # Errors
/// [`CountsError`].
pub fn counts(connection: BorrowedFd<'_>) -> Result<Counts, CountsError> {
    let info = || getsockopt(&connection, TcpInfo).map_err(CountsError::NotFound);
    let mut before = info()?;
    let questioner = Questioner::new(connection, before.state)?;
    let (mut read, mut written) = (None, None);
    for _ in 0..MOST_READINGS {
        let Some([unread, unacknowledged]) = questioner.queues()? else { return Err(CountsError::Closed) };
        let after = info()?;
        if !matches!(after.state, ESTABLISHED | CLOSE_WAIT) {
            return Err(CountsError::Closed);
        }
        // What is in the queue was read in between: it fits if nothing was counted meanwhile.
        if before.received() == after.received() {
            // The peer's FIN is counted, and lies in the queue until the application has seen it.
            let end = after.received() - u64::from(after.state == CLOSE_WAIT);
            read = after.received().checked_sub(unread.into()).map(|read| read.min(end));
        }
        if before.acknowledged() == after.acknowledged() {
            written = Some(after.acknowledged() + u64::from(unacknowledged));
        }
        if let (Some(read), Some(written)) = (read, written) {
            return Ok(Counts { read, written });
        }
        before = after;
    }
    Err(CountsError::Unsteady)
}

/// Whether this machine has a connection between these ends that is not over.
///
/// # Errors
/// [`CountsError::NotFound`] if the kernel does not tell.
pub fn is_open(local: SocketAddr, remote: SocketAddr) -> Result<bool, CountsError> {
    let answer = Questioner::of(local, remote, ANY_COOKIE)?.ask()?;
    let state = answer.and_then(|answer| answer.get(HEAD + STATE).copied());
    // Where there is no such connection the kernel tells of who listens at the port.
    Ok(state.is_some_and(|state| !matches!(state, TIME_WAIT | CLOSE | LISTEN)))
}

impl Info {
    fn acknowledged(&self) -> u64 {
        self.counts[2]
    }

    fn received(&self) -> u64 {
        self.counts[3]
    }
}

/// Asks for the queues of one socket, which no socket option tells.
struct Questioner {
    socket: OwnedFd,
    question: Vec<u8>,
}

impl Questioner {
    fn new(connection: BorrowedFd<'_>, state: u8) -> Result<Questioner, CountsError> {
        let failed = CountsError::NotFound;
        let end = |name: Result<SockaddrStorage, Errno>| match name {
            Ok(name) => address(&name).ok_or(failed(Errno::EAFNOSUPPORT)),
            Err(Errno::ENOTCONN) if state != ESTABLISHED => Err(CountsError::Closed),
            Err(source) => Err(failed(source)),
        };
        let descriptor = connection.as_raw_fd();
        let (local, remote) = (end(getsockname(descriptor))?, end(getpeername(descriptor))?);
        Questioner::of(local, remote, cookie(connection).map_err(failed)?)
    }

    fn of(local: SocketAddr, remote: SocketAddr, cookie: u64) -> Result<Questioner, CountsError> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        );
        let socket = socket.map_err(CountsError::NotFound)?;
        Ok(Questioner { socket, question: question(local, remote, cookie) })
    }

    /// Bytes that are not read and bytes that are not acknowledged; `None` if there is no such connection any more.
    fn queues(&self) -> Result<Option<[u32; 2]>, CountsError> {
        let answer = self.ask()?;
        answer.map(|answer| queues(&answer).map_err(CountsError::NotFound)).transpose()
    }

    /// What the kernel says of the connection; `None` if there is none.
    fn ask(&self) -> Result<Option<Vec<u8>>, CountsError> {
        let failed = CountsError::NotFound;
        let to = NetlinkAddr::new(0, 0);
        sendto(self.socket.as_raw_fd(), &self.question, &to, MsgFlags::empty()).map_err(failed)?;
        let mut answer = vec![0; 1024];
        let length = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty()).map_err(failed)?;
        answer.truncate(length);
        match is_answer(&answer) {
            Err(Errno::ENOENT) => Ok(None),
            is_answer => is_answer.map(|()| Some(answer)).map_err(failed),
        }
    }
}

/// A `nlmsghdr` and an `inet_diag_req_v2`.
fn question(local: SocketAddr, remote: SocketAddr, cookie: u64) -> Vec<u8> {
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8;
    let mut body = vec![family, TCP, 0, 0];
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(local.port().to_be_bytes());
    body.extend(remote.port().to_be_bytes());
    for end in [local, remote] {
        let mut address = octets(end.ip());
        address.resize(16, 0);
        body.extend(address);
    }
    let scope = match local {
        SocketAddr::V6(local) => local.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    body.extend(scope.to_ne_bytes());
    body.extend(cookie.to_ne_bytes());
    let mut message = Vec::new();
    message.extend(((HEAD + body.len()) as u32).to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn word(answer: &[u8], at: usize) -> Result<u32, Errno> {
    let bytes = answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).ok_or(Errno::EBADMSG)?;
    Ok(u32::from_ne_bytes(bytes))
}

fn is_answer(answer: &[u8]) -> Result<(), Errno> {
    match word(answer, 4)? as u16 {
        SOCK_DIAG_BY_FAMILY => Ok(()),
        kind if i32::from(kind) == libc::NLMSG_ERROR => {
            Err(Errno::from_raw((word(answer, HEAD)? as i32).wrapping_neg()))
        }
        _ => Err(Errno::EBADMSG),
    }
}

fn queues(answer: &[u8]) -> Result<[u32; 2], Errno> {
    Ok([word(answer, HEAD + QUEUES)?, word(answer, HEAD + QUEUES + 4)?])
}

fn address(name: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(address) = name.as_sockaddr_in() {
        return Some(SocketAddr::new(IpAddr::V4(address.ip()), address.port()));
    }
    name.as_sockaddr_in6().map(|address| (*address).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    fn pair(at: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(at).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn what_was_read_and_written_is_counted_whatever_is_in_the_queues() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let (mut client, server) = pair(at);
            let has = |read, written| assert_eq!(counts(server.as_fd()).unwrap(), Counts { read, written });
            has(0, 0);
            client.write_all(&[1; 1000]).unwrap();
            (&server).read_exact(&mut [0; 300]).unwrap();
            has(300, 0);
            (&server).write_all(&[2; 500]).unwrap();
            client.read_exact(&mut [0; 100]).unwrap();
            has(300, 500);
            // More than the client's buffers take: it lies in the queue.
            server.set_nonblocking(true).unwrap();
            let more = (&server).write(&vec![3; 64 << 20]).unwrap() as u64;
            has(300, 500 + more);
        }
    }

    #[test]
    fn the_end_of_the_peers_bytes_is_no_byte_whether_or_not_it_was_read() {
        let (mut client, mut server) = pair("127.0.0.1:0");
        client.write_all(b"bytes").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        server.read_exact(&mut [0; 3]).unwrap();
        while getsockopt(&server, TcpInfo).unwrap().state != CLOSE_WAIT {
            std::thread::yield_now();
        }
        assert_eq!(counts(server.as_fd()).unwrap().read, 3);
        server.read_exact(&mut [0; 2]).unwrap();
        assert_eq!(counts(server.as_fd()).unwrap().read, 5);
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        assert_eq!(counts(server.as_fd()).unwrap().read, 5);
    }

    #[test]
    fn a_connection_is_open_until_both_ends_are_closed() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(at).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let server = listener.accept().unwrap().0;
            let (local, remote) = (server.local_addr().unwrap(), server.peer_addr().unwrap());
            assert!(is_open(local, remote).unwrap());
            drop(client);
            assert!(is_open(local, remote).unwrap());
            drop(server);
            assert!(!is_open(local, remote).unwrap());
        }
    }

    #[test]
    fn a_connection_that_was_closed_or_reset_counts_nothing_any_more() {
        let (client, server) = pair("127.0.0.1:0");
        server.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(matches!(counts(server.as_fd()), Err(CountsError::Closed)));
        let (client_of_reset, server) = pair("127.0.0.1:0");
        (&server).write_all(b"unread").unwrap();
        client_of_reset.peek(&mut [0]).unwrap();
        drop(client_of_reset);
        assert!(matches!(counts(server.as_fd()), Err(CountsError::Closed)));
        drop(client);
    }
}
