//! What a healer answers.

use backdoors_sensor_box::Command;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Outcome of an examination.
#[derive(Clone, Debug, PartialEq)]
pub enum Diagnosis {
    /// Nobody is to blame, as far as this healer can tell.
    Nothing {
        /// Why, with the numbers that were compared.
        reason: String,
    },
    /// Somebody is.
    Culprit {
        /// Who.
        culprit: Culprit,
        /// Why, most telling first.
        evidence: Vec<Evidence>,
        /// What would put it right.
        repair: Repair,
        /// Processes that the repair would strike, going by the process table of the case.
        victims: u64,
    },
    /// The answer takes its time. It will be there as [`crate::Healer::answer`]; the healer is not called before.
    Later,
    /// The healer itself broke. It rests for its cooldown, as after a culprit.
    Broke {
        /// How, and what may help.
        reason: String,
    },
}

/// Who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum Culprit {
    /// A user, with all of its processes.
    User {
        /// User id.
        user: u32,
    },
    /// One process.
    Process {
        /// Process id.
        pid: u32,
    },
    /// A process and its descendants.
    Tree {
        /// Process id of the root.
        pid: u32,
    },
    /// A control group, with all of its processes.
    Cgroup {
        /// Its id, as the process table has it.
        id: u64,
    },
}

impl fmt::Display for Culprit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Culprit::User { user } => write!(formatter, "user {user}"),
            Culprit::Process { pid } => write!(formatter, "process {pid}"),
            Culprit::Tree { pid } => write!(formatter, "process {pid} and its descendants"),
            Culprit::Cgroup { id } => write!(formatter, "control group {id}"),
        }
    }
}

/// One observation that speaks against the culprit.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Evidence {
    /// What was looked at: the policy or the measure.
    pub name: Cow<'static, str>,
    /// A sentence with the numbers.
    pub text: String,
    /// The number observed.
    pub value: u64,
    /// The number it was compared with, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// A proposed repair: commands for the target's kernel half, carried out one after the other. The first that the
/// target does not obey ends it.
///
/// A healer names the smallest set of victims that is enough. What is to come before a kill, such as a signal that
/// lets a victim end by itself, is a command in front of it. With [`backdoors_sensor_box::Opcode::Nothing`] alone there is only
/// the evidence, and nothing is proposed or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// 1 to [`Repair::MOST`] commands. The monitor withholds a repair with none or more.
    pub commands: Vec<Command>,
    /// How long it can wait, as far as the healer can tell: none if it is urgent. Where there is time enough victims are
    /// first asked to end by themselves.
    pub time: Duration,
}

impl Repair {
    /// Most commands of one repair.
    pub const MOST: usize = 32;

    /// A repair that can wait.
    #[must_use]
    pub fn new(commands: Vec<Command>) -> Repair {
        Repair { commands, time: Duration::MAX }
    }

    /// A repair of one command, which can wait.
    #[must_use]
    pub fn one(command: Command) -> Repair {
        Repair::new(vec![command])
    }

    /// The same, which can wait no longer than that.
    #[must_use]
    pub fn within(self, time: Duration) -> Repair {
        Repair { time, ..self }
    }
}
