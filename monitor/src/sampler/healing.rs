//! From events to repairs: healers are called, what they propose is checked, and one command at a time is followed
//! to its end.

use super::Sampler;
use super::order::{Order, OrderError, OrderReply, Request, matching};
use crate::clock::nanoseconds;
use crate::config::Mode;
use crate::guard;
use crate::journal::What;
use crate::repair::{Progress, Repair, Step};
use backdoors_healers::{Case, Diagnosis, Healer};
use backdoors_sensor_box::layout::Capabilities;
use backdoors_sensor_box::{Command, FetchError, Opcode, Process, ProcessView};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// Orders that wait for the end of the command before them.
const MOST_ORDERS: usize = 16;

/// A healer of this target.
pub(super) struct Healing {
    pub healer: Box<dyn Healer>,
    pub mode: Mode,
    /// It was told that the healer finds nothing, and nothing new happened since.
    pub told_nothing: bool,
}

/// The command under way.
pub(super) struct Running {
    pub repair: Repair,
    pub order_text: String,
    pub source: Source,
    written: Option<Duration>,
    /// The number of the link it was written over.
    link: u64,
}

/// Who wanted the command.
pub(super) enum Source {
    Healer(usize),
    Order { by: String, reply: SyncSender<Result<OrderReply, OrderError>>, matching: Vec<Process> },
}

impl Sampler {
    pub(super) fn a_healer_is_due(&self, now: Duration) -> bool {
        (!self.exceeded.is_empty() || self.dispatcher.anyone_called()) && self.due(now).next().is_some()
    }

    fn due(&self, now: Duration) -> impl Iterator<Item = usize> {
        // One command per slot: who wants to act waits for the one under way.
        let busy = self.running.is_some();
        // Who acts is who holds the lease; the others may look, or vote where the target wants to hear them.
        let stands_by = self.other_holder().is_some() && !self.votes_count();
        let may_act = move |healing: &Healing| !((busy || stands_by) && healing.mode == Mode::Act);
        (0..self.healers.len()).filter(move |&index| {
            may_act(&self.healers[index]) && self.dispatcher.is_due(index, now, &self.exceeded)
        })
    }

    /// Whether the target obeys some commands only if several monitors want them.
    fn votes_count(&self) -> bool {
        self.fetcher.view().capabilities & Capabilities::AGREEMENT != 0
    }

    /// Calls the healers whose turn it is.
    pub(super) fn dispatch(&mut self, now: Duration) {
        let due: Vec<usize> = self.due(now).collect();
        if due.is_empty() {
            return;
        }
        let processes = match self.fetch_processes(now) {
            Ok(processes) => processes,
            Err(error) => {
                // They stay due: the next sample tries again.
                tracing::warn!(target = %self.config.name, "cannot read the process table: {error}");
                return;
            }
        };
        for index in due {
            self.examine(index, &processes);
        }
    }

    fn examine(&mut self, index: usize, processes: &ProcessView) {
        let now = self.clock.monotonic();
        let events = self.dispatcher.concerning(index, &self.exceeded);
        let case = Case {
            now,
            target: &self.config.name,
            events: &events,
            sensors: self.fetcher.view(),
            processes,
            limits: self.detector.limits(),
        };
        let Some(healing) = self.healers.get_mut(index) else { return };
        let (name, mode) = (healing.healer.name().to_owned(), healing.mode);
        // A plug-in that breaks must not end the watch over the target.
        let diagnosis =
            catch_unwind(AssertUnwindSafe(|| healing.healer.examine(&case))).unwrap_or_else(|_| {
                Diagnosis::Nothing { reason: "the healer broke while it examined".to_owned() }
            });
        match diagnosis {
            Diagnosis::Nothing { reason } => {
                let told = std::mem::replace(&mut healing.told_nothing, true);
                self.dispatcher.examined(index, now, false);
                if !told {
                    self.note(What::NothingFound { healer: name, reason });
                }
            }
            Diagnosis::Culprit { culprit, evidence, repair, victims } => {
                self.dispatcher.examined(index, now, true);
                self.note(What::Diagnosis { healer: name.clone(), culprit, evidence, victims, mode });
                let order = order_text(&self.config.name, &repair.0);
                match (mode, guard::check(&repair.0, processes)) {
                    (Mode::Observe, _) => {}
                    (_, Err(reason)) => {
                        self.note(What::Withheld { healer: name, order, reason: reason.to_string() });
                    }
                    (Mode::Propose, Ok(())) => self.note(What::Proposal { healer: name, order }),
                    (Mode::Act, Ok(())) if self.running.is_none() => {
                        self.begin(now, repair.0, order, Source::Healer(index));
                    }
                    // Another healer was quicker; this one gets its turn after the cooldown, if need be.
                    (Mode::Act, Ok(())) => self.note(What::Withheld {
                        healer: name,
                        order,
                        reason: "another repair has just begun; nothing was written".to_owned(),
                    }),
                }
            }
        }
    }

    /// Takes in a request from outside.
    pub fn request(&mut self, request: Request) {
        let now = self.clock.monotonic();
        match request {
            // Whoever asked may have gone: then the answer is dropped.
            Request::Processes(reply) => {
                let processes = self.fetch_processes(now).map_err(|error| error.to_string());
                drop(reply.try_send(processes));
            }
            Request::Resign => self.resign(),
            Request::Order(order) if self.orders.len() >= MOST_ORDERS => {
                drop(order.reply.try_send(Err(OrderError::Busy)));
            }
            Request::Order(order) => self.orders.push_back(order),
        }
    }

    fn begin(&mut self, now: Duration, command: Command, order_text: String, source: Source) {
        let vote = self.other_holder().is_some() && self.votes_count();
        let repair = if vote { Repair::vote } else { Repair::new }(command, now, self.config.patience);
        self.running = Some(Running { repair, order_text, source, written: None, link: 0 });
    }

    fn begin_order(&mut self, order: Order) {
        let now = self.clock.monotonic();
        let Order { mut command, by, reply } = order;
        if self.reachability.is_lost() || self.generation.is_none() {
            let why = self.problem().unwrap_or_else(|| "it was not reached yet".to_owned());
            drop(reply.try_send(Err(OrderError::Unreachable(why))));
            return;
        }
        if let Some(slot) = self.other_holder().filter(|_| !self.votes_count()) {
            drop(reply.try_send(Err(OrderError::NotTheHolder(slot))));
            return;
        }
        let matching = match self.fetch_processes(now) {
            Ok(table) => {
                if matches!(command.opcode, Opcode::KillProcess | Opcode::KillTree) && command.start == 0 {
                    match table.processes.iter().find(|process| process.pid == command.subject) {
                        Some(process) => command.start = process.start,
                        None => {
                            drop(reply.try_send(Err(OrderError::NoSuchProcess(command.subject))));
                            return;
                        }
                    }
                }
                matching(&command, &table)
            }
            // The number of a user is certain without the table.
            Err(_) if matches!(command.opcode, Opcode::KillUser | Opcode::Nothing) => Vec::new(),
            Err(FetchError::Access(why)) => {
                drop(reply.try_send(Err(OrderError::Unreachable(why))));
                return;
            }
            Err(FetchError::Decode(why)) => {
                drop(reply.try_send(Err(OrderError::NoTable(why.to_string()))));
                return;
            }
        };
        let text = order_text(&self.config.name, &command);
        self.begin(now, command, text, Source::Order { by, reply, matching });
    }

    /// Drives the command under way, and begins the next order when there is none. Returns when to go on.
    pub(super) fn heal(&mut self) -> Option<Duration> {
        loop {
            while self.running.is_none() {
                let order = self.orders.pop_front()?;
                self.begin_order(order);
            }
            let token = self.token();
            let now = self.clock.monotonic();
            match self.running.as_mut()?.repair.step(now, token) {
                Step::Wait(until) => return Some(until),
                Step::Fetch => self.look(now),
                Step::Write { sequence, token } => {
                    let link = self.links;
                    let running = self.running.as_mut()?;
                    running.link = link;
                    let command = *running.repair.command();
                    let written = self.write_command(now, &command, sequence, token);
                    let now = self.clock.monotonic();
                    let running = self.running.as_mut()?;
                    match written {
                        Ok(()) => {
                            let progress = running.repair.written(now);
                            running.written = Some(now);
                            self.tell_progress(now, progress);
                        }
                        Err(failed) => running.repair.failed(now, failed.may_have_changed),
                    }
                }
                Step::Ended(outcome) => {
                    let running = self.running.take()?;
                    let took = now.saturating_sub(running.repair.started());
                    let command = *running.repair.command();
                    self.note(What::ended(&command, &outcome, took));
                    match running.source {
                        Source::Healer(index) => self.dispatcher.repaired(index, now),
                        Source::Order { reply, matching, .. } => {
                            drop(reply.try_send(Ok(OrderReply { command, outcome, took, matching })));
                        }
                    }
                }
            }
        }
    }

    fn look(&mut self, now: Duration) {
        let fetched = self.fetch_acknowledgement(now);
        let now = self.clock.monotonic();
        let Some(running) = &mut self.running else { return };
        match fetched {
            Ok(view) => {
                let progress = running.repair.acknowledgement(now, &view);
                self.tell_progress(now, progress);
            }
            Err(FetchError::Decode(error)) => running.repair.unreadable(now, error),
            Err(error) => {
                tracing::debug!(target = %self.config.name, "cannot read the acknowledgement: {error}");
                running.repair.failed(now, false);
            }
        }
    }

    fn tell_progress(&mut self, now: Duration, progress: Option<Progress>) {
        let (Some(progress), Some(running)) = (progress, &self.running) else { return };
        let command = running.repair.command();
        let what = match progress {
            // Only a handshake brings the key that the target goes by now. A later link than the one it was written over
            // has it already.
            Progress::NotAuthentic if running.link == self.links => return self.give_up_link(now),
            Progress::NotAuthentic => return,
            Progress::Written(sequence) => What::CommandWritten {
                sequence,
                by: match &running.source {
                    Source::Healer(index) => {
                        self.healers.get(*index).map_or("", |healing| healing.healer.name()).to_owned()
                    }
                    Source::Order { by, .. } => by.clone(),
                },
                opcode: command.opcode.name(),
                subject: command.subject,
                dry_run: command.dry_run,
            },
            Progress::Acknowledged(view) => What::Acknowledged {
                sequence: view.command,
                state: view.state.name(),
                after_ns: nanoseconds(now.saturating_sub(running.written.unwrap_or(now))),
            },
        };
        self.note(what);
    }
}

/// The command line that orders a command.
fn order_text(target: &str, command: &Command) -> String {
    let subject = command.subject;
    let what = match command.opcode {
        Opcode::KillUser => format!("--uid {subject}"),
        Opcode::KillProcess => format!("--pid {subject}"),
        Opcode::KillTree => format!("--tree {subject}"),
        Opcode::Nothing => "--nothing".to_owned(),
    };
    let dry = if command.dry_run { " --dry-run" } else { "" };
    let most =
        if command.most_victims > 0 { format!(" --most {}", command.most_victims) } else { String::new() };
    format!("backdoors heal {target} {what}{most}{dry}")
}
