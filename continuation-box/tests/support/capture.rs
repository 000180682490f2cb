//! What is on the wire.

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

/// A TCP segment that passed a card.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub at: Instant,
    pub from_port: u16,
    pub sequence: u32,
    pub acknowledged: u32,
    /// As it stands in the header: scaled.
    pub window: u16,
    pub syn: bool,
    pub reset: bool,
    pub payload: usize,
}

/// Records every TCP segment at the card of the thread's network, from now on.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    recorder: Option<JoinHandle<Vec<Seen>>>,
}

impl Capture {
    pub fn start() -> Capture {
        let socket: OwnedFd =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll).unwrap();
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 20_000)).unwrap();
        setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let recorder = std::thread::spawn(move || {
            let mut seen = Vec::new();
            let mut frame = vec![0; 1 << 17];
            loop {
                match recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                    Ok(length) => seen.extend(segment(&frame[..length])),
                    // All that passed before the end was asked for has been read.
                    Err(_) if stopped.load(Ordering::Relaxed) => return seen,
                    Err(_) => {}
                }
            }
        });
        Capture { stop, recorder: Some(recorder) }
    }

    pub fn end(mut self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.recorder.take().unwrap().join().unwrap()
    }
}

fn segment(frame: &[u8]) -> Option<Seen> {
    let (ip, length, tcp) = match frame.get(12..14)? {
        [8, 0] if frame[23] == 6 => (14, usize::from(u16::from_be_bytes([frame[16], frame[17]])), 34),
        [0x86, 0xdd] if frame[20] == 6 => {
            (14, 40 + usize::from(u16::from_be_bytes([frame[18], frame[19]])), 54)
        }
        _ => return None,
    };
    let header = frame.get(tcp..tcp + 20)?;
    Some(Seen {
        at: Instant::now(),
        from_port: u16::from_be_bytes([header[0], header[1]]),
        sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        acknowledged: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
        window: u16::from_be_bytes([header[14], header[15]]),
        syn: header[13] & 2 != 0,
        reset: header[13] & 4 != 0,
        payload: ip + length - tcp - usize::from(header[12] >> 4) * 4,
    })
}
