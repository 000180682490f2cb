//! How much the healers of one target may do by themselves, all of them together. Pure.
//!
//! A repair fits into the budget whole or is withheld: half of a fork bomb killed is victims for nothing. So victims are
//! processes, however they are named, and the default leaves room for the largest bomb that one user is likely to be
//! allowed; what keeps healers from going on and on are the repairs a minute, and that nobody is struck twice in a
//! while. Each command is also given the most victims it may have, which the target enforces, because a bomb grows between
//! the look at it and the blow.
//!
//! Humans are not bound. What they order counts, so that healers add nothing to it.

#[cfg(test)]
mod tests;

use crate::victim::Victim;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

/// What "a minute" means.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Victims that are remembered: more than healers can strike within the longest cooldown that may be configured, so that
/// only a human who orders without end is not remembered.
const MOST_REMEMBERED: usize = 131_072;

/// The bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most repairs in any minute.
    pub repairs: u32,
    /// Most processes signalled in any minute.
    pub victims: u64,
    /// How long a victim is left alone after it was struck.
    pub victim_cooldown: Duration,
}

/// A command that is to fit in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whom it strikes.
    pub victim: Option<Victim>,
    /// Processes that it would strike, by the process table.
    pub count: u64,
    /// The most that its healer wants signalled; 0: no bound.
    pub most: u64,
}

/// Why a repair does not fit. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// The victim was struck just now.
    #[error(
        "{victim} was struck less than {} ago (`budget.victim_cooldown`); nothing was written, approve it to \
         strike again",
        seconds(*cooldown)
    )]
    StruckBefore {
        /// Whom.
        victim: Victim,
        /// How long it is left alone.
        cooldown: Duration,
    },
    /// There were too many repairs.
    #[error(
        "{0} repairs were begun within a minute, as many as may be (`budget.repairs_per_minute`); nothing was \
         written, approve it to go on"
    )]
    Repairs(u32),
    /// There would be too many victims.
    #[error(
        "it has {wanted} victims, and {left} of {most} victims a minute are left (`budget.victims_per_minute`); \
         nothing was written, approve it to go on"
    )]
    Victims {
        /// How many it has.
        wanted: u64,
        /// How many it may.
        left: u64,
        /// How many there may be in a minute.
        most: u64,
    },
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// The budget of one target.
#[derive(Debug)]
pub struct Budget {
    bounds: Bounds,
    /// When repairs began.
    repairs: VecDeque<Duration>,
    /// When how many processes were signalled.
    signalled: VecDeque<(Duration, u64)>,
    struck: HashMap<Victim, Duration>,
    now: Duration,
}

impl Budget {
    /// A budget of which nothing is spent.
    #[must_use]
    pub fn new(bounds: Bounds) -> Budget {
        Budget {
            bounds,
            repairs: VecDeque::new(),
            signalled: VecDeque::new(),
            struck: HashMap::new(),
            now: Duration::ZERO,
        }
    }

    /// Has other bounds hold from now on; what was done counts as before.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Whether a healer's repair fits, and if so how many victims each of its commands may have.
    ///
    /// # Errors
    /// See [`Exceeded`].
    pub fn grant(&mut self, now: Duration, wanted: &[Wanted]) -> Result<Vec<u64>, Exceeded> {
        self.go_on(now);
        let cooldown = self.bounds.victim_cooldown;
        let hot = wanted.iter().filter_map(|wanted| wanted.victim).find(|victim| self.is_hot(victim));
        if let Some(victim) = hot {
            return Err(Exceeded::StruckBefore { victim, cooldown });
        }
        if self.repairs.len() as u64 >= u64::from(self.bounds.repairs) {
            return Err(Exceeded::Repairs(self.bounds.repairs));
        }
        let left = self.victims_left();
        let counts: Vec<u64> = wanted.iter().map(bounded_count).collect();
        let total = total(wanted, &counts);
        if total > left {
            return Err(Exceeded::Victims { wanted: total, left, most: self.bounds.victims });
        }
        // What nobody is counted for is shared out: victims may multiply until they are struck.
        let surplus = (left - total) / wanted.len().max(1) as u64;
        let grants = wanted.iter().zip(counts).map(|(wanted, count)| {
            let most = count + surplus;
            if wanted.most == 0 { most } else { most.min(wanted.most) }
        });
        Ok(grants.collect())
    }

    /// Takes in that a repair was begun, whoever wanted it.
    pub fn begun(&mut self, now: Duration) {
        self.go_on(now);
        self.repairs.push_back(self.now);
        // Healers cannot begin more; what humans begin beyond that makes no difference.
        while self.repairs.len() as u64 > u64::from(self.bounds.repairs) {
            self.repairs.pop_front();
        }
    }

    /// Takes in that a victim was struck, or may have been, with so many signals at most.
    pub fn struck(&mut self, now: Duration, victim: Victim, signalled: u64) {
        self.go_on(now);
        if self.struck.len() < MOST_REMEMBERED || self.struck.contains_key(&victim) {
            self.struck.insert(victim, self.now);
        }
        match self.signalled.back_mut() {
            Some((at, count)) if *at == self.now => *count = count.saturating_add(signalled),
            _ => self.signalled.push_back((self.now, signalled)),
        }
        // A minute's victims are what counts: humans can order without end.
        if self.signalled.len() > MOST_REMEMBERED
            && let (Some((_, first)), Some((_, second))) =
                (self.signalled.pop_front(), self.signalled.front_mut())
        {
            *second = second.saturating_add(first);
        }
    }

    fn victims_left(&self) -> u64 {
        let spent = self.signalled.iter().fold(0u64, |spent, (_, count)| spent.saturating_add(*count));
        self.bounds.victims.saturating_sub(spent)
    }

    fn is_hot(&self, victim: &Victim) -> bool {
        self.struck.get(victim).is_some_and(|at| self.now - *at < self.bounds.victim_cooldown)
    }

    /// Forgets what is over. When the clock goes back, what was done counts as done now: it is remembered for longer than
    /// need be, and never for ever.
    fn go_on(&mut self, now: Duration) {
        if now < self.now {
            self.repairs.iter_mut().for_each(|at| *at = now.min(*at));
            self.signalled.iter_mut().for_each(|(at, _)| *at = now.min(*at));
            self.struck.values_mut().for_each(|at| *at = now.min(*at));
        }
        self.now = now;
        while self.repairs.front().is_some_and(|at| now - *at >= WINDOW) {
            self.repairs.pop_front();
        }
        while self.signalled.front().is_some_and(|(at, _)| now - *at >= WINDOW) {
            self.signalled.pop_front();
        }
        let cooldown = self.bounds.victim_cooldown;
        self.struck.retain(|_, at| now - *at < cooldown);
    }
}

/// What a repair counts for. Who is struck by several of its commands is a victim once.
fn total(wanted: &[Wanted], counts: &[u64]) -> u64 {
    let victims: HashSet<Victim> = wanted.iter().filter_map(|wanted| wanted.victim).collect();
    let counted = || wanted.iter().zip(counts);
    let most = |victim: &Victim| {
        let of_it = counted().filter(|(wanted, _)| wanted.victim.as_ref() == Some(victim));
        of_it.map(|(_, count)| *count).max().unwrap_or(0)
    };
    victims.iter().map(most).fold(0, u64::saturating_add)
}

/// What a command counts for: its healer's own bound may be below what matches.
fn bounded_count(wanted: &Wanted) -> u64 {
    if wanted.most == 0 { wanted.count } else { wanted.count.min(wanted.most) }
}
