//! Commands on their way: one treatment at a time is followed to its end, and what it did is taken in.

use super::Sampler;
use super::order::{OrderError, OrderReply, order_text};
use crate::clock::nanoseconds;
use crate::guard;
use crate::journal::What;
use crate::repair::{Outcome, Progress, Step};
use crate::treatment::{Ended, Looked, Rest, Treatment, Waited};
use crate::victim::{Victim, is_reachable, matching};
use backdoors_sensor_box::{Command, FetchError, Process, ProcessView};
use std::collections::{BTreeMap, HashSet};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// Processes that the journal names.
const NAMED: usize = 8;

/// The treatment under way.
pub(super) struct Running {
    pub treatment: Treatment,
    pub mandate: Mandate,
    written: Option<Duration>,
    /// The number of the link it was written over.
    link: u64,
}

/// What a treatment is for, and what came of it so far.
pub(super) struct Mandate {
    pub order_text: String,
    /// Why, for the target's own log.
    reason: String,
    source: Source,
    /// It is a healer's idea, which the guard has checked.
    guarded: bool,
    started: Duration,
    /// Whom the commands mean, by the process table of the beginning.
    matching: Vec<Process>,
    /// Those of them who are to be killed.
    to_be_killed: Vec<Process>,
    /// Who belongs to each victim, by the same.
    struck: BTreeMap<Victim, Struck>,
    /// How the time of grace ended.
    waited: Option<Waited>,
    /// Why the rest was withheld.
    withheld: Option<String>,
}

#[derive(Default)]
struct Struck {
    processes: Vec<Process>,
    /// How many the budget has counted.
    counted: u64,
}

/// Commands that are to be begun.
pub(super) struct Begun {
    pub commands: Vec<Command>,
    /// How long those who are to be killed have to end by themselves.
    pub grace: Duration,
    /// They are a healer's idea, which the guard has checked.
    pub guarded: bool,
    pub order_text: String,
    /// Why, for the target's own log.
    pub reason: String,
    pub source: Source,
}

/// Who wanted the commands.
pub(super) enum Source {
    Healer(usize),
    Order { by: String, reply: SyncSender<Result<OrderReply, OrderError>> },
}

impl Sampler {
    /// Begins with commands that were checked, `table` being the newest.
    pub(super) fn begin(&mut self, now: Duration, table: &ProcessView, begun: Begun) {
        let Begun { commands, grace, guarded, order_text, reason, source } = begun;
        let means = |command: &Command| matching(command, table).cloned().collect::<Vec<_>>();
        let victims = commands.iter().filter_map(|command| Some((Victim::of(command)?, means(command))));
        let mandate = Mandate {
            order_text,
            reason,
            source,
            guarded,
            started: now,
            matching: each_once(commands.iter().map(means)),
            to_be_killed: each_once(commands.iter().filter(|command| command.opcode.kills()).map(means)),
            struck: victims.map(|(victim, processes)| (victim, Struck { processes, counted: 0 })).collect(),
            waited: None,
            withheld: None,
        };
        let votes = self.other_holder().is_some() && self.votes_count();
        if !votes && commands.iter().any(|command| !command.dry_run) {
            self.budget.begun(now);
            self.proposals.overtake(now, &Victim::of_all(&commands));
            self.tell_proposals();
        }
        let patience = self.config.patience;
        let treatment = match votes {
            true => Treatment::vote(commands, now, patience),
            false => Treatment::gentle(commands, grace, now, patience),
        };
        self.running = treatment.map(|treatment| Running { treatment, mandate, written: None, link: 0 });
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
            match self.running.as_ref()?.treatment.rest(now) {
                Some(Rest::Until(until)) => return Some(until),
                Some(Rest::Look) => {
                    self.look_who_is_left(now);
                    continue;
                }
                None => {}
            }
            match self.running.as_mut()?.treatment.repair.step(now, token) {
                Step::Wait(until) => return Some(until),
                Step::Fetch => self.look(now),
                Step::Write { sequence, token } => {
                    let link = self.links;
                    let running = self.running.as_mut()?;
                    running.link = link;
                    let command = *running.treatment.repair.command();
                    let reason = running.mandate.reason.clone();
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
        self.settle(now, &ended, &mut running.mandate.struck);
        let Running { treatment, mandate, link, .. } = running;
        let asked = treatment.length();
        match treatment.go_on(now, outcome) {
            Ok(treatment) => self.running = Some(Running { treatment, mandate, written: None, link }),
            Err(commands) => self.finish(now, mandate, asked, commands),
        }
    }

    /// Looks whether those who were given notice have ended.
    fn look_who_is_left(&mut self, now: Duration) {
        let table = self.fetch_processes(now).ok();
        let now = self.clock.monotonic();
        let Some(Running { treatment, mut mandate, link, .. }) = self.running.take() else { return };
        // Somebody to be spared may have come meanwhile.
        let is_safe = match &table {
            Some(table) if mandate.guarded => guard::check_again(treatment.to_come(), table, &self.spare),
            _ => Ok(()),
        };
        if let Err(reason) = is_safe {
            let healer = self.name_of(&mandate.source);
            let orders =
                treatment.to_come().map(|command| order_text(&self.config.name, command, Duration::ZERO));
            let (orders, asked, reason) = (orders.collect(), treatment.length(), reason.to_string());
            mandate.withheld = Some(reason.clone());
            self.note(What::Withheld { healer, orders, reason, proposal: None });
            return self.finish(now, mandate, asked, treatment.call_off());
        }
        let (treatment, waited) = match treatment.looked(now, table.as_ref(), &mandate.to_be_killed) {
            Looked::Waits(treatment) => (Ok(treatment), None),
            Looked::GoesOn(treatment, waited) => (Ok(treatment), Some(waited)),
            Looked::Over(commands, waited) => (Err(commands), Some(waited)),
        };
        if let Some(Waited { time, left }) = waited {
            mandate.waited = waited;
            let by = self.name_of(&mandate.source);
            self.note(What::GraceEnded { by, after_ns: nanoseconds(time), left });
        }
        match treatment {
            Ok(treatment) => self.running = Some(Running { treatment, mandate, written: None, link }),
            Err(commands) => self.finish(now, mandate, commands.len(), commands),
        }
    }

    /// Tells how a treatment of so many commands ended.
    fn finish(&mut self, now: Duration, mandate: Mandate, asked: usize, commands: Vec<Ended>) {
        let Mandate { source, started, matching, waited, withheld, .. } = mandate;
        if asked > 1 {
            let carried_out = commands.iter().filter(|ended| ended.was_carried_out()).count();
            self.note(What::SequenceEnded { by: self.name_of(&source), carried_out, of: asked });
        }
        match source {
            Source::Healer(index) => self.dispatcher.repaired(index, now),
            Source::Order { reply, .. } => {
                let took = now.saturating_sub(started);
                drop(reply.try_send(Ok(OrderReply { commands, asked, waited, withheld, took, matching })));
            }
        }
    }

    /// Has budget and bench know what a command did. Who was struck by one before counts once.
    fn settle(&mut self, now: Duration, ended: &Ended, struck: &mut BTreeMap<Victim, Struck>) {
        let Some(victim) = Victim::of(&ended.command) else { return };
        let known = struck.get_mut(&victim);
        let meant = known.as_ref().map_or(0, |struck| struck.processes.len());
        let Some(signalled) = ended.most_signalled(meant as u64) else { return };
        // Who was not known at the beginning has left a tree that was struck, and counts as one of it.
        let more = known.map_or(0, |struck| {
            let more = signalled.saturating_sub(struck.counted);
            struck.counted += more;
            more
        });
        self.budget.struck(now, victim, more);
        if ended.left_unkillable() {
            let meant = struck.get(&victim).map_or(&[][..], |struck| &struck.processes);
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
                by: self.name_of(&running.mandate.source),
                opcode: command.opcode.name(),
                subject: command.subject,
                argument: command.argument,
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
fn each_once(matching: impl Iterator<Item = Vec<Process>>) -> Vec<Process> {
    let mut known = HashSet::new();
    matching.flatten().filter(|process| known.insert(process.pid)).collect()
}
