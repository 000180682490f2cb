use super::*;
use proptest::prelude::*;

fn region(kind: u32) -> Region {
    Region {
        kind,
        range: RemoteRange { address: 0x1000 * u64::from(kind), length: 64, key: 7 + kind },
        generation: 3,
        rights: if kind.is_multiple_of(2) { Rights::ReadOnly } else { Rights::Writable },
    }
}

fn bytes_of(regions: &[Region]) -> Vec<u8> {
    let (mut writer, _fd) = DirectoryWriter::create().unwrap();
    writer.publish(regions);
    let mut bytes = vec![0; BYTES];
    writer.memory().read_bytes(0, &mut bytes).unwrap();
    bytes
}

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}

#[test]
fn what_was_published_is_what_is_decoded() {
    let regions: Vec<Region> = (1..=256).map(region).collect();
    let directory = Directory::decode(&bytes_of(&regions)).unwrap();
    assert_eq!(directory.regions(), regions);
    assert_eq!(directory.region(9), Some(region(9)));
    assert_eq!(directory.region(257), None);
}

#[test]
fn fewer_regions_leave_nothing_of_those_before() {
    let (mut writer, _fd) = DirectoryWriter::create().unwrap();
    writer.publish(&[region(1), region(2)]);
    writer.publish(&[region(2)]);
    let mut bytes = vec![0; BYTES];
    writer.memory().read_bytes(0, &mut bytes).unwrap();
    assert_eq!(Directory::decode(&bytes).unwrap().regions(), [region(2)]);
}

#[test]
fn every_lie_of_the_header_is_refused() {
    let good = bytes_of(&[region(1), region(2)]);
    let lie = |offset: usize, value: &[u8]| {
        let mut bytes = good.clone();
        put(&mut bytes, offset, value);
        Directory::decode(&bytes).unwrap_err()
    };
    assert_eq!(lie(0, &[0; 8]), DirectoryError::Magic(0));
    assert_eq!(lie(8, &2u32.to_le_bytes()), DirectoryError::Version(2));
    assert_eq!(lie(12, &63u32.to_le_bytes()), DirectoryError::Sizes { header: 63, entry: 40 });
    assert_eq!(lie(12, &u32::MAX.to_le_bytes()), DirectoryError::Short);
    assert_eq!(lie(16, &1u64.to_le_bytes()), DirectoryError::Torn);
    assert_eq!(lie(24, &257u32.to_le_bytes()), DirectoryError::Count(257));
    assert_eq!(lie(28, &0u32.to_le_bytes()), DirectoryError::Sizes { header: 64, entry: 0 });
    assert_eq!(lie(28, &u32::MAX.to_le_bytes()), DirectoryError::Short);
    assert_eq!(Directory::decode(&good[..64 + 79]).unwrap_err(), DirectoryError::Short);
    assert_eq!(Directory::decode(&good[..63]).unwrap_err(), DirectoryError::Short);
    assert_eq!(Directory::decode(&[]).unwrap_err(), DirectoryError::Short);
}

#[test]
fn every_lie_of_an_entry_is_refused() {
    let good = bytes_of(&[region(1), region(2)]);
    let lie = |offset: usize, value: &[u8]| {
        let mut bytes = good.clone();
        put(&mut bytes, 64 + 40 + offset, value);
        match Directory::decode(&bytes).unwrap_err() {
            DirectoryError::Entry { index: 1, why } => why,
            other => panic!("{other}"),
        }
    };
    assert_eq!(lie(0, &1u32.to_le_bytes()), "its kind comes twice");
    assert_eq!(lie(4, &0u32.to_le_bytes()), "it grants unknown rights");
    assert_eq!(lie(4, &3u32.to_le_bytes()), "it grants unknown rights");
    assert_eq!(lie(8, &u64::MAX.to_le_bytes()), "it reaches past the end of memory");
    assert_eq!(lie(16, &0u64.to_le_bytes()), "it is empty");
    assert_eq!(lie(16, &u64::MAX.to_le_bytes()), "it reaches past the end of memory");
}

#[test]
fn a_newer_owner_with_longer_entries_is_understood() {
    let good = bytes_of(&[region(1), region(2)]);
    let mut bytes = good[..64].to_vec();
    put(&mut bytes, 12, &72u32.to_le_bytes());
    put(&mut bytes, 28, &48u32.to_le_bytes());
    bytes.extend([0xff; 8]);
    for entry in good[64..144].chunks_exact(40) {
        bytes.extend(entry);
        bytes.extend([0xff; 8]);
    }
    assert_eq!(Directory::decode(&bytes).unwrap().regions(), [region(1), region(2)]);
}

/// Serves reads from memory, and changes the directory in the middle of the first `changes` batches.
struct Changing {
    writer: DirectoryWriter,
    changes: usize,
}

impl Connection for Changing {
    fn submit(&mut self, batch: &mut [Operation<'_>]) -> Result<(), AccessError> {
        for (index, operation) in batch.iter_mut().enumerate() {
            if index == 1 && self.changes > 0 {
                self.changes -= 1;
                self.writer.publish(&[region(self.changes as u32 + 1)]);
            }
            let Operation::Read { from, into } = operation else { panic!("only reads are expected") };
            self.writer.memory().read_bytes(from.address as usize, into).unwrap();
        }
        Ok(())
    }

    fn start(&mut self, _: crate::Request<'_>, _: std::time::Duration) -> Result<(), AccessError> {
        panic!("a directory is read by batches")
    }

    fn poll(&mut self, _: &mut Vec<u8>) -> std::task::Poll<Result<(), AccessError>> {
        panic!("a directory is read by batches")
    }

    fn readiness(&self) -> std::os::fd::BorrowedFd<'_> {
        panic!("a directory is read by batches")
    }

    fn is_poisoned(&self) -> bool {
        false
    }

    fn limits(&self) -> crate::Limits {
        crate::Limits { operations: 64, bytes: 1 << 20 }
    }
}

fn fetch_while_changing(changes: usize) -> Result<Directory, FetchDirectoryError> {
    let (writer, _fd) = DirectoryWriter::create().unwrap();
    let range = RemoteRange { address: 0, length: BYTES as u64, key: 0 };
    Directory::fetch(&mut Changing { writer, changes }, range)
}

#[test]
fn a_directory_that_changes_under_the_reader_is_read_again() {
    assert_eq!(fetch_while_changing(LOOKS - 1).unwrap().regions(), [region(1)]);
}

#[test]
fn a_directory_that_never_rests_is_reported_torn() {
    let error = fetch_while_changing(LOOKS).unwrap_err();
    assert!(matches!(error, FetchDirectoryError::Directory(DirectoryError::Torn)), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Directory::decode(&bytes);
    }

    #[test]
    fn no_change_of_a_good_directory_lets_a_bad_region_through(
        kinds in proptest::collection::btree_set(1u32..1000, 0..20),
        changes in proptest::collection::vec((0usize..1000, any::<u8>()), 0..6),
        kept in 0usize..=1000,
    ) {
        let regions: Vec<Region> = kinds.into_iter().map(region).collect();
        let mut bytes = bytes_of(&regions);
        bytes.truncate(1000);
        changes.into_iter().for_each(|(at, value)| bytes[at] = value);
        if let Ok(directory) = Directory::decode(&bytes[..kept]) {
            prop_assert!(directory.regions().len() <= MAX_ENTRIES);
            for region in directory.regions() {
                prop_assert!(region.range.length > 0);
                prop_assert!(region.range.address.checked_add(region.range.length).is_some());
                prop_assert_eq!(directory.region(region.kind), Some(*region));
            }
        }
    }
}
