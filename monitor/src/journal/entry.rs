//! One line of the journal.

use crate::clock::{nanoseconds, rfc3339};
use crate::repair::{Outcome, Wait, reason};
use backdoors_healers::{Culprit, Evidence};
use backdoors_monitor_api::{CommandEnd, Deed, Layer, Mode, ProposalState, Report, State};
use backdoors_sensor_box::{AcknowledgementView, Command};
use serde::Serialize;
use std::time::Duration;

/// One line of the journal.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// When, nanoseconds since 1970 UTC.
    pub time_ns: u64,
    /// The same for people, RFC 3339.
    pub time: String,
    /// When, on the monitor's monotonic clock, nanoseconds.
    pub monotonic_ns: u64,
    /// The target.
    pub target: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
    /// A sentence for people.
    pub text: String,
}

/// What happened.
#[derive(Clone, Debug, Serialize, strum::IntoStaticStr, strum::VariantNames)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
#[expect(missing_docs, reason = "the fields are the journal's format, documented by `What::text`")]
pub enum What {
    /// A target was reached for the first time.
    Connected { slot: u32, generation: u64, connections: usize },
    /// A target's memory cannot be read any more.
    Lost { reason: String, silence_ns: u64 },
    /// It can be read again.
    Recovered { silence_ns: u64 },
    /// The target's regions were made anew.
    MadeAnew { generation: u64 },
    /// What is read is no sensor box.
    Unreadable { reason: String },
    /// The monitor did not sample for longer than it should.
    Late { gap_ns: u64 },
    /// A sensor became exceptional.
    Event { sensor: String, instance: u32, class: &'static str, unit: &'static str, value: u64, limit: u64 },
    /// A sensor is no longer exceptional.
    Cleared { sensor: String, instance: u32, value: u64, lasted_ns: u64 },
    /// What is said of a layer changed.
    Verdict {
        layer: Layer,
        subject: Option<String>,
        state: State,
        before: State,
        confidence: f64,
        evidence: Vec<String>,
    },
    /// A verdict led to an action, by a rule of the configuration.
    Rule { layer: Layer, subject: Option<String>, state: State, action: String },
    /// This monitor took the target's lease, gave it up or lost it.
    Lease {
        // The entry itself has it.
        #[serde(skip)]
        text: String,
    },
    /// Limits, rules and healers of a new configuration are in force.
    Reconfigured { healers: Vec<String>, rules: usize, limits: usize },
    /// A new configuration could not be put in force; the old one is.
    NotReconfigured { reason: String },
    /// The configuration was read again; what changed besides needs a restart.
    Reloaded { restart: Vec<String> },
    /// A healer found a culprit.
    Diagnosis { healer: String, culprit: Culprit, evidence: Vec<Evidence>, victims: u64, mode: Mode },
    /// A healer found none.
    NothingFound { healer: String, reason: String },
    /// A healer itself broke: nothing came of its examination.
    HealerBroke { healer: String, reason: String },
    /// A healer would repair, if it were allowed to.
    Proposal { proposal: u64, healer: String, orders: Vec<String>, approval: String },
    /// A healer that may act did not, or proposed what must not be done.
    Withheld { healer: String, orders: Vec<String>, reason: String, proposal: Option<u64> },
    /// A human approved a proposal, and it is begun.
    Approved {
        proposal: u64,
        by: String,
        healer: String,
        culprit: Culprit,
        evidence: Vec<Evidence>,
        orders: Vec<String>,
        dry_run: bool,
    },
    /// A human rejected a proposal.
    Rejected { proposal: u64, by: String },
    /// A proposal ended otherwise.
    ProposalEnded { proposal: u64, state: ProposalState },
    /// What a human ordered or approved was not begun.
    NotBegun { by: String, order: String, reason: String },
    /// A command was written to the target.
    CommandWritten {
        sequence: u64,
        by: String,
        opcode: &'static str,
        subject: u64,
        argument: u64,
        most_victims: u64,
        dry_run: bool,
    },
    /// The target looked at it.
    Acknowledged { sequence: u64, state: &'static str, after_ns: u64 },
    /// It ended as asked.
    Repaired(CommandEnd),
    /// It counts as a vote for the same command of whoever holds the lease.
    Voted { sequence: u64, opcode: &'static str, subject: u64 },
    /// The target refused it.
    Refused { sequence: u64, reason: String },
    /// The target gave up.
    GaveUp(CommandEnd),
    /// It did not end in time.
    TimedOut { waiting_for: Wait, after_ns: u64 },
    /// It is unknown what became of it.
    Unknown { reason: String },
    /// Victims had time to end by themselves, and it is over.
    GraceEnded { by: String, after_ns: u64, left: Option<usize> },
    /// A repair of several commands ended.
    SequenceEnded { by: String, carried_out: usize, of: usize },
    /// Live sessions of the target were to go on here.
    SessionsRecovered { by: String, report: Report },
    /// The target was fenced because somebody ordered it.
    Fenced { by: String },
    /// Its fence was lifted because somebody ordered it.
    FenceLifted { by: String },
    /// Processes were killed and did not die.
    Unkillable { sequence: u64, count: usize, processes: Vec<String>, left_alone_ns: u64 },
}

/// What kind of command it is.
#[must_use]
pub fn deed_of(command: &Command) -> Deed {
    match command.opcode {
        opcode if opcode.kills() => Deed::Kill,
        opcode if opcode.signals() => Deed::Signal,
        _ => Deed::Other,
    }
}

/// How it ended, from the last acknowledgement of `command`.
#[must_use]
pub fn command_end(command: &Command, view: &AcknowledgementView, took: Duration) -> CommandEnd {
    let after = |time: u64| (time != 0).then(|| time.saturating_sub(view.accepted_at));
    CommandEnd {
        sequence: view.command,
        deed: deed_of(command),
        dry_run: command.dry_run,
        matched: view.matched,
        signalled: view.signalled,
        remaining: view.remaining,
        sweeps: view.sweeps,
        accepted_at_ns: view.accepted_at,
        first_signal_after_ns: after(view.first_signal_at),
        last_death_after_ns: after(view.last_death_at),
        last_death_at_ns: (view.last_death_at != 0).then_some(view.last_death_at),
        took_ns: nanoseconds(took),
    }
}

impl Entry {
    /// An entry for this moment.
    #[must_use]
    pub fn new(wall: Duration, monotonic: Duration, target: &str, what: What) -> Entry {
        Entry {
            time_ns: nanoseconds(wall),
            time: rfc3339(wall),
            monotonic_ns: nanoseconds(monotonic),
            target: target.to_owned(),
            text: what.text(),
            what,
        }
    }
}

impl What {
    /// All kinds of entries.
    pub const KINDS: &[&str] = <What as strum::VariantNames>::VARIANTS;

    /// Kinds of the entries that tell what was found, wanted, allowed and done to targets, by whom, and what came of it.
    pub const AUDIT: &[&str] = &[
        "rule",
        "lease",
        "diagnosis",
        "proposal",
        "withheld",
        "approved",
        "rejected",
        "proposal-ended",
        "not-begun",
        "command-written",
        "acknowledged",
        "repaired",
        "refused",
        "gave-up",
        "timed-out",
        "unknown",
        "grace-ended",
        "sequence-ended",
        "unkillable",
        "fenced",
        "fence-lifted",
        "sessions-recovered",
    ];

    /// From the end of a command that was decided on `took` ago.
    #[must_use]
    pub fn ended(command: &Command, outcome: &Outcome, took: Duration) -> What {
        match outcome {
            Outcome::Done(view) => What::Repaired(command_end(command, view, took)),
            Outcome::Voted(view) => What::Voted {
                sequence: view.command,
                opcode: command.opcode.name(),
                subject: command.subject,
            },
            Outcome::GaveUp(view) => What::GaveUp(command_end(command, view, took)),
            Outcome::Refused(view) => What::Refused { sequence: view.command, reason: reason(view) },
            Outcome::TimedOut { waiting_for, .. } => {
                What::TimedOut { waiting_for: *waiting_for, after_ns: nanoseconds(took) }
            }
            Outcome::Unknown(doubt) => What::Unknown { reason: doubt.to_string() },
        }
    }

    /// Its name in the journal.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.into()
    }

    /// The sentence for people.
    #[must_use]
    pub fn text(&self) -> String {
        let ms = |nanoseconds: u64| format!("{:.1} ms", nanoseconds as f64 / 1e6);
        match self {
            What::Connected { slot, generation, connections } => {
                format!("connected: slot {slot}, generation {generation}, {connections} connections")
            }
            What::Lost { reason, silence_ns } => format!("not readable for {}: {reason}", ms(*silence_ns)),
            What::Recovered { silence_ns } => format!("readable again after {}", ms(*silence_ns)),
            What::MadeAnew { generation } => format!("memory made anew: generation {generation}"),
            What::Unreadable { reason } => reason.clone(),
            What::Late { gap_ns } => {
                format!("no sample for {}: nothing is said about progress meanwhile", ms(*gap_ns))
            }
            What::Event { sensor, class: "progress", value, limit, .. } => {
                format!("{sensor} stood still for {} (limit {})", ms(*value), ms(*limit))
            }
            What::Event { sensor, class: "pressure", value, limit, .. } => {
                format!("{sensor} counted {value} more (limit {limit})")
            }
            What::Event { sensor, unit, value, limit, .. } => {
                let unit = match *unit {
                    "per-second" => "/s",
                    "bytes" => " B",
                    "nanoseconds" => " ns",
                    _ => "",
                };
                format!("{sensor} is {value}{unit} (limit {limit}{unit})")
            }
            What::Cleared { sensor, value, lasted_ns, .. } => {
                format!("{sensor} is no longer exceptional at {value}, after {}", ms(*lasted_ns))
            }
            What::Verdict { layer, subject, state, confidence, evidence, .. } => {
                let subject = subject.as_ref().map_or(String::new(), |name| format!(" {name}"));
                let sure = confidence * 100.0;
                format!("{layer}{subject} is {state} ({sure:.0} % sure): {}", evidence.join("; "))
            }
            What::Lease { text } => text.clone(),
            What::Rule { layer, subject, state, action } => {
                let subject = subject.as_ref().map_or(String::new(), |name| format!(" {name}"));
                format!("because {layer}{subject} is {state}, a rule {action}")
            }
            What::Diagnosis { healer, culprit, evidence, victims, .. } => {
                let texts: Vec<&str> = evidence.iter().map(|evidence| evidence.text.as_str()).collect();
                format!("{healer} blames {culprit}: {}; {victims} to strike", texts.join("; "))
            }
            What::NothingFound { healer, reason } => format!("{healer} blames nobody: {reason}"),
            What::Proposal { proposal, healer, orders, approval } => {
                format!("{healer} proposes {proposal}: {}; to have it done: {approval}", orders.join(" && "))
            }
            What::Reconfigured { healers, rules, limits } => {
                let healers = if healers.is_empty() { "none".to_owned() } else { healers.join(", ") };
                format!("new configuration in force: healers {healers}; {rules} rules; {limits} limits")
            }
            What::NotReconfigured { reason } => {
                format!("the new configuration is bad, and the old one stays in force: {reason}")
            }
            What::Reloaded { restart } if restart.is_empty() => "configuration read again".to_owned(),
            What::Reloaded { restart } => {
                format!("configuration read again; in force after a restart only: {}", restart.join(", "))
            }
            What::HealerBroke { healer, reason } => {
                format!("healer {healer} broke: {reason}")
            }
            What::Withheld { healer, orders, reason, proposal } => {
                let kept = proposal.map_or(String::new(), |id| format!("; it is proposal {id}"));
                format!("{healer} wanted: {}; withheld: {reason}{kept}", orders.join(" && "))
            }
            What::Approved { proposal, by, healer, culprit, evidence, orders, dry_run } => {
                let dry = if *dry_run { ", dry run" } else { "" };
                let texts: Vec<&str> = evidence.iter().map(|evidence| evidence.text.as_str()).collect();
                format!(
                    "proposal {proposal} approved{dry} (by {by}): {}; {healer} blames {culprit}: {}",
                    orders.join(" && "),
                    texts.join("; ")
                )
            }
            What::Rejected { proposal, by } => {
                format!("proposal {proposal} rejected (by {by}): it is not made again for a while")
            }
            What::ProposalEnded { proposal, state } => format!("proposal {proposal} is {state}"),
            What::NotBegun { by, order, reason } => format!("not begun: {order} (by {by}): {reason}"),
            What::CommandWritten { sequence, by, opcode, subject, dry_run, .. } => {
                let dry = if *dry_run { ", dry run" } else { "" };
                format!("command {sequence} written: {opcode} {subject}{dry} (by {by})")
            }
            What::Acknowledged { sequence, state, after_ns } => {
                format!("command {sequence} acknowledged after {}: {state}", ms(*after_ns))
            }
            What::Repaired(end) if end.dry_run => match end.deed {
                Deed::Kill => {
                    format!("command {}: {} would be killed, nobody was", end.sequence, end.matched)
                }
                Deed::Signal => format!("command {}: {} would get it, nobody did", end.sequence, end.matched),
                Deed::Other => format!("command {}: it could be done, nothing was", end.sequence),
            },
            What::Repaired(end) => {
                let died = end.last_death_after_ns.map_or("nobody had to die".to_owned(), |after| {
                    format!("the last culprit died {} after acceptance", ms(after))
                });
                let (matched, signals) = (end.matched, end.signalled);
                let what = match end.deed {
                    Deed::Kill => format!("{matched} matched, {signals} signals; {died}; "),
                    Deed::Signal => format!("{matched} matched, {signals} signals; "),
                    Deed::Other => String::new(),
                };
                format!("command {} done: {what}{} from decision to end", end.sequence, ms(end.took_ns))
            }
            What::Voted { sequence, opcode, subject } => {
                format!("command {sequence} counts as a vote for {opcode} {subject}")
            }
            What::Refused { sequence, reason } => {
                format!("command {sequence} refused by the target: {reason}")
            }
            What::GaveUp(end) if end.deed == Deed::Other => {
                format!("command {} given up by the target", end.sequence)
            }
            What::GaveUp(end) => format!(
                "command {} given up by the target: {} matched, {} signals, {} still alive",
                end.sequence, end.matched, end.signalled, end.remaining
            ),
            What::TimedOut { waiting_for, after_ns } => {
                format!("no end after {}: waited for {}", ms(*after_ns), waiting_for.text())
            }
            What::Unknown { reason } => format!("outcome unknown: {reason}"),
            What::GraceEnded { by, after_ns, left: Some(0) } => {
                format!("nobody is left to be killed after {} of grace (by {by})", ms(*after_ns))
            }
            What::GraceEnded { by, after_ns, left } => {
                let left = left.map_or("nobody knows how many".to_owned(), |left| left.to_string());
                format!("{left} are left after {} of grace, and are killed (by {by})", ms(*after_ns))
            }
            What::SequenceEnded { by, carried_out, of } => {
                format!("{carried_out} of {of} commands were carried out (by {by})")
            }
            What::Fenced { by } => format!("fenced: it sends nothing from its service addresses (by {by})"),
            What::FenceLifted { by } => format!("the fence of this monitor is lifted (by {by})"),
            What::SessionsRecovered { by, report } => format!("{} (by {by})", report.text()),
            What::Unkillable { sequence, count, processes, left_alone_ns } => {
                let more = count.saturating_sub(processes.len());
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!(
                    "command {sequence} killed {}{more}, and they do not die; healers leave them alone for {:.0} s",
                    processes.join(", "),
                    *left_alone_ns as f64 / 1e9
                )
            }
        }
    }
}
