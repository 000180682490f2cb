//! Where the dashboard's news come from.

use crate::hold::Hold;
use backdoors_monitor_api::{
    Event, ProcessesAnswer, ProposalRow, SensorsAnswer, SessionRow, TargetSummary, VerdictsAnswer,
};

/// What the screen wants to be told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wish {
    /// All targets.
    Fleet,
    /// Sensors and verdicts of a target.
    Sensors(String),
    /// Its processes.
    Processes(String),
    /// Its live sessions.
    Sessions(String),
    /// What its healers propose.
    Proposals(String),
    /// What the journal has of it.
    History(String),
}

impl Wish {
    /// The target it is about.
    #[must_use]
    pub fn target(&self) -> Option<&String> {
        match self {
            Wish::Fleet => None,
            Wish::Sensors(target)
            | Wish::Processes(target)
            | Wish::Sessions(target)
            | Wish::Proposals(target)
            | Wish::History(target) => Some(target),
        }
    }
}

/// What is told.
#[derive(Clone, Debug)]
pub enum Told {
    /// All targets.
    Fleet(Vec<TargetSummary>),
    /// Sensors and verdicts of a target.
    Sensors(Box<SensorsAnswer>, Box<VerdictsAnswer>),
    /// Its processes.
    Processes(ProcessesAnswer),
    /// Its live sessions.
    Sessions(Vec<SessionRow>),
    /// What its healers propose.
    Proposals(Vec<ProposalRow>),
    /// What the journal has of it, oldest first.
    History(Vec<Event>),
}

/// Why something is not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is nobody to ask.
    Gone(String),
    /// That cannot be told, of a target that is still there or not.
    Failed(String),
}

/// Whom to ask. It may take its time: it is asked by a thread of its own.
pub trait Source: Send {
    /// Fulfils a wish.
    ///
    /// # Errors
    /// See [`Refused`].
    fn ask(&mut self, wish: &Wish) -> Result<Told, Refused>;

    /// What holds it still, if what it tells is of the past, so that nothing can be done about it.
    fn recording(&self) -> Option<Hold> {
        None
    }
}
