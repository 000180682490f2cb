//! Commands, their states and the reasons for refusing them.

use crate::authentication::Seal;
use crate::layout::{CommandFlags, CommandSlot, REASON_BYTES};
use crate::lease::Token;
use crate::numbered::numbered;
use crate::opcode::Opcode;
use zerocopy::IntoBytes;

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
        /// The argument is not a [`crate::Signal`].
        NotASignal = 19 "not a signal that commands may send",
        /// No such control group.
        NoSuchCgroup = 20 "no such control group",
        /// Control group 1, or one that Backdoors is part of.
        RootCgroup = 21 "the root control group",
        /// The argument is more, or less, than it may be.
        OutOfRange = 22 "a value out of its range",
        /// No variable or hook has that number.
        NotOffered = 23 "the target offers nothing under that number",
        /// The target has no way to do that.
        NotPossible = 24 "this target has no way to do that",
        /// It was handed to the user half of the agent, and nobody there has carried it out.
        NotCarriedOut = 25 "the agent's user half did not carry it out in time",
        /// It was tried. [`crate::AcknowledgementView::failure`] is what the system or the application said.
        Failed = 26 "it was tried and failed",
        /// An earlier call of the application has not been answered yet.
        Busy = 27 "busy with an earlier call",
    }
}

/// A command as a monitor means it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// What to do.
    pub opcode: Opcode,
    /// Whom or what it is about, as [`Opcode::subject`] says.
    pub subject: u64,
    /// Start time of the process meant, nanoseconds; or the application's generation. 0: whichever has that id.
    pub start: u64,
    /// Most processes to signal; 0: no bound.
    pub most_victims: u64,
    /// What the opcode needs besides; see there.
    pub argument: u64,
    /// Match and count only.
    pub dry_run: bool,
}

/// As much of a command's reason as a slot has room for.
fn reason_bytes(reason: &str) -> [u8; REASON_BYTES] {
    let mut bytes = [0; REASON_BYTES];
    let most = REASON_BYTES.min(reason.len());
    let length = (0..=most).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    bytes[..length].copy_from_slice(&reason.as_bytes()[..length]);
    bytes
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
    /// The command that does nothing.
    pub const NOTHING: Command = Command {
        opcode: Opcode::Nothing,
        subject: 0,
        start: 0,
        most_victims: 0,
        argument: 0,
        dry_run: false,
    };

    /// A command about `subject`, as [`Opcode::subject`] says, which has no start, bound or argument.
    #[must_use]
    pub const fn new(opcode: Opcode, subject: u64) -> Command {
        Command { opcode, subject, ..Command::NOTHING }
    }

    /// A command about a process, or the tree below it.
    #[must_use]
    pub const fn of_process(opcode: Opcode, pid: u32, start: u64) -> Command {
        Command { opcode, subject: pid as u64, start, ..Command::NOTHING }
    }

    /// The subject as the id of a process or user; one that is too large for either is nobody's.
    #[must_use]
    pub fn id(&self) -> u32 {
        u32::try_from(self.subject).unwrap_or(u32::MAX)
    }

    /// The bytes that give this command the number `sequence`, by right of the lease that `token` is of, in the slot that
    /// `seal` is for, with as much of its `reason` as there is room for.
    #[must_use]
    pub fn encode(&self, sequence: u64, token: Token, seal: &Seal, reason: &str) -> EncodedCommand {
        self.encoded(sequence, token.word(), 0, seal, reason)
    }

    /// The bytes of a vote for this command, under the number `sequence`.
    #[must_use]
    pub fn encode_vote(&self, sequence: u64, seal: &Seal, reason: &str) -> EncodedCommand {
        self.encoded(sequence, 0, CommandFlags::VOTE, seal, reason)
    }

    fn encoded(&self, sequence: u64, token: u64, flags: u32, seal: &Seal, reason: &str) -> EncodedCommand {
        let slot = seal.put_on(CommandSlot {
            opcode: self.opcode as u32,
            flags: flags | if self.dry_run { CommandFlags::DRY_RUN } else { 0 },
            subject: self.subject,
            start: self.start,
            most_victims: self.most_victims,
            argument: self.argument,
            token,
            mac: [0; 2],
            reason: reason_bytes(reason),
            sequence,
        });
        let mut encoded = EncodedCommand {
            body: [0; EncodedCommand::SEQUENCE_OFFSET as usize],
            sequence: sequence.to_le_bytes(),
        };
        let length = encoded.body.len();
        encoded.body.copy_from_slice(&slot.as_bytes()[..length]);
        encoded
    }
}
