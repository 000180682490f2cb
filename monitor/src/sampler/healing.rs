//! From events to repairs: healers are called, and what they propose is checked, then done, proposed or withheld.

use super::Sampler;
use super::order::order_texts;
use super::treating::{Begun, Source};
use crate::budget::{Exceeded, Wanted};
use crate::config::{HealerConfig, Mode};
use crate::guard;
use crate::journal::What;
use crate::proposals::{Found, Proposed};
use crate::victim::{Victim, matching};
use backdoors_healers::{Case, Culprit, Diagnosis, Healer, Repair};
use backdoors_sensor_box::layout::Capabilities;
use backdoors_sensor_box::{Command, Opcode, ProcessView, Subject};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// A healer of this target.
pub(super) struct Healing {
    pub healer: Box<dyn Healer>,
    pub mode: Mode,
    /// How long those whom it would kill have to end by themselves.
    grace: Duration,
    /// It was told that the healer finds nothing, and nothing new happened since.
    pub told_nothing: bool,
    /// What was told last of what it found, and when.
    told: Option<(Told, Duration)>,
    /// It broke when it was told a reading, and is told no more.
    deaf: bool,
    /// What it answered at last, after it had been asked before.
    pub answer: Option<Diagnosis>,
}

impl Healing {
    pub(super) fn new(healer: Box<dyn Healer>, config: &HealerConfig) -> Healing {
        let (mode, grace) = (config.mode, config.grace());
        Healing { healer, mode, grace, told_nothing: false, told: None, deaf: false, answer: None }
    }
}

/// What the journal need not be told twice in a row.
#[derive(Clone, PartialEq)]
struct Told {
    culprit: Culprit,
    victims: Vec<Victim>,
    /// Why it was withheld, without the numbers that change.
    withheld: Option<String>,
}

/// What becomes of something found.
enum Decision {
    /// It is noted.
    Note,
    /// It is neither done nor proposed.
    Withhold(String),
    /// It is done if a human approves.
    Propose,
    /// The healer would do it, and must leave it to a human.
    Leave(Exceeded),
    /// It is done.
    Act(Vec<Command>),
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
    pub(super) fn votes_count(&self) -> bool {
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
                self.dispatcher.not_read();
                tracing::warn!(target = %self.config.name, "cannot read the process table: {error}");
                return;
            }
        };
        self.unkillable.go_on(now);
        let mut shown = processes.clone();
        self.unkillable.protect(&mut shown);
        for index in due {
            self.examine(index, &shown, &processes);
        }
    }

    /// Has a healer examine the target, `shown` being the `processes` as healers may see them.
    fn examine(&mut self, index: usize, shown: &ProcessView, processes: &ProcessView) {
        let now = self.clock.monotonic();
        let events = self.dispatcher.concerning(index, &self.exceeded);
        let stuck = self.judge.stuck_applications(self.applications.views());
        let case = Case {
            now,
            target: &self.config.name,
            events: &events,
            sensors: self.fetcher.view(),
            processes: shown,
            limits: self.detector.limits(),
            stuck: &stuck,
        };
        let Some(healing) = self.healers.get_mut(index) else { return };
        // A plug-in that breaks must not end the watch over the target.
        let diagnosis = catch_unwind(AssertUnwindSafe(|| healing.healer.examine(&case)))
            .unwrap_or_else(|_| Diagnosis::Broke { reason: "it panicked while it examined".to_owned() });
        self.take_in_diagnosis(index, diagnosis, processes);
    }

    /// Does what a diagnosis calls for, checked against this process table.
    pub(super) fn take_in_diagnosis(&mut self, index: usize, diagnosis: Diagnosis, processes: &ProcessView) {
        let now = self.clock.monotonic();
        let is_called = self.dispatcher.is_called(index, &self.exceeded);
        let Some(healing) = self.healers.get_mut(index) else { return };
        let (healer, mode) = (healing.healer.name().to_owned(), healing.mode);
        match diagnosis {
            Diagnosis::Later => self.dispatcher.asked(index),
            Diagnosis::Broke { reason } => {
                self.dispatcher.examined(index, now, true);
                self.note(What::HealerBroke { healer, reason });
            }
            Diagnosis::Nothing { reason } => {
                // Who looked by itself and found nothing has no news.
                let told = !is_called || std::mem::replace(&mut healing.told_nothing, true);
                healing.told = None;
                self.dispatcher.examined(index, now, false);
                if !told {
                    self.note(What::NothingFound { healer, reason });
                }
                self.proposals.withdraw(now, index);
                self.tell_proposals();
            }
            Diagnosis::Culprit { culprit, evidence, repair, victims } => {
                self.dispatcher.examined(index, now, true);
                let grace = self.grace_for(index, &repair);
                let (number, commands) = (index, repair.commands);
                let found =
                    Found { number, healer, culprit, evidence, commands, grace, victims, withheld: None };
                let decision = self.decide(now, mode, &found, processes);
                self.follow(now, mode, found, decision, processes);
            }
        }
    }

    /// How long its victims have to end by themselves. If there is no time for twice that, or if others must agree, who
    /// cannot wait together, they have none.
    fn grace_for(&self, index: usize, repair: &Repair) -> Duration {
        let grace = self.healers.get(index).map_or(Duration::ZERO, |healing| healing.grace);
        if repair.time < grace.saturating_mul(2) || self.votes_count() { Duration::ZERO } else { grace }
    }

    /// Has healers know a good reading.
    pub(super) fn tell_reading(&mut self, now: Duration) {
        let mut broke = Vec::new();
        for healing in self.healers.iter_mut().filter(|healing| !healing.deaf) {
            let (healer, view) = (&mut healing.healer, self.fetcher.view());
            // A plug-in that breaks must not end the watch over the target.
            if catch_unwind(AssertUnwindSafe(|| healer.read(now, view))).is_err() {
                healing.deaf = true;
                broke.push(healing.healer.name().to_owned());
            }
        }
        for healer in broke {
            let reason = "it panicked at a reading, and is told none any more".to_owned();
            self.note(What::HealerBroke { healer, reason });
        }
    }

    fn decide(&mut self, now: Duration, mode: Mode, found: &Found, processes: &ProcessView) -> Decision {
        // Without a command there is only evidence.
        if mode == Mode::Observe || found.commands.iter().all(|command| command.opcode == Opcode::Nothing) {
            return Decision::Note;
        }
        let is_safe = guard::check_may(&found.healer, &found.commands)
            .and_then(|()| guard::check(&found.commands, processes, &self.spare));
        if let Err(reason) = is_safe {
            return Decision::Withhold(reason.to_string());
        }
        if let Some(victim) = self.on_the_bench(&found.commands, processes) {
            return Decision::Withhold(format!(
                "{victim} was killed before and did not die (`budget.unkillable_cooldown`); nothing was written"
            ));
        }
        if let Some(id) = self.proposals.rejected(now, found) {
            return Decision::Withhold(format!(
                "proposal {id} of the same was rejected; nothing was written"
            ));
        }
        if mode == Mode::Propose {
            return Decision::Propose;
        }
        // It may have been asked while this monitor held the lease.
        if self.other_holder().is_some() && !self.votes_count() {
            return Decision::Withhold("another monitor holds the lease; nothing was written".to_owned());
        }
        if self.running.is_some() {
            // Another healer was quicker; this one gets its turn after the cooldown, if need be.
            return Decision::Withhold("another repair has just begun; nothing was written".to_owned());
        }
        let wanted = found.commands.iter().map(|command| Wanted {
            victim: Victim::of(command),
            count: matching(command, processes).count() as u64,
            most: command.most_victims,
        });
        let wanted: Vec<Wanted> = wanted.collect();
        match self.budget.grant(now, &wanted) {
            Ok(grants) => Decision::Act(bound(&found.commands, &grants)),
            Err(exceeded) => Decision::Leave(exceeded),
        }
    }

    /// A victim of which everybody is on the bench.
    fn on_the_bench(&self, commands: &[Command], processes: &ProcessView) -> Option<Victim> {
        let nobody_else = |command: &&Command| {
            let mut struck = matching(command, processes).peekable();
            struck.peek().is_some() && struck.all(|process| self.unkillable.holds(process))
        };
        commands.iter().filter(|command| command.opcode.kills()).find(nobody_else).and_then(Victim::of)
    }

    /// Does what was decided, and tells it unless the same was told before.
    fn follow(
        &mut self,
        now: Duration,
        mode: Mode,
        mut found: Found,
        decision: Decision,
        processes: &ProcessView,
    ) {
        let (kind, withheld) = match &decision {
            Decision::Note | Decision::Propose | Decision::Act(_) => (None, None),
            Decision::Withhold(reason) => (Some(reason.clone()), Some(reason.clone())),
            // Its numbers change while it stays the same.
            Decision::Leave(exceeded) => {
                (Some(format!("{:?}", std::mem::discriminant(exceeded))), Some(exceeded.to_string()))
            }
        };
        found.withheld.clone_from(&withheld);
        let (made, kept) = match decision {
            Decision::Propose | Decision::Leave(_) => match self.proposals.propose(now, found.clone()) {
                Proposed::Made(id) => (Some(id), Some(id)),
                Proposed::Confirmed(id) => (None, Some(id)),
            },
            Decision::Note | Decision::Withhold(_) | Decision::Act(_) => {
                self.proposals.supersede(now, &found);
                (None, None)
            }
        };
        let told = Told { culprit: found.culprit, victims: Victim::of_all(&found.commands), withheld: kind };
        let index = found.number;
        let is_news = !self.was_told(now, index, told) || made.is_some();
        let reason = found.reason();
        let tells = match (&decision, &withheld, made) {
            // Its commands tell it.
            (Decision::Act(_), ..) => None,
            (_, _, Some(proposal)) => Some(format!("proposal {proposal} of {reason}")),
            (_, Some(why), None) => Some(format!("withheld: {reason}; {why}")),
            (_, None, None) => Some(format!("observed: {reason}")),
        };
        if let (true, Some(text)) = (is_news, tells) {
            self.tell_target(text);
        }
        let Found { healer, culprit, evidence, commands, grace, victims, .. } = found;
        // What a plug-in says is as long as it likes; the reason why it is withheld tells how long.
        let told_of = &commands[..commands.len().min(Repair::MOST)];
        let orders = order_texts(&self.config.name, told_of, grace);
        if is_news || matches!(decision, Decision::Act(_)) {
            self.note(What::Diagnosis { healer: healer.clone(), culprit, evidence, victims, mode });
        }
        self.tell_proposals();
        if let (true, Some(reason)) = (is_news, withheld) {
            self.note(What::Withheld {
                healer: healer.clone(),
                orders: orders.clone(),
                reason,
                proposal: kept,
            });
        }
        if let Some(proposal) = made {
            let approval = self.approval(proposal);
            self.note(What::Proposal { proposal, healer, orders: orders.clone(), approval });
        }
        if let Decision::Act(commands) = decision {
            let (order_text, source) = (orders.join(" && "), Source::Healer(index));
            self.begin(now, processes, Begun { commands, grace, guarded: true, order_text, reason, source });
        }
    }

    /// Whether that was told of a healer last, and not too long ago; it counts as told from now on.
    fn was_told(&mut self, now: Duration, index: usize, told: Told) -> bool {
        let Some(healing) = self.healers.get_mut(index) else { return false };
        let lifetime = self.config.proposal_lifetime;
        if let Some((before, at)) = &healing.told
            && *before == told
            && now.saturating_sub(*at) < lifetime
        {
            return true;
        }
        healing.told = Some((told, now));
        false
    }
}

/// The commands, each with the most victims that it was granted: so the target enforces it, too. One process is one
/// victim, whatever is granted.
fn bound(commands: &[Command], grants: &[u64]) -> Vec<Command> {
    let many = |command: &Command| command.opcode.sweeps() && command.opcode.subject() != Subject::Process;
    let bounded = commands.iter().zip(grants).map(|(command, &granted)| match command {
        command if many(command) => Command { most_victims: granted, ..*command },
        command => *command,
    });
    bounded.collect()
}
