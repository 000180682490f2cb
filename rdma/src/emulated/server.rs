//! The NIC's end of a connection, without I/O: bytes come in, bytes go out.

use crate::emulated::wire::{
    AnswerHeader, BatchHeader, COMPARE_AND_SWAP, DENIED, DONE, Greeting, Hello, LIMITS, MAGIC, MAX_BATCH,
    OperationHeader, PROBE, READ, VERSION, WRITE,
};
use zerocopy::{FromBytes, IntoBytes};

/// The memory behind a connection.
pub trait Memory {
    /// Whether the token opens a connection; from then on operations count as its monitor's.
    fn attach(&mut self, token: &[u8; 16]) -> bool;

    /// Executes one operation. `payload` is what a write brings; reads and compare-and-swaps append what they found
    /// to `answer`.
    ///
    /// # Errors
    /// [`Denied`]; then nothing was done.
    fn execute(
        &mut self,
        operation: &OperationHeader,
        payload: &[u8],
        answer: &mut Vec<u8>,
    ) -> Result<(), Denied>;
}

/// Key, range or right was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied;

/// The peer does not speak the protocol: close the connection, without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer does not speak the protocol: {0}")]
pub struct Malformed(&'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Attached,
    Closing,
}

/// One connection. Between batches it holds no more than a few words.
#[derive(Debug)]
pub struct Server {
    state: State,
    /// What came of a batch that is not complete yet.
    held: Vec<u8>,
    /// Number of the last batch.
    number: u64,
}

impl Default for Server {
    fn default() -> Server {
        Server::new()
    }
}

impl Server {
    /// A connection that nothing came over yet.
    #[must_use]
    pub fn new() -> Server {
        Server { state: State::Greeting, held: Vec::new(), number: 0 }
    }

    /// Takes bytes that were received, executes the batch that they complete, and appends the answer to `output`: send
    /// it before more is received.
    ///
    /// # Errors
    /// [`Malformed`]: close the connection.
    pub fn received(
        &mut self,
        bytes: &[u8],
        memory: &mut impl Memory,
        output: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        if self.state == State::Closing {
            return Ok(());
        }
        // Most batches come in one piece, and are not copied.
        let mut held = std::mem::take(&mut self.held);
        let input = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            &held
        };
        let step = match self.state {
            State::Greeting => greet(input, memory, output)?,
            _ => execute(input, memory, output, &mut self.number)?,
        };
        match step {
            Step::Needs(length) => {
                if held.is_empty() {
                    held.reserve_exact(length);
                    held.extend_from_slice(bytes);
                }
                self.held = held;
            }
            Step::Used(length) if length == input.len() => self.state = State::Attached,
            Step::Used(_) => return Err(Malformed("a batch before the last one was answered")),
            Step::Refused => self.state = State::Closing,
        }
        Ok(())
    }

    /// Whether the connection ends once the output is sent.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.state == State::Closing
    }

    /// Whether the token was accepted and no batch is half received: then silence is no fault.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state == State::Attached && self.held.is_empty()
    }
}

enum Step {
    /// So many bytes must be there at once.
    Needs(usize),
    /// So many bytes are dealt with.
    Used(usize),
    /// Answered, and the connection ends.
    Refused,
}

fn greet(input: &[u8], memory: &mut impl Memory, output: &mut Vec<u8>) -> Result<Step, Malformed> {
    let Ok((hello, _)) = Hello::read_from_prefix(input) else {
        return Ok(Step::Needs(size_of::<Hello>()));
    };
    if hello.magic != MAGIC {
        return Err(Malformed("it does not start with the magic"));
    }
    if hello.version != VERSION {
        return Err(Malformed("it speaks another version"));
    }
    let accepted = memory.attach(&hello.token);
    let status = if accepted { DONE } else { DENIED };
    output.extend_from_slice(Greeting { magic: MAGIC, version: VERSION, status }.as_bytes());
    Ok(if accepted { Step::Used(size_of::<Hello>()) } else { Step::Refused })
}

fn execute(
    input: &[u8],
    memory: &mut impl Memory,
    output: &mut Vec<u8>,
    number: &mut u64,
) -> Result<Step, Malformed> {
    let Ok((batch, rest)) = BatchHeader::read_from_prefix(input) else {
        return Ok(Step::Needs(size_of::<BatchHeader>()));
    };
    if batch.operations == 0 || batch.operations as usize > LIMITS.operations {
        return Err(Malformed("a batch of so many operations"));
    }
    if batch.payload as usize > LIMITS.bytes {
        return Err(Malformed("a batch of so many bytes"));
    }
    if batch.number != number.wrapping_add(1) {
        return Err(Malformed("a batch out of order"));
    }
    let headers = batch.operations as usize * size_of::<OperationHeader>();
    let length = size_of::<BatchHeader>() + headers + batch.payload as usize;
    debug_assert!(length <= MAX_BATCH);
    let Some(body) = rest.get(..headers + batch.payload as usize) else {
        return Ok(Step::Needs(length));
    };
    let (headers, mut payload) = body.split_at(headers);
    check_batch(headers, payload.len())?;
    *number = batch.number;

    let start = output.len();
    let header = |status, payload| AnswerHeader { number: batch.number, status, payload };
    output.extend_from_slice(header(DONE, 0).as_bytes());
    for operation in operations(headers).filter(|operation| operation.opcode != PROBE) {
        let mut brought: &[u8] = &[];
        if operation.opcode == WRITE {
            (brought, payload) = payload.split_at(operation.length as usize);
        }
        if memory.execute(&operation, brought, output) == Err(Denied) {
            output.truncate(start);
            output.extend_from_slice(header(DENIED, 0).as_bytes());
            return Ok(Step::Refused);
        }
    }
    let answered = output.len() - start - size_of::<AnswerHeader>();
    let head = header(DONE, answered as u32);
    if let Some(place) = output.get_mut(start..start + size_of::<AnswerHeader>()) {
        place.copy_from_slice(head.as_bytes());
    }
    Ok(Step::Used(length))
}

fn operations(headers: &[u8]) -> impl Iterator<Item = OperationHeader> {
    headers
        .chunks_exact(size_of::<OperationHeader>())
        .filter_map(|header| OperationHeader::read_from_bytes(header).ok())
}

/// Checks a batch as a whole before any of it is executed.
fn check_batch(headers: &[u8], payload: usize) -> Result<(), Malformed> {
    let (mut total, mut written) = (0u64, 0u64);
    for operation in operations(headers) {
        match operation.opcode {
            READ => {}
            WRITE => written = written.saturating_add(operation.length),
            COMPARE_AND_SWAP if operation.length == 8 && operation.address.is_multiple_of(8) => {}
            COMPARE_AND_SWAP => return Err(Malformed("a compare-and-swap of no aligned word")),
            PROBE if operation.length == 0 => continue,
            PROBE => return Err(Malformed("a probe of memory")),
            _ => return Err(Malformed("an unknown operation")),
        }
        if operation.length == 0 {
            return Err(Malformed("an operation on no bytes"));
        }
        total = total.saturating_add(operation.length);
    }
    if written != payload as u64 {
        return Err(Malformed("writes of other lengths than the bytes that came"));
    }
    if total > LIMITS.bytes as u64 {
        return Err(Malformed("a batch of so many bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
