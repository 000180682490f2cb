//! The last of a connection, which its application is done with.

use super::options::State;
use nix::sys::socket::getsockopt;
use rustix::net::{RecvFlags, recv};
use std::os::fd::BorrowedFd;

/// Bytes that are read and thrown away at once, at most.
const MOST_UNREAD: usize = 1 << 20;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// This end was not closed.
    Open,
    /// The peer has not said yet that it has all that was written, and its end.
    Unacknowledged,
    /// The peer has all, and its own end is open.
    Acknowledged,
    /// Nothing more leaves or comes; or the kernel, which does not need the socket any more, waits for late packets.
    Over,
}

/// How far a connection is whose peer was connected once.
#[must_use]
pub fn ending(connection: BorrowedFd<'_>) -> Ending {
    const OPEN: [u8; 3] = [1, 3, 8]; // ESTABLISHED, SYN_RECV, CLOSE_WAIT
    const UNACKNOWLEDGED: [u8; 3] = [4, 9, 11]; // FIN_WAIT1, LAST_ACK, CLOSING
    const FIN_WAIT2: u8 = 5;
    match getsockopt(&connection, State) {
        Ok(state) if OPEN.contains(&state) => Ending::Open,
        Ok(state) if UNACKNOWLEDGED.contains(&state) => Ending::Unacknowledged,
        Ok(FIN_WAIT2) => Ending::Acknowledged,
        // What is no connection has nothing under way.
        _ => Ending::Over,
    }
}

/// Reads what the peer sent, and throws it away: a connection that is closed with unread bytes is broken off, and what is under way
/// to the peer is lost.
pub fn throw_unread_away(connection: BorrowedFd<'_>) {
    let (mut buffer, mut thrown) = ([0; 16 << 10], 0);
    while thrown < MOST_UNREAD {
        match recv(connection, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((_, count)) if count > 0 => thrown += count,
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsFd;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn becomes(connection: &TcpStream, wanted: Ending) {
        for _ in 0..1000 {
            if ending(connection.as_fd()) == wanted {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(ending(connection.as_fd()), wanted);
    }

    #[test]
    fn a_connection_is_over_when_both_have_closed_and_know_it_and_not_before() {
        let (mut client, server) = pair();
        assert_eq!(ending(server.as_fd()), Ending::Open);
        server.set_nonblocking(true).unwrap();
        // More than the client's buffers take.
        let written = (&server).write(&vec![3; 64 << 20]).unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        assert_eq!(ending(server.as_fd()), Ending::Unacknowledged);
        let mut read = Vec::new();
        client.read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), written);
        becomes(&server, Ending::Acknowledged);
        drop(client);
        becomes(&server, Ending::Over);
    }

    #[test]
    fn where_the_client_closes_first_it_is_over_when_it_has_all() {
        let (client, server) = pair();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!((&server).read(&mut [0]).unwrap(), 0);
        assert_eq!(ending(server.as_fd()), Ending::Open);
        server.shutdown(Shutdown::Write).unwrap();
        becomes(&server, Ending::Over);
    }

    #[test]
    fn what_a_client_goes_on_to_send_costs_it_nothing_that_was_written() {
        let (mut client, server) = pair();
        (&server).write_all(b"the last").unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        for _ in 0..50 {
            client.write_all(&[7; 100_000]).unwrap();
            throw_unread_away(server.as_fd());
        }
        client.shutdown(Shutdown::Write).unwrap();
        becomes(&server, Ending::Over);
        throw_unread_away(server.as_fd());
        drop(server);
        let mut last = String::new();
        client.read_to_string(&mut last).unwrap();
        assert_eq!(last, "the last");
    }
}
