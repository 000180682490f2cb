//! The monitor's end of a connection, without I/O: batches become bytes, and bytes become results.

use crate::access::{AccessError, Operation, RemoteRange, Request};
use crate::emulated::wire::{
    AnswerHeader, BatchHeader, COMPARE_AND_SWAP, DENIED, DONE, Greeting, Hello, LIMITS, MAGIC,
    OperationHeader, PROBE, READ, VERSION, WRITE,
};
use zerocopy::{FromBytes, IntoBytes};

/// The bytes a connection opens with.
#[must_use]
pub fn hello(token: [u8; 16]) -> [u8; size_of::<Hello>()] {
    zerocopy::transmute!(Hello { magic: MAGIC, version: VERSION, reserved: 0, token })
}

/// Whether the NIC accepted the token; `None` if the bytes are no greeting.
#[must_use]
pub fn is_welcome(bytes: &[u8; size_of::<Greeting>()]) -> Option<bool> {
    let greeting: Greeting = zerocopy::transmute!(*bytes);
    if greeting.magic != MAGIC || greeting.version != VERSION {
        return None;
    }
    match greeting.status {
        DONE => Some(true),
        DENIED => Some(false),
        _ => None,
    }
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// So many bytes, at least, are still to come.
    Needs(usize),
    /// The batch was executed, and its buffers are filled.
    Done,
    /// The NIC refused an operation of it.
    Denied,
    /// The bytes are no answer to it.
    Nonsense,
}

/// Batches on one connection, one after the other. Keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub struct Exchange {
    number: u64,
    request: Vec<u8>,
    expected: usize,
}

impl Exchange {
    /// Makes the bytes to send for a batch.
    ///
    /// # Errors
    /// [`AccessError::Invalid`] for a batch that cannot be sent; see [`crate::Limits::check`].
    pub fn begin(&mut self, batch: &[Operation<'_>]) -> Result<&[u8], AccessError> {
        LIMITS.check(batch)?;
        let (mut expected, mut payload) = (0, 0);
        for operation in batch {
            match operation {
                Operation::Read { into, .. } => expected += into.len(),
                Operation::Write { from, .. } => payload += from.len(),
                Operation::CompareAndSwap { .. } => expected += 8,
            }
        }
        self.head(batch.len(), payload, expected);
        for operation in batch {
            self.request.extend_from_slice(operation_header(operation).as_bytes());
        }
        for operation in batch {
            if let Operation::Write { from, .. } = operation {
                self.request.extend_from_slice(from);
            }
        }
        Ok(&self.request)
    }

    /// Makes the bytes to send for a request.
    ///
    /// # Errors
    /// [`AccessError::Invalid`] for one that cannot be sent; see [`crate::Limits::check_request`].
    pub fn begin_request(&mut self, request: &Request<'_>) -> Result<&[u8], AccessError> {
        let expected = LIMITS.check_request(request)?;
        match request {
            Request::Read(ranges) => {
                self.head(ranges.len(), 0, expected);
                for range in *ranges {
                    self.request.extend_from_slice(read_header(range).as_bytes());
                }
            }
            Request::Probe => {
                self.head(1, 0, 0);
                let nowhere = RemoteRange { address: 0, length: 0, key: 0 };
                let probe = OperationHeader { opcode: PROBE, ..read_header(&nowhere) };
                self.request.extend_from_slice(probe.as_bytes());
            }
        }
        Ok(&self.request)
    }

    /// Starts the next batch, of so many operations that bring so many bytes and ask for so many.
    fn head(&mut self, operations: usize, payload: usize, expected: usize) {
        self.number = self.number.wrapping_add(1);
        self.expected = expected;
        let (operations, payload) = (operations as u32, payload as u32);
        let header = BatchHeader { number: self.number, operations, payload };
        self.request.clear();
        self.request.extend_from_slice(header.as_bytes());
    }

    /// The bytes to send.
    #[must_use]
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Looks at what was received so far; [`Outcome::Done`] means that all of it is there.
    #[must_use]
    pub fn outcome(&self, received: &[u8]) -> Outcome {
        let Ok((header, payload)) = AnswerHeader::read_from_prefix(received) else {
            return Outcome::Needs(size_of::<AnswerHeader>() - received.len());
        };
        match (header.number == self.number, header.status) {
            (true, DENIED) => Outcome::Denied,
            (true, DONE) if header.payload as usize == self.expected => {
                match self.expected.checked_sub(payload.len()) {
                    Some(0) => Outcome::Done,
                    Some(missing) => Outcome::Needs(missing),
                    None => Outcome::Nonsense,
                }
            }
            _ => Outcome::Nonsense,
        }
    }

    /// As [`Exchange::outcome`]; if all of it is there, fills the batch's buffers.
    pub fn finish(&mut self, received: &[u8], batch: &mut [Operation<'_>]) -> Outcome {
        let outcome = self.outcome(received);
        if outcome != Outcome::Done {
            return outcome;
        }
        let mut rest = payload(received);
        for operation in batch {
            match operation {
                Operation::Read { into, .. } => {
                    let (bytes, behind) = rest.split_at(into.len());
                    into.copy_from_slice(bytes);
                    rest = behind;
                }
                Operation::Write { .. } => {}
                Operation::CompareAndSwap { found, .. } => {
                    let (bytes, behind) = rest.split_at(8);
                    let mut word = [0; 8];
                    word.copy_from_slice(bytes);
                    **found = u64::from_le_bytes(word);
                    rest = behind;
                }
            }
        }
        Outcome::Done
    }

    /// Bytes of the answer, if all goes well.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        size_of::<AnswerHeader>() + self.expected
    }
}

/// The bytes of an answer that were asked for.
#[must_use]
pub fn payload(received: &[u8]) -> &[u8] {
    received.get(size_of::<AnswerHeader>()..).unwrap_or_default()
}

fn read_header(range: &RemoteRange) -> OperationHeader {
    let RemoteRange { address, length, key } = *range;
    OperationHeader { opcode: READ, key, address, length, expected: 0, new: 0 }
}

fn operation_header(operation: &Operation<'_>) -> OperationHeader {
    let (opcode, range, expected, new): (u32, &RemoteRange, u64, u64) = match operation {
        Operation::Read { from, .. } => (READ, from, 0, 0),
        Operation::Write { to, .. } => (WRITE, to, 0, 0),
        Operation::CompareAndSwap { at, expected, new, .. } => (COMPARE_AND_SWAP, at, *expected, *new),
    };
    OperationHeader { opcode, key: range.key, address: range.address, length: range.length, expected, new }
}
