//! The last look at a repair that a healer proposed, before it may be written. The target checks every command
//! once more; here it is about plug-ins that err, and about whom this monitor is told to spare.

mod spare;

pub use spare::{BadName, Spare};

use crate::victim::{Victim, matching};
use backdoors_healers::{Repair, registration};
use backdoors_sensor_box::layout::ProcessFlags;
use backdoors_sensor_box::{Command, Opcode, ProcessView, Refusal, Subject};
use std::collections::HashSet;

/// Why a healer's repair is not carried out. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// It has no command, or too many.
    #[error("it has {0} commands, and a repair has 1 to {most}; nothing was written", most = Repair::MOST)]
    Length(usize),
    /// It names a victim twice for the same.
    #[error("it strikes {0} twice with the same command; nothing was written")]
    Twice(Victim),
    /// The healer has no business with it.
    #[error("{0} is not among what this healer may do (`backdoors healers`); nothing was written")]
    MayNot(Opcode),
    /// The target would refuse it.
    #[error("{0} has an argument that is {1}; nothing was written")]
    Argument(Opcode, Refusal),
    /// Root's processes are the machine.
    #[error("it would strike all of root's processes; nothing was written")]
    Root,
    /// Process 1 is the machine.
    #[error("it would strike process 1 or its descendants; nothing was written")]
    Init,
    /// The named process is no culprit a healer may name.
    #[error("process {0} is a kernel thread or the agent itself; nothing was written")]
    Untouchable(u32),
    /// Killing a process by number alone might hit another one by now.
    #[error("process {0} is not in the process table, or started at another time; nothing was written")]
    Unknown(u32),
    /// It is all over.
    #[error("{0} has no process in the process table that a command may reach; nothing was written")]
    NoProcess(Victim),
    /// The root control group is the machine.
    #[error("it is about the root control group; nothing was written")]
    RootCgroup,
    /// It would strike a user who is to be spared.
    #[error("user {0} is on the spare list (`spare.users`); nothing was written")]
    SparedUser(u32),
    /// It would strike a process that is to be spared.
    #[error("{victim} includes process {pid} {command}, which is on the spare list; nothing was written")]
    SparedProcess {
        /// Whom it would strike.
        victim: Victim,
        /// The process.
        pid: u32,
        /// Its command.
        command: String,
    },
}

/// Checks that the commands are among those that the healer of this name may order. Programs may order all.
///
/// # Errors
/// [`Unsafe::MayNot`].
pub fn check_may(healer: &str, commands: &[Command]) -> Result<(), Unsafe> {
    let Some(registered) = registration(healer) else { return Ok(()) };
    match commands.iter().find(|command| !registered.may.contains(&command.opcode)) {
        Some(command) => Err(Unsafe::MayNot(command.opcode)),
        None => Ok(()),
    }
}

/// Checks the commands of a healer against the process table.
///
/// # Errors
/// See [`Unsafe`].
pub fn check(commands: &[Command], processes: &ProcessView, spare: &Spare) -> Result<(), Unsafe> {
    if !(1..=Repair::MOST).contains(&commands.len()) {
        return Err(Unsafe::Length(commands.len()));
    }
    let mut struck = HashSet::new();
    for command in commands {
        check_one(command, processes)?;
        let Some(victim) = Victim::of(command) else { continue };
        if !struck.insert((victim, command.opcode)) {
            return Err(Unsafe::Twice(victim));
        }
        check_spared(command, victim, processes, spare)?;
    }
    Ok(())
}

/// Checks that commands which passed [`check`] a while ago strike nobody by now who is to be spared.
///
/// # Errors
/// [`Unsafe::SparedUser`] or [`Unsafe::SparedProcess`].
pub fn check_again<'a>(
    commands: impl IntoIterator<Item = &'a Command>,
    processes: &ProcessView,
    spare: &Spare,
) -> Result<(), Unsafe> {
    let mut victims = commands.into_iter().filter_map(|command| Some((command, Victim::of(command)?)));
    victims.try_for_each(|(command, victim)| check_spared(command, victim, processes, spare))
}

fn check_one(command: &Command, processes: &ProcessView) -> Result<(), Unsafe> {
    let id = command.id();
    let wrong = |refusal| Unsafe::Argument(command.opcode, refusal);
    command.opcode.check_argument(command.argument).map_err(wrong)?;
    match command.opcode.subject() {
        Subject::Nothing | Subject::Variable | Subject::Hook => Ok(()),
        Subject::User if id == 0 => Err(Unsafe::Root),
        Subject::User => match matching(command, processes).next() {
            Some(_) => Ok(()),
            None => Err(Unsafe::NoProcess(Victim::User(id))),
        },
        Subject::Cgroup if command.subject <= 1 => Err(Unsafe::RootCgroup),
        Subject::Cgroup => match matching(command, processes).next() {
            Some(_) => Ok(()),
            None => Err(Unsafe::NoProcess(Victim::Cgroup(command.subject))),
        },
        Subject::Process | Subject::Tree => {
            if id <= 1 {
                return Err(Unsafe::Init);
            }
            let process = processes
                .processes
                .iter()
                .find(|process| process.pid == id && process.start == command.start)
                .ok_or(Unsafe::Unknown(id))?;
            if process.flags & (ProcessFlags::KERNEL | ProcessFlags::PROTECTED) != 0 {
                return Err(Unsafe::Untouchable(process.pid));
            }
            Ok(())
        }
    }
}

fn check_spared(
    command: &Command,
    victim: Victim,
    processes: &ProcessView,
    spare: &Spare,
) -> Result<(), Unsafe> {
    if let Victim::User(user) = victim
        && spare.user(user)
    {
        return Err(Unsafe::SparedUser(user));
    }
    match matching(command, processes).find(|process| spare.process(process)) {
        Some(process) => {
            Err(Unsafe::SparedProcess { victim, pid: process.pid, command: process.command.clone() })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
