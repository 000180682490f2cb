//! The other monitors that would act, as far as their candidacies show.

use super::Fitness;
use super::watch::Watch;
use backdoors_sensor_box::layout::COMMAND_SLOTS;
use backdoors_sensor_box::{Candidacy, LeaseView};
use std::time::Duration;

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Rival {
    candidacy: Candidacy,
    /// Since when it has not beaten.
    silent: Watch,
    /// It was seen to beat; before, its word may be years old.
    proven: bool,
    /// Since when it is alive and fit.
    fit: Watch,
}

/// How one monitor compares with another: fit before unfit, then by preference, then the lower slot.
type Rank = (bool, u8, i64);

/// All of them, by slot.
#[derive(Debug)]
pub(super) struct Rivals {
    own_slot: u32,
    rivals: [Option<Rival>; COMMAND_SLOTS],
}

fn rank(slot: usize, candidacy: &Candidacy) -> Rank {
    (Fitness(candidacy.fitness).is_good(), candidacy.preference, -(slot as i64))
}

impl Rivals {
    pub(super) fn new(own_slot: u32) -> Rivals {
        Rivals { own_slot, rivals: [None; COMMAND_SLOTS] }
    }

    /// Takes in a reading. Who has not beaten for `patience` is gone; gaps between readings count up to `most`.
    pub(super) fn read(
        &mut self,
        asked_at: Duration,
        now: Duration,
        table: &LeaseView,
        patience: Duration,
        most: Duration,
    ) {
        for (slot, (rival, candidacy)) in self.rivals.iter_mut().zip(table.candidacies).enumerate() {
            let Some(candidacy) = candidacy.filter(|_| slot != self.own_slot as usize) else {
                *rival = None;
                continue;
            };
            let begun = Watch::begun(now);
            let known = rival.get_or_insert(Rival { candidacy, silent: begun, proven: false, fit: begun });
            if known.candidacy == candidacy {
                known.silent.look(asked_at, most);
            } else {
                known.proven = true;
                known.silent = begun;
            }
            known.candidacy = candidacy;
            let alive = known.proven && known.silent.seen() < patience;
            if alive && Fitness(candidacy.fitness).is_good() {
                known.fit.look(asked_at, most);
            } else {
                known.fit = begun;
            }
        }
    }

    /// How many come before `own`, of those that may be alive: also one whose word was never seen to change, until it
    /// was watched for `patience`.
    pub(super) fn before(&self, own: &Candidacy, patience: Duration) -> u32 {
        let own = rank(self.own_slot as usize, own);
        let rivals = self.rivals.iter().enumerate();
        let before = rivals.filter(|(slot, rival)| {
            rival.as_ref().is_some_and(|rival| {
                let would = Fitness(rival.candidacy.fitness) != Fitness::UNFIT;
                would && rival.silent.seen() < patience && rank(*slot, &rival.candidacy) > own
            })
        });
        before.count() as u32
    }

    /// The best of those that beat and were fit for at least `time`, and have at least this preference.
    pub(super) fn fit_for(&self, time: Duration, preference: u8) -> Option<u32> {
        let rivals = self.rivals.iter().enumerate();
        let fit = rivals.filter_map(|(slot, rival)| {
            let rival = rival.as_ref().filter(|rival| {
                rival.proven
                    && Fitness(rival.candidacy.fitness).is_good()
                    && rival.fit.seen() >= time
                    && rival.candidacy.preference >= preference
            })?;
            Some((rank(slot, &rival.candidacy), slot as u32))
        });
        fit.max().map(|(_, slot)| slot)
    }
}
