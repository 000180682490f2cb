//! Whom the healer has blamed before. A hog that is a controller with children starts new ones for those that are killed; then
//! the same blow again is in vain, and the unit must be a wider one.

use super::table::{Name, Table};
use backdoors_sensor_box::Process;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Diagnoses that are remembered.
const MOST_STRIKES: usize = 32;

/// How much a unit takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Width {
    Processes,
    Tree,
    /// A user or a control group.
    Whole,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Strikes {
    strikes: VecDeque<Strike>,
}

#[derive(Clone, Debug)]
struct Strike {
    at: Duration,
    /// The target's clock at that time.
    clock: u64,
    width: Width,
    parents: BTreeSet<u32>,
    /// User and command of those struck.
    kinds: BTreeSet<(u32, String)>,
}

impl Strikes {
    pub(super) fn forget_before(&mut self, time: Duration) {
        self.strikes.retain(|strike| strike.at >= time);
    }

    pub(super) fn add(
        &mut self,
        at: Duration,
        clock: u64,
        width: Width,
        table: &Table<'_>,
        victims: &BTreeSet<Name>,
    ) {
        if self.strikes.len() == MOST_STRIKES {
            self.strikes.pop_front();
        }
        let struck: Vec<&Process> = victims.iter().filter_map(|name| table.process(*name)).collect();
        self.strikes.push_back(Strike {
            at,
            clock,
            width,
            parents: struck.iter().map(|process| process.parent).filter(|parent| *parent > 1).collect(),
            kinds: struck.iter().map(|process| (process.user, process.command.clone())).collect(),
        });
    }

    /// Whether the process came after a blow of this width or a wider one, from where those struck came from.
    pub(super) fn is_successor(&self, process: &Process, width: Width) -> bool {
        self.strikes.iter().any(|strike| {
            strike.width >= width
                && process.start > strike.clock
                && (strike.parents.contains(&process.parent)
                    || strike.kinds.contains(&(process.user, process.command.clone())))
        })
    }
}
