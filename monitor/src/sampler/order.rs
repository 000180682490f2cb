//! What others may ask of a sampler.

use super::fencing::FenceOrder;
use super::offers::Offers;
use super::recovering::RecoverOrder;
use crate::config::TargetConfig;
use crate::guard::Unsafe;
use crate::proposals::NotOpen;
use crate::treatment::{Ended, Waited};
use backdoors_healers::duration;
use backdoors_monitor_api::SessionRow;
use backdoors_sensor_box::{AuditView, Command, Opcode, Process, ProcessView, Signal, Subject};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// A request to a sampler. Answers go through the channel that comes with it; if nobody listens any more they are
/// dropped.
#[derive(Debug)]
pub enum Request {
    /// Fetch the process table.
    Processes(SyncSender<Result<ProcessView, String>>),
    /// Tell what the target offers.
    Offers(SyncSender<Result<Offers, String>>),
    /// Fetch the audit ring.
    Audit(SyncSender<Result<AuditView, String>>),
    /// Carry out a command or a proposal.
    Order(Order),
    /// Close a proposal, and have it not made again for a while.
    Reject(Rejection),
    /// Tell which live sessions its services have, and what would become of them.
    Sessions(SyncSender<Result<Vec<SessionRow>, String>>),
    /// Recover its services to this machine.
    Recover(RecoverOrder),
    /// Fence it, or lift the fence.
    Fence(FenceOrder),
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
    Command {
        /// What to do.
        command: Command,
        /// How long those who are to be killed have to end by themselves after SIGTERM; none: it is not sent.
        grace: Duration,
    },
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
    /// How many commands there were, notices included, and kills left out that nobody was left for.
    pub asked: usize,
    /// How the time of grace ended, if there was any.
    pub waited: Option<Waited>,
    /// Why the rest was withheld though the target would have obeyed.
    pub withheld: Option<String>,
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
    /// Grace was asked for where several must agree.
    #[error(
        "the target obeys some commands only if several monitors want them at the same time, and these cannot wait \
         together; nothing was written, order it without grace"
    )]
    NoGrace,
    /// There is nothing to recover.
    #[error("no [[target.service]] of the target is configured here; nothing was done")]
    NoServices,
    /// The fence was not set, or not lifted.
    #[error("{0}")]
    Fence(String),
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

/// The command line that orders a command, its victims having so much `grace` to end by themselves.
#[must_use]
pub fn order_text(target: &str, command: &Command, grace: Duration) -> String {
    let (subject, argument) = (command.subject, command.argument);
    let signal = || u32::try_from(argument).ok().and_then(Signal::from_number);
    let about = match command.opcode.subject() {
        Subject::User => format!(" --uid {subject}"),
        Subject::Process => format!(" --pid {subject}"),
        Subject::Tree => format!(" --tree {subject}"),
        Subject::Cgroup => format!(" --cgroup {subject}"),
        Subject::Nothing | Subject::Variable | Subject::Hook => String::new(),
    };
    let what = match command.opcode {
        Opcode::KillProcess | Opcode::KillUser | Opcode::KillTree | Opcode::KillCgroup => String::new(),
        Opcode::SignalProcess | Opcode::SignalUser | Opcode::SignalTree | Opcode::SignalCgroup => {
            format!(" --signal {}", signal().map_or(argument.to_string(), |signal| signal.to_string()))
        }
        Opcode::FreezeCgroup => " --freeze".to_owned(),
        Opcode::ThawCgroup => " --thaw".to_owned(),
        Opcode::SetPriority => format!(" --nice {argument}"),
        Opcode::RefuseForks => {
            format!(" --refuse-forks {}", duration::text(Duration::from_nanos(argument)))
        }
        Opcode::SetVariable => format!(" --set {subject} {argument}"),
        Opcode::CallHook => format!(" --call {} {} {argument}", subject >> 32, subject as u32),
        Opcode::Nothing => " --nothing".to_owned(),
    };
    let grace = match grace {
        grace if command.opcode.kills() && !command.dry_run && !grace.is_zero() => {
            format!(" --grace {}", duration::text(grace))
        }
        _ => String::new(),
    };
    let dry = if command.dry_run { " --dry-run" } else { "" };
    let most =
        if command.most_victims > 0 { format!(" --most {}", command.most_victims) } else { String::new() };
    format!("backdoors heal {target}{about}{what}{grace}{most}{dry}")
}

/// The command lines that order commands.
#[must_use]
pub fn order_texts(target: &str, commands: &[Command], grace: Duration) -> Vec<String> {
    commands.iter().map(|command| order_text(target, command, grace)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_reads_as_the_command_line_that_gives_it() {
        let second = Duration::from_secs(1);
        let of = |opcode, argument| Command { argument, ..Command::new(opcode, 5) };
        for (command, text) in [
            (of(Opcode::KillUser, 0), "--uid 5 --grace 1s"),
            (
                Command { dry_run: true, most_victims: 3, ..of(Opcode::KillTree, 0) },
                "--tree 5 --most 3 --dry-run",
            ),
            (of(Opcode::KillCgroup, 0), "--cgroup 5 --grace 1s"),
            (of(Opcode::SignalProcess, 15), "--pid 5 --signal TERM"),
            (of(Opcode::SignalUser, 19), "--uid 5 --signal STOP"),
            (of(Opcode::FreezeCgroup, 0), "--cgroup 5 --freeze"),
            (of(Opcode::ThawCgroup, 0), "--cgroup 5 --thaw"),
            (of(Opcode::SetPriority, 19), "--pid 5 --nice 19"),
            (of(Opcode::RefuseForks, 10_000_000_000), "--uid 5 --refuse-forks 10s"),
            (of(Opcode::RefuseForks, 0), "--uid 5 --refuse-forks 0s"),
            (of(Opcode::SetVariable, 7), "--set 5 7"),
        ] {
            assert_eq!(order_text("web1", &command, second), format!("backdoors heal web1 {text}"));
        }
    }
}
