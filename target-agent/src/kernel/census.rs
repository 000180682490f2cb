//! Who is who, as the kernel half knows it.

use crate::errand::Census;
use crate::kernel::KernelHalf;
use crate::kernel::settings::{Control, MAX_PROTECTED, MAX_SPARED, ProcessName};
use backdoors_sensor_box::{Refusal, SharedWords};
use std::mem::offset_of;

const INIT: u32 = 1;

impl Census for KernelHalf {
    fn may_reach(&self, pid: u32, user: u32) -> Result<(), Refusal> {
        if pid == INIT {
            return Err(Refusal::InitProcess);
        }
        if (0..MAX_PROTECTED).any(|index| self.protected(index) == pid) {
            return Err(Refusal::Protected);
        }
        if user == 0 || (0..self.spared_count()).any(|index| self.spared(index) == user) {
            return Err(Refusal::SparedUser);
        }
        Ok(())
    }

    fn start_of(&self, pid: u32) -> Option<u64> {
        KernelHalf::start_of(self, pid)
    }
}

impl KernelHalf {
    fn half_word(&self, offset: usize) -> u32 {
        let word = self.control.words.load(offset / 8);
        if offset.is_multiple_of(8) { word as u32 } else { (word >> 32) as u32 }
    }

    fn spared_count(&self) -> usize {
        (self.half_word(offset_of!(Control, spared_count)) as usize).min(MAX_SPARED)
    }

    fn spared(&self, index: usize) -> u32 {
        self.half_word(offset_of!(Control, spared) + 4 * index)
    }

    /// 0 if that place is free.
    fn protected(&self, index: usize) -> u32 {
        self.half_word(offset_of!(Control, protected) + index * size_of::<ProcessName>())
    }
}
