//! What the kernel half judges and has no way to do: the user half carries it out, and says what became of it.
//!
//! The helper does so for control groups, priorities and variables, because it is real-time and its memory is locked; the
//! agent for applications' hooks, because they are attached to it.

mod cgroup;
mod desk;
mod priority;
mod variable;

pub use cgroup::Hierarchy;
pub use desk::Desk;
pub use variable::{VariableConfig, VariableError, Watched};

use backdoors_sensor_box::{Opcode, Refusal};

/// A command to carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errand {
    /// What to do.
    pub opcode: Opcode,
    /// Whom or what it is about, as [`Opcode::subject`] says.
    pub subject: u64,
    /// Start of the process, or generation of the application.
    pub start: u64,
    /// The opcode's argument.
    pub argument: u64,
}

/// Why an errand was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undone {
    /// It must not or cannot be; nothing was changed.
    Refused(Refusal),
    /// It was tried; this is what the system or the application said.
    Failed(u64),
}

impl From<Refusal> for Undone {
    fn from(refusal: Refusal) -> Undone {
        Undone::Refused(refusal)
    }
}

impl From<std::io::Error> for Undone {
    fn from(error: std::io::Error) -> Undone {
        let number = error.raw_os_error().and_then(|number| u64::try_from(number).ok());
        Undone::Failed(number.unwrap_or(u64::from(Refusal::Failed as u32)))
    }
}

impl From<rustix::io::Errno> for Undone {
    fn from(error: rustix::io::Errno) -> Undone {
        std::io::Error::from(error).into()
    }
}

/// Whom errands must leave alone, and who is who.
pub trait Census {
    /// Whether no command reaches this process, or none reaches its user's.
    ///
    /// # Errors
    /// Why not.
    fn may_reach(&self, pid: u32, user: u32) -> Result<(), Refusal>;
    /// When the process with this id started, if there is one.
    fn start_of(&self, pid: u32) -> Option<u64>;
}

/// What errands work on.
pub struct Means<'m> {
    /// Who is who.
    pub census: &'m dyn Census,
    /// Where control groups are, if anywhere.
    pub hierarchy: Option<&'m Hierarchy>,
    /// The variables that are offered.
    pub variables: &'m backdoors_sensor_box::variables::Variables<crate::words::Words>,
}

impl Means<'_> {
    /// Whether [`Means::carry_out`] does such.
    #[must_use]
    pub fn suffice_for(opcode: Opcode) -> bool {
        opcode.is_errand() && opcode != Opcode::CallHook
    }

    /// Carries an errand out.
    ///
    /// # Errors
    /// See [`Undone`].
    pub fn carry_out(&self, errand: &Errand) -> Result<(), Undone> {
        let Errand { opcode, subject, start, argument } = *errand;
        let freeze = |frozen| {
            let hierarchy = self.hierarchy.ok_or(Refusal::NotPossible)?;
            hierarchy.freeze(subject, frozen, self.census)
        };
        match opcode {
            Opcode::FreezeCgroup => freeze(true),
            Opcode::ThawCgroup => freeze(false),
            Opcode::SetPriority => priority::set(subject, start, argument, self.census),
            Opcode::SetVariable => variable::set(subject, argument, self.variables),
            _ => Err(Refusal::NotPossible.into()),
        }
    }
}
