//! Variables of the target that its owner offers to be set: a region that monitors read, to know which there are. The agent
//! writes it, and nobody remotely; a monitor sets one by a command.
//!
//! | bytes | shape |
//! | --- | --- |
//! | 0 to 64 | one [`VariablesHeader`] |
//! | 64 and up | [`MAX_VARIABLES`] [`VariableRecord`]s |

use crate::decode::DecodeError;
use crate::words::{SharedWords, to_bytes, to_words};
use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// First word of the table.
pub const VARIABLES_MAGIC: u64 = u64::from_le_bytes(*b"BDVARIAB");
/// Version of the table. Readers refuse another.
pub const VARIABLES_VERSION: u32 = 1;
/// Variables there is room for.
pub const MAX_VARIABLES: usize = 32;
/// Longest name of a variable, in bytes.
pub const VARIABLE_NAME_BYTES: usize = 48;
/// Longest path of a variable's file, in bytes.
pub const VARIABLE_PATH_BYTES: usize = 104;
/// Bytes of the table.
pub const VARIABLES_BYTES: usize = size_of::<VariablesHeader>() + MAX_VARIABLES * size_of::<VariableRecord>();

/// Head of the table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct VariablesHeader {
    /// [`VARIABLES_MAGIC`].
    pub magic: u64,
    /// [`VARIABLES_VERSION`].
    pub version: u32,
    /// Size of this header in bytes; records start there.
    pub header_bytes: u32,
    /// Odd while the table is made anew; then nothing in it holds.
    pub sequence: u64,
    /// Records in use.
    pub count: u32,
    /// Size of a record in bytes.
    pub record_bytes: u32,
    /// Zero.
    pub reserved: [u64; 4],
}

/// A variable.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct VariableRecord {
    /// Name, padded with zeros.
    pub name: [u8; VARIABLE_NAME_BYTES],
    /// Path of its file on the target, padded with zeros.
    pub path: [u8; VARIABLE_PATH_BYTES],
    /// Least value it may be given.
    pub least: u64,
    /// Greatest.
    pub most: u64,
    /// Its value when the agent looked last, about once a second.
    pub value: u64,
    /// 1 if the agent could read it.
    pub known: u64,
    /// Zero.
    pub reserved: u64,
}

const HEADER_WORDS: usize = size_of::<VariablesHeader>() / 8;
const RECORD_WORDS: usize = size_of::<VariableRecord>() / 8;
const SEQUENCE: usize = offset_of!(VariablesHeader, sequence) / 8;
const VALUE: usize = offset_of!(VariableRecord, value) / 8;
const KNOWN: usize = offset_of!(VariableRecord, known) / 8;

const _: () = {
    assert!(size_of::<VariablesHeader>() == 64);
    assert!(size_of::<VariableRecord>() == 192);
    assert!(offset_of!(VariableRecord, value) == 168);
};

/// A variable that is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its file on the target.
    pub path: String,
    /// Least value it may be given.
    pub least: u64,
    /// Greatest.
    pub most: u64,
    /// Its value, if the agent could read it.
    pub value: Option<u64>,
}

fn padded<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
    Some(bytes)
}

fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = core::str::from_utf8(&bytes[..end]).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

impl Variable {
    /// The record, if name and path are not too long.
    fn record(&self) -> Option<VariableRecord> {
        Some(VariableRecord {
            name: padded(&self.name)?,
            path: padded(&self.path)?,
            least: self.least,
            most: self.most,
            value: self.value.unwrap_or_default(),
            known: u64::from(self.value.is_some()),
            reserved: 0,
        })
    }

    fn of_record(record: &VariableRecord) -> Option<Variable> {
        let VariableRecord { least, most, value, known, .. } = *record;
        let (name, path) = (text(&record.name)?, text(&record.path)?);
        (least <= most).then_some(Variable { name, path, least, most, value: (known == 1).then_some(value) })
    }

    /// Reads a table as a monitor got it.
    ///
    /// # Errors
    /// [`DecodeError::Torn`] while it is made anew, else whatever is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Vec<Variable>, DecodeError> {
        const WHAT: &str = "table of variables";
        let (have, need) = (bytes.len(), VARIABLES_BYTES);
        if have < need {
            return Err(DecodeError::Truncated { what: WHAT, have, need });
        }
        let layout = |why| DecodeError::Layout { what: WHAT, why };
        let (header, records) = VariablesHeader::read_from_prefix(bytes).map_err(|_| layout("size"))?;
        if header.magic != VARIABLES_MAGIC {
            return Err(DecodeError::Magic { what: WHAT, found: header.magic });
        }
        if header.version != VARIABLES_VERSION {
            return Err(DecodeError::Version { what: WHAT, found: header.version });
        }
        if header.header_bytes as usize != size_of::<VariablesHeader>()
            || header.record_bytes as usize != size_of::<VariableRecord>()
        {
            return Err(layout("sizes"));
        }
        if header.sequence % 2 == 1 {
            return Err(DecodeError::Torn { what: WHAT });
        }
        if header.count as usize > MAX_VARIABLES {
            return Err(layout("count"));
        }
        let records = records.chunks_exact(size_of::<VariableRecord>()).take(header.count as usize);
        let variable = |bytes| {
            let record = VariableRecord::read_from_bytes(bytes).map_err(|_| layout("size"))?;
            Variable::of_record(&record).ok_or(layout("variable"))
        };
        records.map(variable).collect()
    }
}

/// The table as the target writes it. One writer makes it; values are single words.
#[derive(Debug)]
pub struct Variables<W> {
    words: W,
}

impl<W: SharedWords> Variables<W> {
    /// The table in this memory; `None` if it is too small.
    pub fn new(words: W) -> Option<Variables<W>> {
        (words.len() * 8 >= VARIABLES_BYTES).then_some(Variables { words })
    }

    /// Makes it that of these variables: as many as there is room for, without those whose name or path is too long.
    pub fn offer(&self, variables: &[Variable]) {
        let records = variables.iter().filter_map(Variable::record).take(MAX_VARIABLES);
        let odd = self.words.load(SEQUENCE) | 1;
        self.words.store(SEQUENCE, odd);
        let mut count = 0;
        for record in records {
            let base = HEADER_WORDS + count as usize * RECORD_WORDS;
            for (offset, word) in to_words::<RECORD_WORDS>(record.as_bytes()).into_iter().enumerate() {
                self.words.store(base + offset, word);
            }
            count += 1;
        }
        let header = VariablesHeader {
            magic: VARIABLES_MAGIC,
            version: VARIABLES_VERSION,
            header_bytes: size_of::<VariablesHeader>() as u32,
            count,
            record_bytes: size_of::<VariableRecord>() as u32,
            ..VariablesHeader::new_zeroed()
        };
        for (offset, word) in to_words::<HEADER_WORDS>(header.as_bytes()).into_iter().enumerate() {
            if offset != SEQUENCE {
                self.words.store(offset, word);
            }
        }
        self.words.store(SEQUENCE, odd.wrapping_add(1));
    }

    /// The variable at this place, if there is one. `None`, too, while the table is made anew.
    pub fn get(&self, index: u64) -> Option<Variable> {
        let before = self.words.load(SEQUENCE);
        let count = self.words.load(offset_of!(VariablesHeader, count) / 8) as u32;
        let index = usize::try_from(index).ok().filter(|index| *index < MAX_VARIABLES.min(count as usize))?;
        let mut copy = [0; RECORD_WORDS];
        for (offset, word) in copy.iter_mut().enumerate() {
            *word = self.words.load(HEADER_WORDS + index * RECORD_WORDS + offset);
        }
        let mut bytes = [0; size_of::<VariableRecord>()];
        to_bytes(&copy, &mut bytes);
        let record = VariableRecord::read_from_bytes(&bytes).ok()?;
        let is_whole = before.is_multiple_of(2) && self.words.load(SEQUENCE) == before;
        is_whole.then(|| Variable::of_record(&record))?
    }

    /// Shows the value that the variable at this place has now; `None`: it cannot be read.
    pub fn set_value(&self, index: u64, value: Option<u64>) {
        if self.get(index).is_none() {
            return;
        }
        let base = HEADER_WORDS + index as usize * RECORD_WORDS;
        if let Some(value) = value {
            self.words.store(base + VALUE, value);
        }
        self.words.store(base + KNOWN, u64::from(value.is_some()));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
    use super::*;
    use crate::words::LocalWords;
    use proptest::prelude::*;

    fn variable(name: &str, value: Option<u64>) -> Variable {
        Variable { name: name.into(), path: format!("/proc/sys/{name}"), least: 1, most: 9, value }
    }

    #[test]
    fn what_is_offered_is_what_monitors_read() {
        let memory = LocalWords::zeroed(VARIABLES_BYTES);
        let table = Variables::new(&memory).unwrap();
        let offered = [variable("vm.swappiness", Some(60)), variable("kernel.pid_max", None)];
        table.offer(&offered);
        assert_eq!(Variable::decode(&memory.bytes()).unwrap(), offered);
        assert_eq!((table.get(1), table.get(2)), (Some(offered[1].clone()), None));
        table.set_value(0, Some(10));
        table.set_value(1, Some(4));
        table.set_value(2, Some(7));
        let values: Vec<_> =
            Variable::decode(&memory.bytes()).unwrap().iter().map(|variable| variable.value).collect();
        assert_eq!(values, [Some(10), Some(4)]);
        table.offer(&offered[1..]);
        assert_eq!(Variable::decode(&memory.bytes()).unwrap(), offered[1..]);
    }

    #[test]
    fn what_has_no_room_is_not_offered() {
        let memory = LocalWords::zeroed(VARIABLES_BYTES);
        let table = Variables::new(&memory).unwrap();
        let mut many: Vec<_> = (0..40).map(|number| variable(&format!("v{number}"), None)).collect();
        many[0].name = "x".repeat(VARIABLE_NAME_BYTES + 1);
        table.offer(&many);
        let read = Variable::decode(&memory.bytes()).unwrap();
        assert_eq!((read.len(), &*read[0].name), (MAX_VARIABLES, "v1"));
        assert!(Variables::new(LocalWords::zeroed(VARIABLES_BYTES - 8)).is_none());
    }

    #[test]
    fn a_table_that_is_made_anew_is_torn() {
        let memory = LocalWords::zeroed(VARIABLES_BYTES);
        let table = Variables::new(&memory).unwrap();
        table.offer(&[variable("a", None)]);
        memory.store(SEQUENCE, memory.load(SEQUENCE) + 1);
        assert!(matches!(Variable::decode(&memory.bytes()), Err(DecodeError::Torn { .. })));
        assert_eq!(table.get(0), None);
    }

    proptest! {
        #[test]
        fn whatever_the_memory_holds_is_a_table_or_an_error(
            offset in 0..VARIABLES_BYTES / 8, word: u64, count in 0u32..40
        ) {
            let memory = LocalWords::zeroed(VARIABLES_BYTES);
            let table = Variables::new(&memory).unwrap();
            table.offer(&(0..count).map(|number| variable(&number.to_string(), None)).collect::<Vec<_>>());
            memory.store(offset, word);
            if let Ok(read) = Variable::decode(&memory.bytes()) {
                prop_assert!(read.len() <= MAX_VARIABLES);
                prop_assert!(read.iter().all(|variable| variable.least <= variable.most));
            }
        }
    }
}
