use super::*;

#[test]
fn two_mappings_show_the_same_bytes() {
    let (memory, fd) = SharedMemory::create("test", 5000).unwrap();
    let view = SharedMemory::map(fd.as_fd(), 4096, 904, Protection::ReadOnly).unwrap();
    assert_eq!((memory.len(), memory.words(), view.len(), view.words()), (5000, 625, 904, 113));
    memory.store(512, 7);
    assert_eq!(view.load(0), 7);
    memory.write_bytes(4999, &[9]).unwrap();
    let mut last = [0];
    view.read_bytes(903, &mut last).unwrap();
    assert_eq!(last, [9]);
}

#[test]
fn a_window_starts_anywhere_at_a_multiple_of_eight() {
    let (memory, fd) = SharedMemory::create("test", 8192).unwrap();
    for offset in [0, 8, 64, 4088, 4096, 4104, 8184] {
        memory.store(offset / 8, offset as u64 + 1);
        let window = SharedMemory::map(fd.as_fd(), offset as u64, 8, Protection::ReadWrite).unwrap();
        assert_eq!(window.load(0), offset as u64 + 1);
        assert_eq!(window.compare_exchange(0, offset as u64 + 1, 3), Ok(offset as u64 + 1));
        assert_eq!(window.compare_exchange(0, 0, 4), Err(3));
        assert_eq!(memory.load(offset / 8), 3);
    }
}

#[test]
fn mappings_that_cannot_be_are_refused() {
    let (_memory, fd) = SharedMemory::create("test", 4096).unwrap();
    for (offset, length) in [(0, 0), (4, 8), (0, usize::MAX), (0, isize::MAX as usize), (8, usize::MAX - 4)] {
        let error = SharedMemory::map(fd.as_fd(), offset, length, Protection::ReadOnly).unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::OutOfMemory), "{error}");
    }
}

#[test]
fn copies_at_every_alignment_touch_their_bytes_alone() {
    const ROOM: usize = 192;
    let (memory, _fd) = SharedMemory::create("test", ROOM).unwrap();
    for write in [SharedMemory::write_bytes, SharedMemory::fill] {
        for (offset, length) in (0..=24).flat_map(|offset| (0..=150).map(move |length| (offset, length))) {
            memory.write_bytes(0, &[0xff; ROOM]).unwrap();
            let bytes: Vec<u8> = (1..=length as u8).collect();
            write(&memory, offset, &bytes).unwrap();
            let mut expected = [0xff; ROOM];
            expected[offset..offset + length].copy_from_slice(&bytes);
            let mut found = [0; ROOM];
            memory.read_bytes(0, &mut found).unwrap();
            assert_eq!(found, expected, "write of {length} at {offset}");
            let mut part = vec![0; length];
            memory.read_bytes(offset, &mut part).unwrap();
            assert_eq!(part, bytes, "read of {length} at {offset}");
        }
    }
}

#[test]
fn copies_outside_the_window_are_refused_whole() {
    let (memory, fd) = SharedMemory::create("test", 100).unwrap();
    for (offset, length) in [(100, 1), (99, 2), (0, 101), (usize::MAX, 1), (usize::MAX - 3, 8)] {
        let mut bytes = vec![5; length];
        assert_eq!(memory.read_bytes(offset, &mut bytes), Err(OutOfRange));
        assert_eq!(bytes, vec![5; length]);
        assert_eq!(memory.write_bytes(offset, &bytes), Err(OutOfRange));
        assert_eq!(memory.fill(offset, &bytes), Err(OutOfRange));
    }
    assert_eq!(memory.read_bytes(100, &mut []), Ok(()));
    let view = SharedMemory::map(fd.as_fd(), 0, 100, Protection::ReadOnly).unwrap();
    assert_eq!(view.write_bytes(0, &[1]), Err(OutOfRange));
    assert_eq!(view.fill(0, &[1]), Err(OutOfRange));
    let mut all = [1; 100];
    memory.read_bytes(0, &mut all).unwrap();
    assert_eq!(all, [0; 100]);
}

#[test]
#[should_panic(expected = "word 12 of a mapping of 12 words")]
fn a_word_that_is_not_whole_is_none() {
    let (memory, _fd) = SharedMemory::create("test", 100).unwrap();
    let _ = memory.load(12);
}

#[test]
#[should_panic(expected = "may only be read")]
fn a_store_to_a_read_only_mapping_is_a_mistake_of_the_caller() {
    let (_memory, fd) = SharedMemory::create("test", 64).unwrap();
    SharedMemory::map(fd.as_fd(), 0, 64, Protection::ReadOnly).unwrap().store(0, 1);
}

#[test]
fn what_was_created_cannot_shrink() {
    let (_memory, fd) = SharedMemory::create("test", 4096).unwrap();
    assert!(rustix::fs::ftruncate(&fd, 0).is_err());
}

#[test]
fn a_word_is_added_to_by_many_threads_without_losing_any() {
    let (memory, _fd) = SharedMemory::create("test", 64).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    memory.fetch_add(3, 2);
                }
            });
        }
    });
    assert_eq!(memory.load(3), 8000);
    assert_eq!(memory.fetch_add(3, u64::MAX), 8000);
    assert_eq!(memory.load(3), 7999);
}

#[test]
fn replaced_memory_is_the_other_one_at_the_same_address() {
    let (memory, old) = SharedMemory::create("old", 8200).unwrap();
    let (other, new) = SharedMemory::create("new", 8200).unwrap();
    memory.store(1024, 1);
    other.store(1024, 2);
    let address = memory.as_ptr();
    memory.replace(other).unwrap();
    assert_eq!((memory.as_ptr(), memory.load(1024)), (address, 2));
    memory.store(0, 3);
    let view = |fd: &OwnedFd| SharedMemory::map(fd.as_fd(), 0, 8200, Protection::ReadOnly).unwrap();
    assert_eq!((view(&old).load(0), view(&new).load(0)), (0, 3));
}

#[test]
fn memory_of_another_shape_replaces_nothing() {
    let (memory, fd) = SharedMemory::create("test", 8192).unwrap();
    memory.store(0, 1);
    let (longer, _fd) = SharedMemory::create("longer", 8200).unwrap();
    let read_only = SharedMemory::map(fd.as_fd(), 0, 8192, Protection::ReadOnly).unwrap();
    let (large, large_fd) = SharedMemory::create("large", 12288).unwrap();
    let elsewhere = SharedMemory::map(large_fd.as_fd(), 8, 8192, Protection::ReadWrite).unwrap();
    for other in [longer, read_only, elsewhere, large] {
        assert_eq!(memory.replace(other).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    assert_eq!(memory.load(0), 1);
}

#[test]
fn memory_can_be_replaced_while_others_write_it() {
    let (memory, _fd) = SharedMemory::create("test", 4096).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                memory.fetch_add(0, 1);
            }
        });
        for _ in 0..2000 {
            memory.replace(SharedMemory::create("next", 4096).unwrap().0).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}
