//! TCP segments that pass the loopback device.

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub from_port: u16,
    pub fin: bool,
    pub reset: bool,
    pub payload: usize,
}

/// Records the segments of one port's connections, from now on.
pub struct Segments {
    stop: Arc<AtomicBool>,
    recorder: JoinHandle<Vec<Seen>>,
}

impl Segments {
    pub fn start(port: u16) -> Segments {
        let socket: OwnedFd =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll).unwrap();
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(20)).unwrap();
        setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let recorder = std::thread::spawn(move || {
            let (mut seen, mut frame) = (Vec::new(), vec![0; 1 << 17]);
            loop {
                match recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                    Ok(length) => seen.extend(segment(&frame[..length], port)),
                    // All that passed before the end was asked for has been read.
                    Err(_) if stopped.load(Ordering::Relaxed) => return seen,
                    Err(_) => {}
                }
            }
        });
        Segments { stop, recorder }
    }

    pub fn end(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.recorder.join().unwrap()
    }
}

/// Of IPv4.
fn segment(frame: &[u8], port: u16) -> Option<Seen> {
    if frame.get(12..14)? != [8, 0] || *frame.get(23)? != 6 {
        return None;
    }
    let length = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let header = frame.get(34..54)?;
    let ports = [0, 2].map(|at| u16::from_be_bytes([header[at], header[at + 1]]));
    ports.contains(&port).then(|| Seen {
        from_port: ports[0],
        fin: header[13] & 1 != 0,
        reset: header[13] & 4 != 0,
        payload: length.saturating_sub(34 + usize::from(header[12] >> 4) * 4),
    })
}
