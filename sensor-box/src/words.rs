//! Shared memory as the target's side sees it: eight-byte words that others read and write at the same time.

/// Shared memory, addressed by word. Loads acquire and stores release, so that a reader who sees a later store
/// sees the earlier ones too. Implemented by mapped memory on a target and by a model checker in tests.
pub trait SharedWords {
    /// Number of words.
    fn len(&self) -> usize;
    /// Whether there is no word at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The word at `index`, which must be below [`SharedWords::len`].
    fn load(&self, index: usize) -> u64;
    /// Sets the word at `index`, which must be below [`SharedWords::len`].
    fn store(&self, index: usize, value: u64);
    /// Makes the word at `index` `new` if it is `current`.
    ///
    /// # Errors
    /// The value found, if it is another; nothing changed then.
    fn compare_exchange(&self, index: usize, current: u64, new: u64) -> Result<u64, u64>;
}

impl<T: SharedWords + ?Sized> SharedWords for &T {
    fn len(&self) -> usize {
        (**self).len()
    }
    fn load(&self, index: usize) -> u64 {
        (**self).load(index)
    }
    fn store(&self, index: usize, value: u64) {
        (**self).store(index, value);
    }
    fn compare_exchange(&self, index: usize, current: u64, new: u64) -> Result<u64, u64> {
        (**self).compare_exchange(index, current, new)
    }
}

impl<T: SharedWords + ?Sized> SharedWords for std::sync::Arc<T> {
    fn len(&self) -> usize {
        (**self).len()
    }
    fn load(&self, index: usize) -> u64 {
        (**self).load(index)
    }
    fn store(&self, index: usize, value: u64) {
        (**self).store(index, value);
    }
    fn compare_exchange(&self, index: usize, current: u64, new: u64) -> Result<u64, u64> {
        (**self).compare_exchange(index, current, new)
    }
}

/// Plain words in process memory: for tests, goldens and simulations.
#[derive(Debug)]
pub struct LocalWords(Box<[core::sync::atomic::AtomicU64]>);

impl LocalWords {
    /// Zeroed memory for `bytes` bytes, rounded up to whole words.
    #[must_use]
    pub fn zeroed(bytes: usize) -> LocalWords {
        LocalWords((0..bytes.div_ceil(8)).map(|_| core::sync::atomic::AtomicU64::new(0)).collect())
    }

    /// The bytes as a remote reader would get them.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0
            .iter()
            .flat_map(|word| word.load(core::sync::atomic::Ordering::Acquire).to_le_bytes())
            .collect()
    }
}

impl SharedWords for LocalWords {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn load(&self, index: usize) -> u64 {
        self.0[index].load(core::sync::atomic::Ordering::Acquire)
    }
    fn store(&self, index: usize, value: u64) {
        self.0[index].store(value, core::sync::atomic::Ordering::Release);
    }
    fn compare_exchange(&self, index: usize, current: u64, new: u64) -> Result<u64, u64> {
        use core::sync::atomic::Ordering::{AcqRel, Acquire};
        self.0[index].compare_exchange(current, new, AcqRel, Acquire)
    }
}

/// A layout struct as little-endian words.
pub(crate) fn to_words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    debug_assert_eq!(bytes.len(), N * 8);
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        let mut eight = [0; 8];
        eight.copy_from_slice(chunk);
        *word = u64::from_le_bytes(eight);
    }
    words
}

/// The bytes of little-endian words.
pub(crate) fn to_bytes(words: &[u64], bytes: &mut [u8]) {
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
}
