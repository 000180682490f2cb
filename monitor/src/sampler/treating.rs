//! Commands on their way: one treatment at a time is followed to its end, and what it did is taken in.

use super::Sampler;
use super::order::{OrderError, OrderReply};
use crate::clock::nanoseconds;
use crate::journal::What;
use crate::repair::{Outcome, Progress, Step};
use crate::treatment::{Ended, Treatment};
use crate::victim::{Victim, is_reachable, matching};
use backdoors_sensor_box::{Command, FetchError, Process, ProcessView};
use std::collections::HashSet;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// Processes that the journal names.
const NAMED: usize = 8;

/// The treatment under way.
pub(super) struct Running {
    pub treatment: Treatment,
    pub order_text: String,
    /// Why, for the target's own log.
    reason: String,
    source: Source,
    /// Whom each command that has not ended means, by the process table of the beginning.
    matching: Vec<Vec<Process>>,
    /// How many commands ended.
    ended: usize,
    written: Option<Duration>,
    /// The number of the link it was written over.
    link: u64,
}

/// Who wanted the commands.
pub(super) enum Source {
    Healer(usize),
    Order { by: String, reply: SyncSender<Result<OrderReply, OrderError>> },
}

impl Sampler {
    /// Begins with commands that were checked, `table` being the newest.
    pub(super) fn begin(
        &mut self,
        now: Duration,
        commands: Vec<Command>,
        table: &ProcessView,
        order_text: String,
        reason: String,
        source: Source,
    ) {
        let means = |command: &Command| matching(command, table).cloned().collect();
        let matching = commands.iter().map(means).collect();
        let votes = self.other_holder().is_some() && self.votes_count();
        if !votes && commands.iter().any(|command| !command.dry_run) {
            self.budget.begun(now);
            self.proposals.overtake(now, &Victim::of_all(&commands));
            self.tell_proposals();
        }
        let treat = if votes { Treatment::vote } else { Treatment::new };
        self.running = treat(commands, now, self.config.patience).map(|treatment| Running {
            treatment,
            order_text,
            reason,
            source,
            matching,
            ended: 0,
            written: None,
            link: 0,
        });
    }

    /// Drives the command under way, and begins the next order when there is none. Returns when to go on.
    pub(super) fn heal(&mut self) -> Option<Duration> {
        loop {
            if let Some(until) = self.go_on_telling() {
                return Some(until);
            }
            while self.running.is_none() {
                let order = self.orders.pop_front()?;
                self.begin_order(order);
            }
            let token = self.token();
            let now = self.clock.monotonic();
            match self.running.as_mut()?.treatment.repair.step(now, token) {
                Step::Wait(until) => return Some(until),
                Step::Fetch => self.look(now),
                Step::Write { sequence, token } => {
                    let link = self.links;
                    let running = self.running.as_mut()?;
                    running.link = link;
                    let command = *running.treatment.repair.command();
                    let reason = running.reason.clone();
                    let written = self.write_command(now, &command, sequence, token, &reason);
                    let now = self.clock.monotonic();
                    let running = self.running.as_mut()?;
                    match written {
                        Ok(()) => {
                            let progress = running.treatment.repair.written(now);
                            running.written = Some(now);
                            self.tell_progress(now, progress);
                        }
                        Err(failed) => running.treatment.repair.failed(now, failed.may_have_changed),
                    }
                }
                Step::Ended(outcome) => self.go_on(now, outcome),
            }
        }
    }

    /// Takes in how the command under way ended, and goes on to the next one of the treatment.
    fn go_on(&mut self, now: Duration, outcome: Outcome) {
        let Some(mut running) = self.running.take() else { return };
        let ended = running.treatment.end(now, outcome);
        self.note(What::ended(&ended.command, &outcome, ended.took));
        let meant = running.matching.get(running.ended).map_or(&[][..], Vec::as_slice);
        self.settle(now, &ended, meant);
        running.ended += 1;
        let (asked, started) = (running.treatment.length(), running.treatment.started());
        match running.treatment.go_on(now, outcome) {
            Ok(treatment) => self.running = Some(Running { treatment, written: None, ..running }),
            Err(commands) => {
                if asked > 1 {
                    let carried_out = commands.iter().filter(|ended| ended.was_carried_out()).count();
                    let by = self.name_of(&running.source);
                    self.note(What::SequenceEnded { by, carried_out, of: asked });
                }
                match running.source {
                    Source::Healer(index) => self.dispatcher.repaired(index, now),
                    Source::Order { reply, .. } => {
                        let took = now.saturating_sub(started);
                        let matching = each_once(running.matching);
                        drop(reply.try_send(Ok(OrderReply { commands, asked, took, matching })));
                    }
                }
            }
        }
    }

    /// Has budget and bench know what a command did.
    fn settle(&mut self, now: Duration, ended: &Ended, meant: &[Process]) {
        let (Some(victim), Some(signalled)) =
            (Victim::of(&ended.command), ended.most_signalled(meant.len() as u64))
        else {
            return;
        };
        self.budget.struck(now, victim, signalled);
        if ended.left_unkillable() {
            self.bench(now, ended, meant);
        }
    }

    /// Puts those that did not die on the bench.
    fn bench(&mut self, now: Duration, ended: &Ended, meant: &[Process]) {
        let table = match self.fetch_processes(now) {
            Ok(table) => table,
            Err(error) => {
                // They are left alone for the victim's cooldown, and found out the next time.
                tracing::warn!(target = %self.config.name, "who did not die cannot be read: {error}");
                return;
            }
        };
        // Who has lost its parent is in no tree any more.
        let meant: HashSet<(u32, u64)> = meant.iter().map(|process| (process.pid, process.start)).collect();
        let mut alive: Vec<&Process> = matching(&ended.command, &table).collect();
        let found: HashSet<u32> = alive.iter().map(|process| process.pid).collect();
        alive.extend(table.processes.iter().filter(|process| {
            meant.contains(&(process.pid, process.start))
                && !found.contains(&process.pid)
                && is_reachable(process)
        }));
        if self.unkillable.put(now, alive.iter().copied()) == 0 {
            return;
        }
        let Outcome::GaveUp(view) = ended.outcome else { return };
        let name = |process: &&Process| format!("{} {}", process.pid, process.command);
        self.note(What::Unkillable {
            sequence: view.command,
            count: alive.len(),
            processes: alive.iter().take(NAMED).map(name).collect(),
            left_alone_ns: nanoseconds(self.unkillable.cooldown()),
        });
    }

    fn look(&mut self, now: Duration) {
        let fetched = self.fetch_acknowledgement(now);
        let now = self.clock.monotonic();
        let Some(running) = &mut self.running else { return };
        let repair = &mut running.treatment.repair;
        match fetched {
            Ok(view) => {
                let progress = repair.acknowledgement(now, &view);
                self.tell_progress(now, progress);
            }
            Err(FetchError::Decode(error)) => repair.unreadable(now, error),
            Err(error) => {
                tracing::debug!(target = %self.config.name, "cannot read the acknowledgement: {error}");
                repair.failed(now, false);
            }
        }
    }

    fn tell_progress(&mut self, now: Duration, progress: Option<Progress>) {
        let (Some(progress), Some(running)) = (progress, &self.running) else { return };
        let command = running.treatment.repair.command();
        let what = match progress {
            // Only a handshake brings the key that the target goes by now. A later link than the one it was written over
            // has it already.
            Progress::NotAuthentic if running.link == self.links => return self.give_up_link(now),
            Progress::NotAuthentic => return,
            Progress::Written(sequence) => What::CommandWritten {
                sequence,
                by: self.name_of(&running.source),
                opcode: command.opcode.name(),
                subject: command.subject,
                most_victims: command.most_victims,
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

    fn name_of(&self, source: &Source) -> String {
        match source {
            Source::Healer(index) => {
                self.healers.get(*index).map_or("", |healing| healing.healer.name()).to_owned()
            }
            Source::Order { by, .. } => by.clone(),
        }
    }
}

/// A process may be meant by several commands.
fn each_once(matching: Vec<Vec<Process>>) -> Vec<Process> {
    let mut known = HashSet::new();
    matching.into_iter().flatten().filter(|process| known.insert(process.pid)).collect()
}
