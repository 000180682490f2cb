//! What is found of one layer, and why, in a form that costs nothing to compare.

use crate::verdict::State;

/// One layer's state, with its reason. The sentences are made of it only when it changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Finding {
    pub state: State,
    pub confidence: f64,
    pub cause: Cause,
}

/// Why a layer is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Nothing was read or tried yet.
    NothingYet,
    /// An outer layer hides it.
    Hidden,
    /// It is read.
    Reads,
    /// The NIC answers with refusals or nonsense.
    Answers,
    /// This monitor could not ask.
    NotAsked,
    /// Probes come back, readings do not.
    Slow,
    /// Others read it, this monitor does not.
    OnlyMe,
    /// Others could not read it either for a while, and can again.
    Back,
    /// Others cannot read it either.
    Nobody,
    /// Nobody serves the memory, says the machine.
    Closed,
    /// Silence, and no second view.
    Alone,
    /// What is read does not move, but was not watched for long enough.
    Learning,
    /// The sensor that would tell is not in the box.
    NoSensor,
    /// The sensor that would tell has no limit that can be judged.
    NoLimit,
    /// The user half fills the box, so it says nothing of this layer.
    UserHalf,
    /// It moves.
    Moves,
    /// Over the limit as it is, but not as this monitor's lateness widens it: nothing new is said.
    Held,
    /// The kernel's timer stands still.
    TimerFrozen,
    /// A busy processor does not tick.
    Stuck,
    /// A processor that may only be idle stands still for very long.
    MaybeStuck,
    /// The heartbeat stands still, and the agent is there.
    HeartbeatFrozen,
    /// The heartbeat stands still; whether the agent is there is not known.
    HeartbeatUnclear,
    /// A box that the user half fills stands still.
    BoxFrozen,
    /// The agent is dead, so nobody shows whether user space runs.
    AgentDead,
    /// The agent ended just now; another may be starting.
    AgentEnded,
    /// The agent stands still, others run.
    AgentStuck,
    /// So many applications run.
    ApplicationsRun,
    /// An application's sensor stands still while user space runs.
    ApplicationFrozen(usize),
    /// An application's sensor stands still, and so may all of user space.
    ApplicationUnproven(usize),
    /// The agent saw it die.
    ApplicationDied,
    /// It said that it leaves.
    ApplicationLeft,
    /// Nothing of what it shows has a deadline.
    NoProgress,
}

impl Finding {
    pub fn unknown(cause: Cause) -> Finding {
        Finding { state: State::Unknown, confidence: 0.0, cause }
    }

    /// What was said last stays.
    pub fn held() -> Finding {
        Finding { state: State::Unknown, confidence: 0.0, cause: Cause::Held }
    }

    pub fn healthy(confidence: f64, cause: Cause) -> Finding {
        Finding { state: State::Healthy, confidence, cause }
    }

    pub fn suspect(confidence: f64, cause: Cause) -> Finding {
        Finding { state: State::Suspect, confidence, cause }
    }

    pub fn failed(confidence: f64, cause: Cause) -> Finding {
        Finding { state: State::Failed, confidence, cause }
    }
}
