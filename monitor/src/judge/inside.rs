//! The layers that only good readings tell of: kernel, user space, applications.

use super::applications::Standstill;
use super::finding::{Cause, Finding};
use super::kernel::Stall;
use super::{AGENT_PLACE, FIRST_APPLICATION, Judge, KERNEL, USER};
use crate::verdict::State;
use backdoors_sensor_box::ApplicationState;
use std::time::Duration;

impl Judge {
    /// Judges everything inside the host by what was asked for at `asked`.
    pub(super) fn judge_inside(&mut self, asked: Duration, now: Duration) {
        let kernel = self.kernel_finding(asked);
        self.say(KERNEL, kernel, now);
        // What was found counts here, not what is said: an overloaded monitor says less.
        if kernel.state == State::Failed {
            for place in USER..self.verdicts.len() {
                self.say(place, Finding::unknown(Cause::Hidden), now);
            }
            return;
        }
        let (user, agent) = self.user_findings(asked);
        self.say(USER, user, now);
        self.say(AGENT_PLACE, agent, now);
        for index in 0..self.applications.len() {
            let finding = if user.state == State::Failed {
                Finding::unknown(Cause::Hidden)
            } else {
                self.application_finding(index, asked)
            };
            self.say(FIRST_APPLICATION + index, finding, now);
        }
    }

    fn kernel_finding(&self, asked: Duration) -> Finding {
        if self.user_half {
            return Finding::unknown(Cause::UserHalf);
        }
        let (Some(timer), limit) = (self.kernel.timer, self.kernel.timer_limit) else {
            return Finding::unknown(Cause::NoSensor);
        };
        let still = timer.still(asked);
        if limit.is_some_and(|limit| still >= self.terms.widened(limit)) {
            return Finding::failed(timer.certainty(still, Some(self.tick)), Cause::TimerFrozen);
        }
        let mut maybe = None;
        for cpu in &self.kernel.cpus {
            let Some(limit) = self.kernel.limit(cpu) else { continue };
            match cpu.stall(asked, self.terms.widened(limit)) {
                Stall::Stuck => return Finding::failed(cpu.certainty(cpu.still(asked)), Cause::Stuck),
                Stall::Maybe => maybe = Some(Finding::suspect(0.2, Cause::MaybeStuck)),
                Stall::None => {}
            }
        }
        match limit {
            Some(limit) if still >= limit => Finding::held(),
            _ if maybe.is_some() => maybe.unwrap_or(Finding::unknown(Cause::Learning)),
            None => Finding::unknown(Cause::NoLimit),
            Some(_) if !timer.moved() => Finding::unknown(Cause::Learning),
            Some(_) => Finding::healthy(1.0, Cause::Moves),
        }
    }

    /// Of user space and of the agent.
    fn user_findings(&self, asked: Duration) -> (Finding, Finding) {
        let both = |finding| (finding, finding);
        let Some(heartbeat) = self.heartbeat else {
            return (self.by_applications(asked, Cause::NoSensor), Finding::unknown(Cause::NoSensor));
        };
        let Some(limit) = self.heartbeat_limit else {
            return (self.by_applications(asked, Cause::NoLimit), Finding::unknown(Cause::NoLimit));
        };
        let still = heartbeat.still(asked);
        if still < limit {
            let agent = match (self.alive, heartbeat.moved()) {
                (Some(false), _) => Finding::suspect(0.5, Cause::AgentEnded),
                (_, false) => Finding::unknown(Cause::Learning),
                (_, true) => Finding::healthy(1.0, Cause::Moves),
            };
            let user = if heartbeat.moved() {
                Finding::healthy(1.0, Cause::Moves)
            } else {
                self.by_applications(asked, Cause::Learning)
            };
            return (user, agent);
        }
        if still < self.terms.widened(limit) {
            return both(Finding::held());
        }
        let sure = heartbeat.certainty(still, None);
        if self.user_half {
            return both(Finding::suspect(sure / 2.0, Cause::BoxFrozen));
        }
        // The kernel must have run since, and run still; it may have stopped together with the heartbeat.
        let proven = matches!(self.causes[USER].0, Cause::HeartbeatFrozen | Cause::AgentDead)
            || self.causes[AGENT_PLACE].0 == Cause::AgentStuck
            || self.kernel.runs(asked, heartbeat.changed(), self.tick);
        if !proven {
            return both(Finding::suspect(sure / 2.0, Cause::HeartbeatUnclear));
        }
        let run = self.running(heartbeat.changed().saturating_add(still / 2));
        if self.alive == Some(false) {
            return (self.by_applications(asked, Cause::AgentDead), Finding::failed(sure, Cause::AgentDead));
        }
        if run > 0 {
            let share = succession(run);
            let user = Finding::healthy(share, Cause::ApplicationsRun);
            return (user, Finding::failed(sure * share, Cause::AgentStuck));
        }
        if self.alive == Some(true) {
            let agent = Finding::unknown(Cause::Hidden);
            return (Finding::failed(sure, Cause::HeartbeatFrozen), agent);
        }
        both(Finding::suspect(sure / 2.0, Cause::HeartbeatUnclear))
    }

    /// Applications that were seen to run after `since`.
    fn running(&self, since: Duration) -> u32 {
        let run = self.applications.iter().filter(|application| application.ran(since)).count();
        u32::try_from(run).unwrap_or(u32::MAX)
    }

    /// Applications besides this one that ran after `since` and run still.
    fn others_running(&self, index: usize, asked: Duration, since: Duration) -> u32 {
        let others = self.applications.iter().enumerate().filter(|(other, _)| *other != index);
        let run = others.filter(|(_, application)| application.runs(asked, since)).count();
        u32::try_from(run).unwrap_or(u32::MAX)
    }

    /// User space, where the heartbeat tells nothing.
    fn by_applications(&self, asked: Duration, otherwise: Cause) -> Finding {
        let run = self.applications.iter().filter(|application| application.gets_on(asked)).count();
        match u32::try_from(run).unwrap_or(u32::MAX) {
            0 => Finding::unknown(otherwise),
            run => Finding::healthy(succession(run), Cause::ApplicationsRun),
        }
    }

    fn application_finding(&self, index: usize, asked: Duration) -> Finding {
        let application = &self.applications[index];
        match application.state {
            ApplicationState::Died => return Finding::failed(1.0, Cause::ApplicationDied),
            ApplicationState::Left => return Finding::unknown(Cause::ApplicationLeft),
            ApplicationState::Attached => {}
        }
        // A reading of the box shows no application.
        let looked = asked.min(self.applications_asked);
        match application.standstill(looked, |limit| self.terms.widened(limit)) {
            Standstill::Unseen if application.sensors.is_empty() => Finding::unknown(Cause::NoProgress),
            Standstill::Unseen => Finding::unknown(Cause::Learning),
            Standstill::None => Finding::healthy(1.0, Cause::Moves),
            Standstill::Held => Finding::held(),
            Standstill::Frozen(sensor) => {
                let limit = self.terms.widened(application.sensors[sensor].limit);
                let still = &application.sensors[sensor].still;
                let lasted = still.still(looked);
                let sure = still.certainty(lasted, None);
                let place = FIRST_APPLICATION + index;
                // What was proven once stays so; if the outside fails later, that is told there.
                let heartbeat = matches!(self.causes[place].0, Cause::ApplicationFrozen(_))
                    || self.heartbeat.is_some_and(|heartbeat| {
                        heartbeat.moves(asked, still.proof_since(limit, heartbeat.beat()))
                    });
                let others = self.others_running(index, asked, still.proof_since(limit, still.beat()));
                if heartbeat || others > 0 {
                    let share = if heartbeat { 1.0 } else { succession(others) };
                    Finding::failed(sure * share, Cause::ApplicationFrozen(sensor))
                } else {
                    Finding::suspect(sure / 2.0, Cause::ApplicationUnproven(sensor))
                }
            }
        }
    }
}

/// Laplace's rule of succession: `run` of `run` programs run, so the next one does too.
fn succession(run: u32) -> f64 {
    (f64::from(run) + 1.0) / (f64::from(run) + 2.0)
}
