//! What can be done from the dashboard, and what is asked before.

use backdoors_monitor_api::{
    FenceAnswer, FenceDeed, HealAnswer, HealDeed, HealOutcome, HealSubject, ProposalRow, Query, Report,
};

/// Something to be done to a target.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Kill processes.
    Kill {
        /// The target.
        target: String,
        /// Whom.
        subject: HealSubject,
        /// Whom, for people.
        whom: String,
    },
    /// Carry a proposal out.
    Approve {
        /// The proposal.
        proposal: Box<ProposalRow>,
    },
    /// Close a proposal.
    Reject {
        /// The proposal.
        proposal: Box<ProposalRow>,
    },
    /// Have the target send nothing from its service addresses.
    Fence {
        /// The target.
        target: String,
    },
    /// Fence the target, and have its live sessions go on at the monitor's machine.
    Recover {
        /// The target.
        target: String,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// As asked.
    Done(String),
    /// Sessions were to be recovered.
    Recovered(Report),
    /// Not as asked.
    Failed(String),
}

impl Action {
    /// The request.
    #[must_use]
    pub fn query(&self, dry_run: bool) -> Query {
        match self {
            Action::Kill { target, subject, .. } => Query::Heal {
                target: target.clone(),
                subject: subject.clone(),
                deed: HealDeed::Kill,
                grace_ns: 0,
                dry_run,
                most_victims: 0,
            },
            Action::Approve { proposal } => {
                Query::Approve { target: proposal.target.clone(), id: proposal.id, dry_run }
            }
            Action::Reject { proposal } => Query::Reject { target: proposal.target.clone(), id: proposal.id },
            Action::Fence { target } => {
                let deed = if dry_run { FenceDeed::Look } else { FenceDeed::Set };
                Query::Fence { target: target.clone(), deed }
            }
            Action::Recover { target } => {
                Query::Recover { target: target.clone(), dry_run, without_fence: false, after_another: false }
            }
        }
    }

    /// Whether it can be tried without doing anything.
    #[must_use]
    pub fn can_be_tried(&self) -> bool {
        !matches!(self, Action::Reject { .. })
    }

    /// What will happen, for people.
    #[must_use]
    pub fn consequences(&self) -> Vec<String> {
        match self {
            Action::Kill { target, whom, .. } => vec![
                format!("Kill {whom} on {target}."),
                "The target's kernel sends SIGKILL, at once and without notice.".to_owned(),
            ],
            Action::Approve { proposal } => {
                let mut lines =
                    vec![format!("Have done on {} what {} proposes:", proposal.target, proposal.healer)];
                lines.extend(proposal.orders.iter().map(|order| format!("  {order}")));
                lines.push(format!("It blames {}; {} to strike.", proposal.culprit, proposal.victims));
                lines
            }
            Action::Reject { proposal } => vec![
                format!("Close proposal {} of {} for {}.", proposal.id, proposal.healer, proposal.target),
                "Nothing is done, and the same is not proposed again for a while.".to_owned(),
            ],
            Action::Fence { target } => vec![
                format!("Fence {target}: from then on it sends nothing from its service addresses."),
                "Its clients hear nothing more, and no other machine takes over.".to_owned(),
                format!("`backdoors fence {target} --lift` has it send again."),
            ],
            Action::Recover { target } => vec![
                format!("Take over the services of {target}:"),
                "  1. fence it: from then on it sends nothing from its service addresses,".to_owned(),
                "  2. pull its live sessions out of its memory,".to_owned(),
                "  3. rebuild them on the monitor's machine, and announce the addresses there.".to_owned(),
                "The target does not get them back by itself.".to_owned(),
            ],
        }
    }

    /// The same on the command line.
    #[must_use]
    pub fn command_line(&self) -> String {
        match self {
            Action::Kill { target, subject, .. } => match subject {
                HealSubject::User(user) => format!("backdoors heal {target} --uid {user}"),
                HealSubject::Process(pid) => format!("backdoors heal {target} --pid {pid}"),
                HealSubject::Tree(pid) => format!("backdoors heal {target} --tree {pid}"),
                HealSubject::Cgroup(group) => format!("backdoors heal {target} --cgroup {group}"),
                HealSubject::Variable(_) | HealSubject::Hook { .. } => format!("backdoors offers {target}"),
            },
            Action::Approve { proposal } => format!("backdoors approve {} {}", proposal.target, proposal.id),
            Action::Reject { proposal } => format!("backdoors reject {} {}", proposal.target, proposal.id),
            Action::Fence { target } => format!("backdoors fence {target}"),
            Action::Recover { target } => format!("backdoors recover {target}"),
        }
    }
}

impl Outcome {
    /// Of a fence.
    #[must_use]
    pub fn of_fence(answer: &FenceAnswer) -> Outcome {
        let addresses: Vec<String> = answer.addresses.iter().map(ToString::to_string).collect();
        let addresses = addresses.join(", ");
        match &answer.would_not_hold {
            _ if answer.is_fenced() => Outcome::Done(format!("fenced: it sends nothing from {addresses}")),
            None => Outcome::Done(format!("a fence would hold, for {addresses}; there is none")),
            Some(reason) => Outcome::Failed(format!("a fence would not hold: {reason}")),
        }
    }

    /// Of a repair.
    #[must_use]
    pub fn of_repair(answer: &HealAnswer) -> Outcome {
        let reason = answer.telling.reason.clone().unwrap_or_default();
        if answer.telling.outcome != HealOutcome::Done {
            let name = match answer.telling.outcome {
                HealOutcome::Done => "done",
                HealOutcome::Voted => "counts as a vote",
                HealOutcome::Refused => "refused",
                HealOutcome::GaveUp => "given up",
                HealOutcome::TimedOut => "no end in time",
                HealOutcome::Unreachable => "the target cannot be reached",
                HealOutcome::Unknown => "nobody can tell",
            };
            return Outcome::Failed(format!("{name}: {reason}"));
        }
        let matched = answer.telling.end.map_or(answer.matching as u64, |end| u64::from(end.matched));
        Outcome::Done(match (answer.dry_run, reason.is_empty()) {
            (true, _) => format!("{matched} would be struck, nobody was"),
            (false, true) => format!("done: {matched} matched, in {}", crate::units::time(answer.took_ns)),
            (false, false) => format!("done: {reason}"),
        })
    }
}
