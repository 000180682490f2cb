//! The last look at a repair that a healer proposed, before it may be written. The target checks every command
//! once more; here it is about plug-ins that err.

use backdoors_sensor_box::layout::ProcessFlags;
use backdoors_sensor_box::{Command, Opcode, ProcessView};

/// Why an automatic repair is not carried out. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// Root's processes are the machine.
    #[error("it would kill all of root's processes; nothing was written")]
    Root,
    /// Process 1 is the machine.
    #[error("it would kill process 1 or its descendants; nothing was written")]
    Init,
    /// The named process is no culprit a healer may name.
    #[error("process {0} is a kernel thread or the agent itself; nothing was written")]
    Untouchable(u32),
    /// Killing a process by number alone might hit another one by now.
    #[error("process {0} is not in the process table, or started at another time; nothing was written")]
    Unknown(u32),
}

/// Checks a command that no human has seen against the process table it was derived from.
///
/// # Errors
/// See [`Unsafe`].
pub fn check(command: &Command, processes: &ProcessView) -> Result<(), Unsafe> {
    match command.opcode {
        Opcode::Nothing => Ok(()),
        Opcode::KillUser if command.subject == 0 => Err(Unsafe::Root),
        Opcode::KillUser => Ok(()),
        Opcode::KillProcess | Opcode::KillTree => {
            if command.subject <= 1 {
                return Err(Unsafe::Init);
            }
            let process = processes
                .processes
                .iter()
                .find(|process| process.pid == command.subject && process.start == command.start)
                .ok_or(Unsafe::Unknown(command.subject))?;
            if process.flags & (ProcessFlags::KERNEL | ProcessFlags::PROTECTED) != 0 {
                return Err(Unsafe::Untouchable(process.pid));
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backdoors_sensor_box::Process;

    fn table() -> ProcessView {
        let process = |pid, flags| Process {
            pid,
            parent: 1,
            user: 1000,
            depth: 1,
            flags,
            start: 70,
            rss: 0,
            cpu_time: 0,
            command: "x".into(),
            ..Process::default()
        };
        let processes = vec![
            process(1, 0),
            process(5, 0),
            process(6, ProcessFlags::KERNEL),
            process(7, ProcessFlags::PROTECTED),
        ];
        ProcessView { processes, ..ProcessView::default() }
    }

    fn kill(opcode: Opcode, subject: u32, start: u64) -> Result<(), Unsafe> {
        check(&Command { opcode, subject, start, most_victims: 0, dry_run: false }, &table())
    }

    #[test]
    fn a_known_process_or_a_user_may_be_killed() {
        assert_eq!(kill(Opcode::KillProcess, 5, 70), Ok(()));
        assert_eq!(kill(Opcode::KillTree, 5, 70), Ok(()));
        assert_eq!(kill(Opcode::KillUser, 1000, 0), Ok(()));
    }

    #[test]
    fn the_pillars_of_the_machine_are_never_killed() {
        assert_eq!(kill(Opcode::KillUser, 0, 0), Err(Unsafe::Root));
        for opcode in [Opcode::KillProcess, Opcode::KillTree] {
            assert_eq!(kill(opcode, 0, 0), Err(Unsafe::Init));
            assert_eq!(kill(opcode, 1, 70), Err(Unsafe::Init));
            assert_eq!(kill(opcode, 6, 70), Err(Unsafe::Untouchable(6)));
            assert_eq!(kill(opcode, 7, 70), Err(Unsafe::Untouchable(7)));
        }
    }

    #[test]
    fn a_process_is_killed_only_with_its_start_time() {
        assert_eq!(kill(Opcode::KillProcess, 5, 0), Err(Unsafe::Unknown(5)));
        assert_eq!(kill(Opcode::KillProcess, 5, 71), Err(Unsafe::Unknown(5)));
        assert_eq!(kill(Opcode::KillTree, 8, 70), Err(Unsafe::Unknown(8)));
    }
}
