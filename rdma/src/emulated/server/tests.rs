use super::*;
use crate::access::{Operation, RemoteRange, Request};
use crate::emulated::client::{Exchange, Outcome, hello, is_welcome};
use proptest::prelude::*;

const TOKEN: [u8; 16] = [7; 16];

/// 64 bytes at address 0 under key 1, and a count of what was executed.
struct Plain {
    bytes: Vec<u8>,
    executed: usize,
}

impl Plain {
    fn new() -> Plain {
        Plain { bytes: (0..64).collect(), executed: 0 }
    }
}

impl Memory for Plain {
    fn attach(&mut self, token: &[u8; 16]) -> bool {
        *token == TOKEN
    }

    fn execute(
        &mut self,
        operation: &OperationHeader,
        payload: &[u8],
        answer: &mut Vec<u8>,
    ) -> Result<(), Denied> {
        self.executed += 1;
        let start = operation.address as usize;
        let place =
            start.checked_add(operation.length as usize).and_then(|end| self.bytes.get_mut(start..end));
        let place = place.filter(|_| operation.key == 1).ok_or(Denied)?;
        match operation.opcode {
            READ => answer.extend_from_slice(place),
            WRITE => place.copy_from_slice(payload),
            _ => {
                answer.extend_from_slice(place);
                if *place == operation.expected.to_le_bytes() {
                    place.copy_from_slice(&operation.new.to_le_bytes());
                }
            }
        }
        Ok(())
    }
}

fn range(address: u64, length: u64) -> RemoteRange {
    RemoteRange { address, length, key: 1 }
}

/// Hands bytes over in pieces of `piece` bytes, and takes what comes back.
fn feed(server: &mut Server, memory: &mut Plain, bytes: &[u8], piece: usize) -> Result<Vec<u8>, Malformed> {
    let mut output = Vec::new();
    for piece in bytes.chunks(piece) {
        server.received(piece, memory, &mut output)?;
    }
    Ok(output)
}

fn attached() -> (Server, Plain) {
    let (mut server, mut memory) = (Server::new(), Plain::new());
    let greeting = feed(&mut server, &mut memory, &hello(TOKEN), 1000).unwrap();
    assert_eq!(is_welcome(greeting.as_slice().try_into().unwrap()), Some(true));
    (server, memory)
}

#[test]
fn a_batch_gives_the_same_result_however_it_is_cut() {
    for piece in [1, 2, 15, 16, 17, 100, 5000] {
        let (mut server, mut memory) = attached();
        let mut exchange = Exchange::default();
        let long = [9; 60];
        let (mut read, mut found) = ([0; 4], 0);
        let mut batch = [
            Operation::Write { to: range(0, 60), from: &long },
            Operation::Read { from: range(58, 4), into: &mut read },
            Operation::CompareAndSwap { at: range(8, 8), expected: 1, new: 2, found: &mut found },
        ];
        let request = exchange.begin(&batch).unwrap().to_vec();
        let answer = feed(&mut server, &mut memory, &request, piece).unwrap();
        for short in 0..answer.len() {
            assert!(matches!(exchange.finish(&answer[..short], &mut batch), Outcome::Needs(1..)));
        }
        assert_eq!(exchange.finish(&answer, &mut batch), Outcome::Done);
        assert_eq!(read, [9, 9, 60, 61]);
        assert_eq!(found, u64::from_le_bytes([9; 8]));
        assert!(server.is_idle() && !server.is_closing());
    }
}

#[test]
fn who_does_not_wait_for_the_answer_is_cut_off() {
    let (mut server, mut memory) = attached();
    let mut exchange = Exchange::default();
    let mut requests = Vec::new();
    for value in [1, 2, 3] {
        requests.extend_from_slice(
            exchange.begin(&[Operation::Write { to: range(0, 1), from: &[value] }]).unwrap(),
        );
    }
    feed(&mut server, &mut memory, &requests, 10_000).unwrap_err();
    assert_eq!(memory.executed, 1, "so no monitor has more than one answer made in advance");
}

#[test]
fn a_probe_is_answered_and_executes_nothing() {
    let (mut server, mut memory) = attached();
    let mut exchange = Exchange::default();
    let request = exchange.begin_request(&Request::Probe).unwrap().to_vec();
    let answer = feed(&mut server, &mut memory, &request, 10_000).unwrap();
    assert_eq!(exchange.outcome(&answer), Outcome::Done);
    assert_eq!(memory.executed, 0);
    assert!(server.is_idle());
}

#[test]
fn a_refused_operation_is_answered_and_ends_the_connection() {
    let (mut server, mut memory) = attached();
    let mut exchange = Exchange::default();
    let (mut first, mut second) = ([0; 8], [0; 8]);
    let mut batch = [
        Operation::Read { from: range(0, 8), into: &mut first },
        Operation::Read { from: range(60, 8), into: &mut second },
    ];
    let request = exchange.begin(&batch).unwrap().to_vec();
    let answer = feed(&mut server, &mut memory, &request, 10_000).unwrap();
    assert_eq!(exchange.finish(&answer, &mut batch), Outcome::Denied);
    assert!(server.is_closing());
    let again = feed(&mut server, &mut memory, &request, 10_000).unwrap();
    assert!(again.is_empty(), "nothing is executed any more");
    assert_eq!(memory.executed, 2);
}

#[test]
fn a_wrong_token_is_refused() {
    let (mut server, mut memory) = (Server::new(), Plain::new());
    let greeting = feed(&mut server, &mut memory, &hello([8; 16]), 1000).unwrap();
    assert_eq!(is_welcome(greeting.as_slice().try_into().unwrap()), Some(false));
    assert!(server.is_closing());
}

fn malformed_batch(change: impl FnOnce(&mut BatchHeader, &mut OperationHeader)) -> Malformed {
    let (mut server, mut memory) = attached();
    let mut batch = BatchHeader { number: 1, operations: 1, payload: 0 };
    let mut operation = OperationHeader { opcode: READ, key: 1, address: 0, length: 8, expected: 0, new: 0 };
    change(&mut batch, &mut operation);
    let bytes = [batch.as_bytes(), operation.as_bytes(), &[0; 16]].concat();
    let error = feed(&mut server, &mut memory, &bytes, 10_000).unwrap_err();
    assert_eq!(memory.executed, 0);
    error
}

#[test]
fn a_batch_that_makes_no_sense_is_not_executed() {
    malformed_batch(|batch, _| batch.number = 2);
    malformed_batch(|batch, _| batch.operations = 0);
    malformed_batch(|batch, _| batch.operations = 65);
    malformed_batch(|batch, _| batch.operations = u32::MAX);
    malformed_batch(|batch, _| batch.payload = u32::MAX);
    malformed_batch(|batch, _| batch.payload = 8);
    malformed_batch(|_, operation| operation.opcode = 0);
    malformed_batch(|_, operation| operation.opcode = WRITE);
    malformed_batch(|_, operation| operation.length = 0);
    malformed_batch(|_, operation| operation.length = u64::MAX);
    malformed_batch(|_, operation| operation.opcode = PROBE);
    malformed_batch(|_, operation| operation.length = (1 << 20) + 1);
    malformed_batch(|_, operation| (operation.opcode, operation.length) = (COMPARE_AND_SWAP, 4));
    malformed_batch(|_, operation| (operation.opcode, operation.address) = (COMPARE_AND_SWAP, 4));
}

#[test]
fn a_hello_that_makes_no_sense_is_not_answered() {
    for (at, value) in [(0, 0), (8, 1)] {
        let mut bytes = hello(TOKEN);
        bytes[at] = value;
        let (mut server, mut memory) = (Server::new(), Plain::new());
        feed(&mut server, &mut memory, &bytes, 1000).unwrap_err();
    }
}

#[test]
fn an_answer_to_another_batch_is_nonsense() {
    let mut exchange = Exchange::default();
    let mut bytes = [0; 8];
    let mut batch = [Operation::Read { from: range(0, 8), into: &mut bytes }];
    exchange.begin(&batch).unwrap();
    let answer =
        |number, status, payload| [AnswerHeader { number, status, payload }.as_bytes(), &[1; 8]].concat();
    for nonsense in [
        answer(0, DONE, 8),
        answer(2, DONE, 8),
        answer(1, DONE, 7),
        answer(1, 2, 8),
        answer(1, DONE, u32::MAX),
    ] {
        assert_eq!(exchange.finish(&nonsense, &mut batch), Outcome::Nonsense);
    }
    assert_eq!(exchange.finish(&[answer(1, DONE, 8), vec![0]].concat(), &mut batch), Outcome::Nonsense);
    assert_eq!(exchange.finish(&answer(1, DONE, 8), &mut batch), Outcome::Done);
}

proptest! {
    #[test]
    fn no_bytes_of_a_stranger_do_anything(bytes in proptest::collection::vec(any::<u8>(), 0..200), piece in 1usize..64) {
        let (mut server, mut memory) = (Server::new(), Plain::new());
        let _ = feed(&mut server, &mut memory, &bytes, piece);
        prop_assert_eq!(memory.executed, 0);
    }

    #[test]
    fn no_bytes_make_the_server_panic_or_hoard(
        changes in proptest::collection::vec((0usize..300, any::<u8>()), 0..8),
        piece in 1usize..400,
    ) {
        let (mut server, mut memory) = attached();
        let mut exchange = Exchange::default();
        let mut read = [0; 8];
        let batch = [
            Operation::Write { to: range(0, 60), from: &[1; 60] },
            Operation::Read { from: range(0, 8), into: &mut read },
        ];
        let mut bytes = exchange.begin(&batch).unwrap().to_vec();
        bytes.resize(300, 0);
        changes.into_iter().for_each(|(at, value)| bytes[at] = value);
        let _ = feed(&mut server, &mut memory, &bytes, piece);
        prop_assert!(server.held.capacity() <= 2 * MAX_BATCH);
    }

    #[test]
    fn no_answer_makes_the_client_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut exchange = Exchange::default();
        let mut read = [0; 8];
        let mut batch = [Operation::Read { from: range(0, 8), into: &mut read }];
        exchange.begin(&batch).unwrap();
        exchange.finish(&bytes, &mut batch);
    }
}
