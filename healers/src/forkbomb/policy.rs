//! The three policies of the thesis that tell a fork bomb from honest work.

use super::ForkBomb;
use super::census::{Census, UserCensus};
use crate::Evidence;
use std::cmp::Reverse;
use std::fmt;

/// A policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Policy {
    /// The user with the most processes, if a limit on processes is broken.
    TooManyProcesses,
    /// The user who starts processes faster than the limit.
    RateTooHigh,
    /// The user with the deepest process tree, if it is deeper than the threshold.
    TreeTooDeep,
}

/// What a policy says.
#[derive(Debug)]
pub(super) struct Verdict {
    pub policy: Policy,
    /// Users it blames, the worst first.
    pub suspects: Vec<Suspect>,
    /// Why it blames nobody, should `suspects` be empty.
    pub otherwise: String,
}

#[derive(Debug)]
pub(super) struct Suspect {
    pub user: u32,
    pub evidence: Evidence,
}

impl Policy {
    fn name(self) -> &'static str {
        match self {
            Policy::TooManyProcesses => "too-many-processes",
            Policy::RateTooHigh => "rate-too-high",
            Policy::TreeTooDeep => "tree-too-deep",
        }
    }

    pub(super) fn judge(self, healer: &ForkBomb, census: &Census) -> Verdict {
        let mut users: Vec<(u32, &UserCensus)> = census.users.iter().map(|(&user, of)| (user, of)).collect();
        // Stable, so that equals are judged by user number and the same state gives the same diagnosis.
        users.sort_by_key(|(_, of)| Reverse(self.measure(of)));
        let mut suspects = Vec::new();
        let mut otherwise = None;
        for (user, of) in users {
            let evidence = self.evidence(healer, census, user, of);
            match evidence {
                Ok(evidence) if healer.spares(user) => {
                    otherwise.get_or_insert_with(|| format!("{}, but is spared", evidence.text));
                }
                Ok(evidence) if of.killable == 0 => {
                    otherwise.get_or_insert_with(|| {
                        format!("{}, but has no process in the table that may be killed", evidence.text)
                    });
                }
                Ok(evidence) => suspects.push(Suspect { user, evidence }),
                // The first one not blamed has the highest number, which tells how far from a verdict it was.
                Err(text) => {
                    otherwise.get_or_insert(text);
                }
            }
        }
        let otherwise = otherwise.unwrap_or_else(|| "no user is known".to_owned());
        Verdict { policy: self, suspects, otherwise }
    }

    fn measure(self, of: &UserCensus) -> u64 {
        match self {
            Policy::TooManyProcesses => of.processes,
            Policy::RateTooHigh => of.fork_rate,
            Policy::TreeTooDeep => of.deepest.as_ref().map_or(0, |deepest| u64::from(deepest.depth)),
        }
    }

    /// The evidence against a user, or a sentence why it is none.
    fn evidence(
        self,
        healer: &ForkBomb,
        census: &Census,
        user: u32,
        of: &UserCensus,
    ) -> Result<Evidence, String> {
        let (text, value, limit, broken) = match self {
            Policy::TooManyProcesses => return too_many(healer, census, user, of),
            Policy::RateTooHigh => {
                let (rate, limit) = (of.fork_rate, of.fork_rate_limit);
                let text = format!("user {user} starts {rate} processes/s ({})", Limit(limit));
                (text, rate, limit, limit.is_some_and(|limit| rate > limit))
            }
            Policy::TreeTooDeep => {
                let limit = u64::from(healer.tree_depth);
                match &of.deepest {
                    None => (format!("user {user} has no process in the table"), 0, Some(limit), false),
                    Some(deepest) => {
                        let depth = u64::from(deepest.depth);
                        let text = format!(
                            "user {user} has a process tree {depth} deep, at process {} {} (limit {limit})",
                            deepest.pid, deepest.command
                        );
                        (text, depth, Some(limit), depth > limit)
                    }
                }
            }
        };
        if broken { Ok(Evidence { name: self.name().into(), text, value, limit }) } else { Err(text) }
    }
}

/// The user's own limit, else the machine's if this user makes up enough of it.
fn too_many(healer: &ForkBomb, census: &Census, user: u32, of: &UserCensus) -> Result<Evidence, String> {
    let (processes, total) = (of.processes, census.total);
    let evidence = |limit, text| Evidence {
        name: Policy::TooManyProcesses.name().into(),
        text,
        value: processes,
        limit,
    };
    let has = format!("user {user} has {processes} of {total} processes");
    if of.limit.is_some_and(|limit| processes > limit) {
        return Ok(evidence(of.limit, format!("{has} ({})", Limit(of.limit))));
    }
    if census.limit.is_some_and(|limit| total > limit) {
        // Numbers of processes are far below 2^52.
        let share = processes as f64 / total.max(1) as f64;
        let text = format!("{has} ({} for the machine)", Limit(census.limit));
        if share >= healer.least_share {
            return Ok(evidence(census.limit, text));
        }
        return Err(format!(
            "{text}, too small a share to stand out (least {:.0} %)",
            healer.least_share * 100.0
        ));
    }
    Err(format!("{has} ({}, {} for the machine)", Limit(of.limit), Limit(census.limit)))
}

struct Limit(Option<u64>);

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => write!(formatter, "limit {limit}"),
            None => formatter.write_str("no limit"),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
