//! What commands know of processes while they are carried out. A bit per command slot.

use super::{Candidate, slots_of};
use std::collections::HashMap;

#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    start: u64,
    /// Commands whose tree the process belongs to.
    tree: u16,
    /// Commands that counted it.
    counted: u16,
    /// Commands that signalled it.
    struck: u16,
    /// Seen by the round that goes on.
    seen: bool,
}

#[derive(Debug, Default)]
pub(super) struct Marks {
    by_pid: HashMap<u32, Mark>,
}

impl Marks {
    pub(super) fn clear(&mut self) {
        self.by_pid.clear();
    }

    /// Makes room for the live processes and forgets all others; returns the slots that had counted one of those.
    pub(super) fn forget_dead(&mut self, processes: &[Candidate]) -> impl Iterator<Item = usize> + use<> {
        let mut died = 0;
        for process in processes.iter().filter(|process| !process.kernel) {
            let new = Mark { start: process.start, seen: true, ..Mark::default() };
            let mark = self.by_pid.entry(process.pid).or_insert(new);
            if mark.start != process.start {
                died |= mark.counted;
                *mark = new;
            }
            mark.seen = true;
        }
        self.by_pid.retain(|_, mark| {
            if !mark.seen {
                died |= mark.counted;
            }
            std::mem::take(&mut mark.seen)
        });
        slots_of(died)
    }

    /// Takes the marks off that earlier commands of these slots left.
    pub(super) fn take_off(&mut self, slots: u16) {
        if slots != 0 {
            for mark in self.by_pid.values_mut() {
                mark.tree &= !slots;
                mark.counted &= !slots;
                mark.struck &= !slots;
            }
        }
    }

    pub(super) fn root_tree(&mut self, pid: u64, start: u64, slot: usize) {
        let mark = u32::try_from(pid).ok().and_then(|pid| self.by_pid.get_mut(&pid));
        if let Some(mark) = mark.filter(|mark| mark.start == start) {
            mark.tree |= 1 << slot;
        }
    }

    /// Children belong to the trees of their parents, and theirs, down to the last.
    pub(super) fn spread_trees(&mut self, processes: &[Candidate]) {
        if self.by_pid.values().all(|mark| mark.tree == 0) {
            return;
        }
        loop {
            let mut found = false;
            for process in processes {
                // A parent younger than its child has the number of the real one.
                let parent = self.by_pid.get(&process.parent).filter(|parent| parent.start <= process.start);
                let inherited = parent.map_or(0, |parent| parent.tree);
                if let Some(mark) = self.by_pid.get_mut(&process.pid)
                    && inherited & !mark.tree != 0
                {
                    mark.tree |= inherited;
                    found = true;
                }
            }
            if !found {
                return;
            }
        }
    }

    pub(super) fn tree(&self, pid: u32, start: u64) -> u16 {
        self.of(pid, start).map_or(0, |mark| mark.tree)
    }

    pub(super) fn was_struck(&self, pid: u32, start: u64, slot: usize) -> bool {
        self.of(pid, start).is_some_and(|mark| mark.struck & (1 << slot) != 0)
    }

    /// `true` if the command had not counted the process before.
    pub(super) fn count(&mut self, pid: u32, start: u64, slot: usize) -> bool {
        let Some(mark) = self.by_pid.get_mut(&pid).filter(|mark| mark.start == start) else { return false };
        let new = mark.counted & (1 << slot) == 0;
        mark.counted |= 1 << slot;
        new
    }

    pub(super) fn strike(&mut self, pid: u32, start: u64, slot: usize) {
        if let Some(mark) = self.by_pid.get_mut(&pid).filter(|mark| mark.start == start) {
            mark.struck |= 1 << slot;
        }
    }

    fn of(&self, pid: u32, start: u64) -> Option<&Mark> {
        self.by_pid.get(&pid).filter(|mark| mark.start == start)
    }
}
