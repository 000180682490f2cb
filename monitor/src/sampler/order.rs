//! What others may ask of a sampler.

use crate::config::TargetConfig;
use crate::guard::Unsafe;
use crate::proposals::NotOpen;
use crate::treatment::Ended;
use backdoors_sensor_box::{AuditView, Command, Process, ProcessView, Subject};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// A request to a sampler. Answers go through the channel that comes with it; if nobody listens any more they are
/// dropped.
#[derive(Debug)]
pub enum Request {
    /// Fetch the process table.
    Processes(SyncSender<Result<ProcessView, String>>),
    /// Fetch the audit ring.
    Audit(SyncSender<Result<AuditView, String>>),
    /// Carry out a command or a proposal.
    Order(Order),
    /// Close a proposal, and have it not made again for a while.
    Reject(Rejection),
    /// Give the lease up for good, as soon as no command is under way: this monitor stops.
    Resign,
    /// Take limits, rules, healers and users of this configuration in, as soon as no command is under way.
    Reconfigure(Box<TargetConfig>),
}

/// What somebody ordered.
#[derive(Debug)]
pub struct Order {
    /// What.
    pub wanted: Wanted,
    /// Who ordered it, for the journal.
    pub by: String,
    /// Where the answer goes.
    pub reply: SyncSender<Result<OrderReply, OrderError>>,
}

/// What can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A command. The start time of a process is filled in from the process table.
    Command(Command),
    /// What a healer proposed.
    Proposal {
        /// The proposal's number.
        id: u64,
        /// Match and count only; the proposal stays open.
        dry_run: bool,
    },
}

/// A proposal that somebody does not want.
#[derive(Debug)]
pub struct Rejection {
    /// The proposal's number.
    pub id: u64,
    /// Who rejects it, for the journal.
    pub by: String,
    /// Where the answer goes.
    pub reply: SyncSender<Result<(), NotOpen>>,
}

/// How an order ended.
#[derive(Clone, Debug)]
pub struct OrderReply {
    /// The commands that were begun, as they were written, and how they ended on the target. Never none.
    pub commands: Vec<Ended>,
    /// How many commands there were.
    pub asked: usize,
    /// From the beginning to the end, as the monitor saw it.
    pub took: Duration,
    /// Processes that matched when the order came, going by the process table. Those that no command reaches are
    /// left out.
    pub matching: Vec<Process>,
}

/// Why an order was not begun. Nothing was written.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum OrderError {
    /// The target cannot be reached.
    #[error("the target cannot be reached: {0}; nothing was written")]
    Unreachable(String),
    /// Its process table cannot be used, so nobody knows which process the number names.
    #[error("the target's process table cannot be read: {0}; nothing was written")]
    NoTable(String),
    /// Too many orders wait already.
    #[error("too many orders wait already; nothing was written, try again later")]
    Busy,
    /// Another monitor acts on this target.
    #[error(
        "the monitor in slot {0} of the target holds its lease and acts on it; nothing was written, order it there"
    )]
    NotTheHolder(u32),
    /// The process is not in the table.
    #[error("no process {0} on the target; nothing was written")]
    NoSuchProcess(u32),
    /// The proposal is none that can be carried out.
    #[error(transparent)]
    NotOpen(#[from] NotOpen),
    /// By now the proposal would do what must not be done.
    #[error("proposal {id} cannot be carried out any more: {reason}")]
    Unsafe {
        /// Its number.
        id: u64,
        /// Why not.
        reason: Unsafe,
    },
}

/// The command line that orders a command.
#[must_use]
pub fn order_text(target: &str, command: &Command) -> String {
    let subject = command.subject;
    let what = match command.opcode.subject() {
        Subject::User => format!("--uid {subject}"),
        Subject::Process => format!("--pid {subject}"),
        Subject::Tree => format!("--tree {subject}"),
        Subject::Cgroup => format!("--cgroup {subject}"),
        Subject::Nothing | Subject::Variable | Subject::Hook => format!("--{}", command.opcode),
    };
    let dry = if command.dry_run { " --dry-run" } else { "" };
    let most =
        if command.most_victims > 0 { format!(" --most {}", command.most_victims) } else { String::new() };
    format!("backdoors heal {target} {what}{most}{dry}")
}

/// The command lines that order commands.
#[must_use]
pub fn order_texts(target: &str, commands: &[Command]) -> Vec<String> {
    commands.iter().map(|command| order_text(target, command)).collect()
}
