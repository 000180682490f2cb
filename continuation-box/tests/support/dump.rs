//! The state of a live socket, by the kernel's own repair mode. The socket is dropped silently.

use backdoors_continuation_box::tcp::TcpState;
use backdoors_continuation_box::tcp::state::{ReceiveSide, Scales, SendSide, Timestamps};
use nix::sys::socket::{MsgFlags, getsockopt, recv, setsockopt, sockopt};
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    send_window_at: u32,
    send_window: u32,
    max_send_window: u32,
    receive_window: u32,
    receive_window_at: u32,
}

/// `struct tcp_info`, as far as bytes that were never sent.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Info {
    pub state: u8,
    unused: [u8; 4],
    options: u8,
    scales: u8,
    flags: u8,
    words: [u32; 24],
    longer: [u64; 4],
    segments: [u32; 2],
    pub never_sent: u32,
    padding: u32,
}

impl Info {
    pub fn sent_segment_size(&self) -> u32 {
        self.words[2]
    }

    /// Bytes that the receive window may grow to as things are.
    pub fn receive_threshold(&self) -> u32 {
        self.words[14]
    }

    /// Segments that were sent and not acknowledged; a FIN is one.
    fn unacknowledged(&self) -> u32 {
        self.words[4]
    }
}

sockopt_impl!(RepairQueue, SetOnly, libc::IPPROTO_TCP, libc::TCP_REPAIR_QUEUE, u32);
sockopt_impl!(QueueSequence, GetOnly, libc::IPPROTO_TCP, libc::TCP_QUEUE_SEQ, u32);
sockopt_impl!(Timestamp, GetOnly, libc::IPPROTO_TCP, libc::TCP_TIMESTAMP, u32);
type GetWindows = sockopt::GetStruct<Windows>;
type GetInfo = sockopt::GetStruct<Info>;
sockopt_impl!(RepairWindow, GetOnly, libc::IPPROTO_TCP, libc::TCP_REPAIR_WINDOW, Windows, GetWindows);
sockopt_impl!(TcpInfo, GetOnly, libc::IPPROTO_TCP, libc::TCP_INFO, Info, GetInfo);

const CLOSE_WAIT: u8 = 8;
const SENT_FIN: [u8; 4] = [4, 5, 9, 11];
const RECEIVED_FIN: [u8; 3] = [CLOSE_WAIT, 9, 11];

pub fn info(stream: &TcpStream) -> Info {
    getsockopt(stream, TcpInfo).unwrap()
}

/// Waits until the other end has all that was written here, and the end if it was closed.
pub fn acknowledged(stream: &TcpStream) {
    let began = Instant::now();
    loop {
        let info = info(stream);
        if info.unacknowledged() == 0 && info.never_sent == 0 {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "it was not acknowledged");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn dump(stream: TcpStream) -> TcpState {
    let (local, remote) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    setsockopt(&stream, sockopt::TcpRepair, &1).unwrap();
    let info = info(&stream);
    let (send_closed, receive_closed) = (SENT_FIN.contains(&info.state), RECEIVED_FIN.contains(&info.state));
    let (written, mut sent) = queue(&stream, 2);
    let (received, unread) = queue(&stream, 1);
    let never_sent = info.never_sent as usize;
    let unsent = sent.split_off(sent.len() - never_sent);
    let next = written.wrapping_sub(never_sent as u32);
    let fin_in_flight = u32::from(send_closed && info.state != 5);
    let windows = getsockopt(&stream, RepairWindow).unwrap();
    let timestamp = getsockopt(&stream, Timestamp).unwrap();
    TcpState {
        local,
        remote,
        send: SendSide {
            una: next.wrapping_sub(sent.len() as u32).wrapping_sub(fin_in_flight),
            next,
            window: windows.send_window,
            window_at: windows.send_window_at,
            max_window: windows.max_send_window,
            unacknowledged: sent.into(),
            unsent: unsent.into(),
            closed: send_closed,
        },
        receive: ReceiveSide {
            copied: received.wrapping_sub(unread.len() as u32).wrapping_sub(u32::from(receive_closed)),
            next: received,
            window: windows.receive_window,
            window_at: windows.receive_window_at,
            unread,
            closed: receive_closed,
        },
        segment_size: getsockopt(&stream, sockopt::TcpMaxSeg).unwrap() as u16,
        scales: (info.options & 4 != 0)
            .then_some(Scales { send: info.scales & 15, receive: info.scales >> 4 }),
        selective: info.options & 2 != 0,
        timestamps: (info.options & 1 != 0).then_some(Timestamps {
            last: timestamp,
            age: Duration::ZERO,
            microseconds: false,
        }),
    }
}

/// Where a queue ends, and what is in it.
fn queue(stream: &TcpStream, number: u32) -> (u32, Vec<u8>) {
    setsockopt(stream, RepairQueue, &number).unwrap();
    let end = getsockopt(stream, QueueSequence).unwrap();
    let mut bytes = vec![0; 8 << 20];
    let length =
        recv(stream.as_raw_fd(), &mut bytes, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT).unwrap_or_default();
    bytes.truncate(length);
    (end, bytes)
}
