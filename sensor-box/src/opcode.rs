//! What a monitor can ask of a target.

use crate::command::Refusal;
use crate::numbered::numbered;

numbered! {
    /// What a monitor can ask of a target. Nothing else is obeyed.
    Opcode {
        /// Do nothing; the acknowledgement shows that commands are obeyed.
        Nothing = 1 "nothing",
        /// SIGKILL one process.
        KillProcess = 2 "kill-process",
        /// SIGKILL every process of a user, until none is left.
        KillUser = 3 "kill-user",
        /// SIGKILL a process and all its descendants, until none is left.
        KillTree = 4 "kill-tree",
        /// SIGKILL every process of a control group, not of those below it, until none is left.
        KillCgroup = 5 "kill-cgroup",
        /// Send one process the [`Signal`] that the argument names.
        SignalProcess = 6 "signal-process",
        /// Send each process of a user that signal, once.
        SignalUser = 7 "signal-user",
        /// Send a process and each of its descendants that signal, once.
        SignalTree = 8 "signal-tree",
        /// Send each process of a control group that signal, once.
        SignalCgroup = 9 "signal-cgroup",
        /// Stop a control group and all below it, with whatever it will start (cgroup v2, `cgroup.freeze`).
        FreezeCgroup = 10 "freeze-cgroup",
        /// Have a frozen control group go on.
        ThawCgroup = 11 "thaw-cgroup",
        /// Give a process the nice value that the argument is.
        SetPriority = 12 "set-priority",
        /// Have forks of a user fail for so many nanoseconds as the argument is; 0: no longer.
        RefuseForks = 13 "refuse-forks",
        /// Write the argument to a variable that the target's owner offers.
        SetVariable = 14 "set-variable",
        /// Call a hook of an application with the argument.
        CallHook = 15 "call-hook",
    }
}

/// What the subject of a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// There is none.
    Nothing,
    /// The id of a process, and its start.
    Process,
    /// The id of a user.
    User,
    /// The id of the process at the root, and its start.
    Tree,
    /// The id of a control group, as [`crate::Process::cgroup`] has it.
    Cgroup,
    /// The place of a variable in the target's table of variables.
    Variable,
    /// The place of the application in the high half, that of its hook in the low one; and the application's generation.
    Hook,
}

impl Opcode {
    /// What its subject is.
    #[must_use]
    pub fn subject(self) -> Subject {
        match self {
            Opcode::Nothing => Subject::Nothing,
            Opcode::KillProcess | Opcode::SignalProcess | Opcode::SetPriority => Subject::Process,
            Opcode::KillUser | Opcode::SignalUser | Opcode::RefuseForks => Subject::User,
            Opcode::KillTree | Opcode::SignalTree => Subject::Tree,
            Opcode::KillCgroup | Opcode::SignalCgroup | Opcode::FreezeCgroup | Opcode::ThawCgroup => {
                Subject::Cgroup
            }
            Opcode::SetVariable => Subject::Variable,
            Opcode::CallHook => Subject::Hook,
        }
    }

    /// Whether it pursues processes until none of those it means is left.
    #[must_use]
    pub fn kills(self) -> bool {
        matches!(self, Opcode::KillProcess | Opcode::KillUser | Opcode::KillTree | Opcode::KillCgroup)
    }

    /// Whether it sends each process that it means a signal of the monitor's choice.
    #[must_use]
    pub fn signals(self) -> bool {
        matches!(self, Opcode::SignalProcess | Opcode::SignalUser | Opcode::SignalTree | Opcode::SignalCgroup)
    }

    /// Whether it takes time: processes are looked for, by [`Opcode::kills`] or [`Opcode::signals`].
    #[must_use]
    pub fn sweeps(self) -> bool {
        self.kills() || self.signals()
    }

    /// Whether a command may have this argument. The kernel half's rules are the same (`target-agent/bpf/commands.h`).
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check_argument(self, argument: u64) -> Result<(), Refusal> {
        let most = match self {
            _ if self.signals() => {
                let known = u32::try_from(argument).ok().and_then(Signal::from_number);
                return known.map(drop).ok_or(Refusal::NotASignal);
            }
            Opcode::SetPriority => MOST_NICE,
            Opcode::RefuseForks => MOST_REFUSED,
            _ => u64::MAX,
        };
        if argument > most { Err(Refusal::OutOfRange) } else { Ok(()) }
    }

    /// Whether the user half of the agent carries it out, because the kernel half has no way to.
    #[must_use]
    pub fn is_errand(self) -> bool {
        matches!(
            self,
            Opcode::FreezeCgroup
                | Opcode::ThawCgroup
                | Opcode::SetPriority
                | Opcode::SetVariable
                | Opcode::CallHook
        )
    }
}

numbered! {
    /// Signals that a command may send, by their numbers on Linux. SIGKILL is not among them: that is what commands are
    /// for whose victims are pursued.
    Signal {
        /// Hang up; many services read their configuration again.
        Hup = 1 "HUP",
        /// Interrupt.
        Int = 2 "INT",
        /// Quit, with a core dump.
        Quit = 3 "QUIT",
        /// Abort, with a core dump.
        Abrt = 6 "ABRT",
        /// The program's own.
        Usr1 = 10 "USR1",
        /// The program's own.
        Usr2 = 12 "USR2",
        /// Please end.
        Term = 15 "TERM",
        /// Go on after a stop.
        Cont = 18 "CONT",
        /// Stop; no program can prevent it.
        Stop = 19 "STOP",
    }
}

impl Signal {
    /// A bit for the number of each.
    #[must_use]
    pub fn bits() -> u64 {
        Signal::ALL.iter().fold(0, |bits, (signal, _)| bits | 1 << *signal as u32)
    }
}

/// Largest nice value a command may give; the smallest is 0, so that none makes a process more urgent.
pub const MOST_NICE: u64 = 19;
/// Longest time that a command may have forks refused, nanoseconds.
pub const MOST_REFUSED: u64 = 600_000_000_000;

/// A set of opcodes, a bit for each number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opcodes(u64);

impl Opcodes {
    /// The set of these bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Opcodes {
        Opcodes(bits)
    }

    /// A bit for each number.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether the opcode is one of them.
    #[must_use]
    pub const fn has(self, opcode: Opcode) -> bool {
        self.0 & 1 << opcode as u32 != 0
    }
}

impl FromIterator<Opcode> for Opcodes {
    fn from_iter<I: IntoIterator<Item = Opcode>>(opcodes: I) -> Opcodes {
        Opcodes(opcodes.into_iter().fold(0, |bits, opcode| bits | 1 << opcode as u32))
    }
}
