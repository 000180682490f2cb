//! Mapped memory as the sensor box's writers want it.

use backdoors_rdma::SharedMemory;
use backdoors_sensor_box::SharedWords;
use std::sync::Arc;

/// Words of a mapping that others read and write at the same time.
#[derive(Clone, Debug)]
pub struct Words(Arc<SharedMemory>);

impl Words {
    /// All whole words of `memory`.
    #[must_use]
    pub fn new(memory: SharedMemory) -> Words {
        Words(Arc::new(memory))
    }

    /// The mapping.
    #[must_use]
    pub fn memory(&self) -> &SharedMemory {
        &self.0
    }
}

impl SharedWords for Words {
    fn len(&self) -> usize {
        self.0.words()
    }
    fn load(&self, index: usize) -> u64 {
        self.0.load(index)
    }
    fn store(&self, index: usize, value: u64) {
        self.0.store(index, value);
    }
    fn compare_exchange(&self, index: usize, current: u64, new: u64) -> Result<u64, u64> {
        self.0.compare_exchange(index, current, new)
    }
}
