//! Whom the healer has blamed before. If they are gone and their kin holds what was freed, be it new children of the same controller
//! or old ones that went on, the same blow again is in vain, and the unit must be a wider one.

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
    width: Width,
    struck: BTreeSet<Name>,
    parents: BTreeSet<u32>,
    /// User and command of those struck.
    kinds: BTreeSet<(u32, String)>,
}

impl Strikes {
    pub(super) fn forget_before(&mut self, time: Duration) {
        self.strikes.retain(|strike| strike.at >= time);
    }

    pub(super) fn add(&mut self, at: Duration, width: Width, table: &Table<'_>, victims: &BTreeSet<Name>) {
        if self.strikes.len() == MOST_STRIKES {
            self.strikes.pop_front();
        }
        let struck: Vec<&Process> = victims.iter().filter_map(|name| table.process(*name)).collect();
        self.strikes.push_back(Strike {
            at,
            width,
            struck: victims.clone(),
            parents: struck.iter().map(|process| process.parent).filter(|parent| *parent > 1).collect(),
            kinds: struck.iter().map(|process| (process.user, process.command.clone())).collect(),
        });
    }

    /// Whether a blow of this width or a wider one has hit, and the process is of the same parent as one of those who are gone, or
    /// runs the same command for the same user.
    pub(super) fn has_lost_kin(&self, process: &Process, width: Width, table: &Table<'_>) -> bool {
        self.strikes.iter().any(|strike| {
            strike.width >= width
                && strike.struck.iter().all(|name| table.process(*name).is_none())
                && (strike.parents.contains(&process.parent)
                    || strike.kinds.contains(&(process.user, process.command.clone())))
        })
    }
}
