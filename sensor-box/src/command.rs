//! Commands, their states and the reasons for refusing them.

use crate::authentication::Seal;
use crate::layout::{CommandFlags, CommandSlot};
use crate::lease::Token;
use zerocopy::IntoBytes;

macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $number:literal $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum $name { $($(#[$variant_meta])* $variant = $number,)* }
        impl $name {
            /// Every variant, with the name screens show.
            pub const ALL: &'static [($name, &'static str)] = &[$(($name::$variant, $text),)*];
            /// The variant with this number, if this version knows it.
            #[must_use]
            pub fn from_number(number: u32) -> Option<$name> {
                match number { $($number => Some($name::$variant),)* _ => None }
            }
            /// The name screens show.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
        impl core::fmt::Display for $name {
            fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                formatter.write_str(self.name())
            }
        }
    };
}

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
    }
}

numbered! {
    /// How far a command is.
    CommandState {
        /// No command was ever given.
        Idle = 0 "idle",
        /// Accepted; sweeps go on.
        Running = 1 "running",
        /// Ended: nothing that matches is alive (or, for a dry run, all was counted).
        Done = 2 "done",
        /// Not obeyed; the reason says why. Nothing was signalled.
        Refused = 3 "refused",
        /// Given up: matching processes are alive that cannot be killed, or the bound on victims was reached.
        GaveUp = 4 "gave-up",
        /// Not obeyed yet: so many monitors must want it that not all have said so. `matched` tells how many have.
        Awaiting = 8 "awaiting",
        /// It was a vote, and counts as one.
        Voted = 9 "voted",
    }
}

numbered! {
    /// Why a command was refused.
    Refusal {
        /// It was not.
        None = 0 "none",
        /// The sequence is not one more than the last accepted.
        StaleSequence = 1 "stale sequence",
        /// No such opcode.
        UnknownOpcode = 2 "unknown opcode",
        /// Process 1, or the first process of the box's scope.
        InitProcess = 3 "the init process",
        /// A kernel thread.
        KernelThread = 4 "a kernel thread",
        /// Part of Backdoors on the target.
        Protected = 5 "the agent itself",
        /// A user on the target's spare list.
        SparedUser = 6 "a spared user",
        /// No such process.
        NoSuchProcess = 7 "no such process",
        /// A process with this id is alive, but it started at another time.
        OtherProcess = 8 "another process has that id now",
        /// The command's token is not that of the lease, or the lease is another slot's. Also why a command was given
        /// up that was running when another monitor took the lease.
        NotTheHolder = 9 "not the lease holder",
        /// Its code is not the one that the slot's key makes of it. It was not judged: its number is not used up.
        NotAuthentic = 16 "not authentic: the key is another one, or the command was altered",
        /// The target's configuration does not let this monitor do that.
        NotAllowed = 17 "the target does not allow this monitor to do that",
        /// Fewer monitors wanted it than must, until the window was over. `matched` tells how many did.
        NoAgreement = 18 "too few monitors wanted the same in time",
    }
}

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

/// A command as a monitor means it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// What to do.
    pub opcode: Opcode,
    /// Process id or user id, by opcode.
    pub subject: u32,
    /// Start time of the process meant, nanoseconds; 0: whichever has that id.
    pub start: u64,
    /// Most processes to signal; 0: no bound.
    pub most_victims: u64,
    /// Match and count only.
    pub dry_run: bool,
}

/// A command as bytes of a slot: two writes, in this order, in one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodedCommand {
    /// For offset 0 of the slot.
    pub body: [u8; EncodedCommand::SEQUENCE_OFFSET as usize],
    /// For offset [`EncodedCommand::SEQUENCE_OFFSET`].
    pub sequence: [u8; 8],
}

impl EncodedCommand {
    /// Where in the slot the sequence word is.
    pub const SEQUENCE_OFFSET: u64 = core::mem::offset_of!(CommandSlot, sequence) as u64;
}

impl Command {
    /// The bytes that give this command the number `sequence`, by right of the lease that `token` is of, in the slot that
    /// `seal` is for.
    #[must_use]
    pub fn encode(&self, sequence: u64, token: Token, seal: &Seal) -> EncodedCommand {
        self.encoded(sequence, token.word(), 0, seal)
    }

    /// The bytes of a vote for this command, under the number `sequence`.
    #[must_use]
    pub fn encode_vote(&self, sequence: u64, seal: &Seal) -> EncodedCommand {
        self.encoded(sequence, 0, CommandFlags::VOTE, seal)
    }

    fn encoded(&self, sequence: u64, token: u64, flags: u32, seal: &Seal) -> EncodedCommand {
        let slot = seal.put_on(CommandSlot {
            opcode: self.opcode as u32,
            flags: flags | if self.dry_run { CommandFlags::DRY_RUN } else { 0 },
            subject: u64::from(self.subject),
            start: self.start,
            most_victims: self.most_victims,
            token,
            mac: [0; 2],
            sequence,
        });
        let mut encoded = EncodedCommand { body: [0; 56], sequence: sequence.to_le_bytes() };
        let length = encoded.body.len();
        encoded.body.copy_from_slice(&slot.as_bytes()[..length]);
        encoded
    }
}
