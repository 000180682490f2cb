//! What the process in the guest and the NIC outside say to each other over the port.
//!
//! A message is one line of JSON. The port carries bytes, not messages, and either end may find half a message that
//! was meant for an earlier process: so every message starts and ends with a line feed, and a line that makes no sense
//! is passed over. Each process in the guest picks a session number, which its calls bear and their answers repeat;
//! answers of another session are passed over too.

use crate::owner::{Admission, Endpoint, OwnerError, RegionId, RegionRequest};
use serde::{Deserialize, Serialize};
use std::io;

/// Version of the messages.
pub const VERSION: u32 = 1;
/// Bytes of a page, in the guest and outside. Pages of another size cannot be translated.
pub const PAGE: u64 = 4096;
/// Pages that can be registered at once, all regions together.
pub const MAX_PAGES: u64 = 256 * 1024;
/// Runs of pages that they can be, all regions together. Each is a mapping of the NIC's process, and Linux lets a process have
/// 65530 (`vm.max_map_count`).
pub const MAX_RUNS: usize = 32 * 1024;
/// Most bytes of a message; the longest is the registration of [`MAX_RUNS`] runs.
pub const MAX_LINE: usize = 1 << 20;
/// Most bytes of a boot's name.
pub const MAX_BOOT: usize = 64;

/// Pages that lie side by side in the guest's physical memory: the number of the first, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRun(pub u64, pub u32);

/// What the guest asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Picked by the process that asks, at random.
    pub session: u64,
    /// One more than the last call's.
    pub number: u64,
    /// What it asks for.
    pub request: Request,
}

/// What the guest can ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Comes first. If the guest has booted since the last one, all that was registered and admitted ends.
    Hello {
        /// [`VERSION`].
        version: u32,
        /// Tells this boot from every other, as /proc/sys/kernel/random/boot_id does.
        boot: String,
    },
    /// Register memory. It starts in the first page at the region's offset modulo [`PAGE`], and ends in the last one.
    Register {
        /// The region.
        region: RegionRequest,
        /// Where its pages are.
        pages: Vec<PageRun>,
    },
    /// End a region.
    Retire(RegionId),
    /// Admit a monitor.
    Admit {
        /// Its name.
        monitor: String,
        /// Its slot.
        slot: u32,
        /// Its ends of the connections.
        endpoints: Vec<Endpoint>,
    },
    /// End a monitor's admission.
    Dismiss {
        /// Its name.
        monitor: String,
    },
    /// Tell what is registered.
    Regions,
    /// Tell who is admitted.
    Monitors,
}

/// What the NIC answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The call's.
    pub session: u64,
    /// The call's.
    pub number: u64,
    /// The answer itself.
    pub reply: Reply,
}

/// What the NIC can answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// To a hello.
    Welcome,
    /// Nobody has said hello in this session: the NIC was restarted. Say it, and look what is still registered.
    Stranger,
    /// The region's name.
    Registered(RegionId),
    /// What the monitor needs to know.
    Admitted(Admission),
    /// What is registered.
    Regions(Vec<(RegionId, RegionRequest)>),
    /// Who is admitted.
    Monitors(Vec<String>),
    /// Done.
    Done,
    /// Not done.
    Failed(OwnerError),
}

/// A message as it goes over the port.
///
/// # Errors
/// `InvalidInput` if it is longer than [`MAX_LINE`].
pub fn line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = vec![b'\n'];
    serde_json::to_writer(&mut line, message)?;
    line.push(b'\n');
    if line.len() > MAX_LINE {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a message too long for the port"));
    }
    Ok(line)
}

/// Finds the lines in what comes over the port, and keeps no more than [`MAX_LINE`] bytes.
#[derive(Debug, Default)]
pub struct Lines {
    begun: Vec<u8>,
    /// The line that has begun is too long, and is passed over.
    overlong: bool,
}

impl Lines {
    /// Takes bytes, and hands on every line that is complete and not empty, without its line feed.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split_at(end);
            self.keep(line);
            if !self.begun.is_empty() && !self.overlong {
                each(&self.begun);
            }
            self.clear();
            rest = behind.get(1..).unwrap_or_default();
        }
        self.keep(rest);
    }

    /// Forgets the line that has begun.
    pub fn clear(&mut self) {
        self.begun.clear();
        self.overlong = false;
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.overlong |= self.begun.len() + bytes.len() > MAX_LINE;
        if self.overlong {
            self.begun.clear();
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::Rights;
    use proptest::prelude::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.feed(piece, |line| found.push(line.to_vec()));
            assert!(lines.begun.len() <= MAX_LINE);
        }
        found
    }

    #[test]
    fn lines_are_found_however_they_are_cut() {
        assert_eq!(lines(&[b"half\n\nwh", b"", b"ole\nrest"]), [b"half".to_vec(), b"whole".to_vec()]);
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_the_next_is_heard() {
        let long = vec![b'x'; MAX_LINE];
        assert_eq!(lines(&[&long, b"\n"]).concat(), long);
        assert_eq!(lines(&[&long, &long, b"x\nnext\n"]), [b"next".to_vec()]);
        assert_eq!(lines(&[&long, b"x", b"y", b"\nnext\n"]), [b"next".to_vec()]);
    }

    #[test]
    fn the_longest_registration_fits_into_a_message() {
        let region = RegionRequest {
            kind: u32::MAX,
            generation: u64::MAX,
            offset: u64::MAX,
            length: u64::MAX,
            rights: Rights::ReadOnly,
            slot: Some(u32::MAX),
        };
        let request = Request::Register { region, pages: vec![PageRun(1 << 20, 1); MAX_RUNS] };
        let line = line(&Call { session: u64::MAX, number: u64::MAX, request }).unwrap();
        assert!(line.len() < MAX_LINE, "{}", line.len());
    }

    proptest! {
        #[test]
        fn a_message_arrives_after_whatever_an_earlier_process_left(
            left in proptest::collection::vec(any::<u8>(), 0..200),
            cut in 0usize..300,
        ) {
            let call = Call { session: 1, number: 2, request: Request::Regions };
            let mut bytes = left;
            bytes.extend(line(&call).unwrap());
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let found = lines(&[first, second]);
            let last: Call = serde_json::from_slice(found.last().unwrap()).unwrap();
            prop_assert_eq!(last, call);
        }
    }
}
