//! What connects more than two guests: it hands each frame to the guest with its address.

use rustix::net::{SendFlags, send};
use std::{
    io::{self, BufReader, Read},
    os::unix::net::UnixStream,
    sync::Arc,
    thread,
};

use super::{VmError, wire::HARDWARE_PREFIX};

/// QEMU puts this many bytes, the length in network order, before each frame.
const LENGTH: usize = 4;
/// No guest sends a longer frame: none of them is offered segmentation.
const LONGEST_FRAME: usize = 64 << 10;

/// Makes the guests' ends of a switch; its other ends are served until the guests' ends are closed.
pub(super) fn switch(ends: u8) -> Result<Vec<UnixStream>, VmError> {
    let mut guests = Vec::new();
    let mut ports = Vec::new();
    for _ in 0..ends {
        let (guest, port) = UnixStream::pair().map_err(VmError::host("make a switch"))?;
        guests.push(guest);
        ports.push(port);
    }
    let ports = Arc::new(ports);
    for own in 0..ports.len() {
        let incoming = ports[own].try_clone().map_err(VmError::host("make a switch"))?;
        let ports = Arc::clone(&ports);
        // Ends when its guest is gone and nobody can start in its place.
        thread::spawn(move || forward(own, incoming, &ports));
    }
    Ok(guests)
}

fn forward(own: usize, incoming: UnixStream, ports: &[UnixStream]) -> io::Result<()> {
    let mut incoming = BufReader::with_capacity(LONGEST_FRAME, incoming);
    let mut frame = vec![0; LENGTH];
    loop {
        frame.resize(LENGTH, 0);
        incoming.read_exact(&mut frame)?;
        let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
        if length > LONGEST_FRAME {
            return Err(io::ErrorKind::InvalidData.into());
        }
        frame.resize(LENGTH + length, 0);
        incoming.read_exact(&mut frame[LENGTH..])?;
        let receiver = port_of(&frame[LENGTH..]);
        for (number, port) in ports.iter().enumerate() {
            if number != own && receiver.is_none_or(|receiver| receiver == number) {
                // All or nothing, as it is shorter than what the kernel takes in one piece. A guest that does not
                // take its frames, because it is paused or gone, loses them as it would on any network.
                let _ = send(port, &frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            }
        }
    }
}

/// The port that a frame is for; `None` if it is for all.
fn port_of(frame: &[u8]) -> Option<usize> {
    let [prefix @ .., number] = frame.first_chunk::<6>()?;
    (*prefix == HARDWARE_PREFIX).then(|| usize::from(*number).wrapping_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, time::Duration};

    fn frame(to: [u8; 6], filling: u8) -> Vec<u8> {
        let mut frame = 60_u32.to_be_bytes().to_vec();
        frame.extend(to);
        frame.resize(LENGTH + 60, filling);
        frame
    }

    fn next(guest: &mut UnixStream) -> Option<u8> {
        let mut bytes = [0; LENGTH + 60];
        guest.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        guest.read_exact(&mut bytes).ok().map(|()| bytes[LENGTH + 59])
    }

    #[test]
    fn a_frame_reaches_its_guest_a_broadcast_all_and_a_deaf_guest_holds_up_nobody() {
        let mut guests = switch(3).unwrap();
        let third = [0x52, 0x54, 0x00, 0x77, 0x00, 3];
        // More than the third one's socket takes, and nobody empties it.
        for _ in 0..100_000 {
            guests[0].write_all(&frame(third, 1)).unwrap();
        }
        guests[0].write_all(&frame([0xff; 6], 2)).unwrap();
        assert_eq!((next(&mut guests[1]), next(&mut guests[2])), (Some(2), Some(1)));
        assert_eq!(next(&mut guests[0]), None);
    }
}
