//! The sentences behind a verdict. Made only when a verdict changes, or for somebody who looks.

use super::finding::Cause;
use super::outside::Failure;
use super::{AGENT, AGENT_PLACE, FIRST_APPLICATION, HOST, Judge, PATH, USER};
use crate::pace::percent;
use std::time::Duration;

impl Judge {
    pub(super) fn evidence(&self, place: usize, now: Duration) -> Vec<String> {
        let (cause, held) = self.causes[place];
        let mut sentences = self.sentences(place, cause, now);
        let standing = &self.terms.standing;
        if held {
            sentences.push(format!(
                "this monitor is too late itself to accuse anyone: score {}, {} % of its rounds were late",
                standing.score,
                percent(standing.late_share)
            ));
        } else if standing.score > 0
            && !matches!(cause, Cause::Reads | Cause::Moves | Cause::NothingYet | Cause::Hidden)
        {
            sentences
                .push(format!("this monitor was late: deadlines are {} times as long", standing.multiplier));
        }
        sentences
    }

    fn sentences(&self, place: usize, cause: Cause, now: Duration) -> Vec<String> {
        match cause {
            Cause::NothingYet | Cause::Held => vec!["nothing was read yet".to_owned()],
            Cause::Hidden => vec![self.hidden_by(place)],
            Cause::Reads if place == PATH => vec!["readings come back".to_owned()],
            Cause::Reads => vec!["its NIC answers readings".to_owned()],
            Cause::Answers => vec![match self.silence.last_failure() {
                Some(Failure::Damaged) => format!("its NIC answers, but for {} nothing it sent was a whole sensor box", self.silent(now)),
                _ => format!("its NIC answers, but has refused every reading for {}", self.silent(now)),
            }],
            Cause::NotAsked => {
                vec![format!("this monitor could not ask anything for {}: its own NIC or connections fail", self.silent(now))]
            }
            Cause::Closed => vec![format!(
                "the machine answers, but for {} nobody there has served its memory",
                self.silent(now)
            )],
            Cause::Slow | Cause::OnlyMe | Cause::Back | Cause::Nobody | Cause::Alone => self.about_silence(place, cause, now),
            Cause::Learning => vec!["nothing was seen to move yet, and no deadline has run out".to_owned()],
            Cause::NoSensor => vec!["the box has no sensor that tells".to_owned()],
            Cause::NoLimit => vec![format!(
                "the sensor that tells has no limit, or one shorter than {:?}, by which nothing can be judged",
                super::SHORTEST_LIMIT.max(self.tick * 2)
            )],
            Cause::UserHalf => {
                vec!["the agent's user half fills this box: it says nothing of the kernel".to_owned()]
            }
            Cause::Moves => vec![self.moves(place)],
            Cause::TimerFrozen | Cause::Stuck | Cause::MaybeStuck => self.about_kernel(now),
            Cause::HeartbeatFrozen => vec![
                self.heartbeat_stands(now),
                "the kernel's timer moved since, and the agent's process exists".to_owned(),
            ],
            Cause::HeartbeatUnclear => vec![
                self.heartbeat_stands(now),
                if self.alive.is_none() {
                    format!("starved or dead: no sensor tells whether the process of {AGENT} exists")
                } else {
                    "the kernel was not seen to run since".to_owned()
                },
            ],
            Cause::BoxFrozen => vec![
                self.heartbeat_stands(now),
                "the agent's user half fills this box: agent or user space stands still, or what is beneath them".to_owned(),
            ],
            Cause::AgentDead if place == USER => vec![
                self.heartbeat_stands(now),
                format!("{AGENT} is dead, and nothing else shows whether user space runs"),
            ],
            Cause::AgentDead => vec![self.heartbeat_stands(now), "the kernel half saw its process end".to_owned()],
            Cause::AgentEnded => vec!["the kernel half saw its process end; another may be starting".to_owned()],
            Cause::AgentStuck => vec![self.heartbeat_stands(now), "other applications run".to_owned()],
            Cause::ApplicationsRun => vec!["applications move their sensors".to_owned()],
            Cause::ApplicationFrozen(sensor) => vec![
                self.application_stands(place, sensor, now),
                "user space was seen to run since".to_owned(),
            ],
            Cause::ApplicationUnproven(sensor) => vec![
                self.application_stands(place, sensor, now),
                "user space was not seen to run since".to_owned(),
            ],
            Cause::ApplicationDied => vec!["the agent saw its process end without a goodbye".to_owned()],
            Cause::ApplicationLeft => vec!["it said that it leaves".to_owned()],
            Cause::NoProgress => vec!["none of its sensors has a deadline".to_owned()],
        }
    }

    fn hidden_by(&self, place: usize) -> String {
        let outer = self.verdicts[..place.min(AGENT_PLACE)].iter().rev();
        let mut outer = outer.filter(|verdict| verdict.state != crate::verdict::State::Healthy);
        match outer.next_back() {
            Some(verdict) => format!("hidden: {} is {}", verdict.layer, verdict.state),
            None => "hidden: nothing could be read".to_owned(),
        }
    }

    fn silent(&self, now: Duration) -> String {
        told(self.silence.lasted(now))
    }

    fn about_silence(&self, place: usize, cause: Cause, now: Duration) -> Vec<String> {
        let silence = &self.silence;
        let mut sentences = vec![format!(
            "{} for {}: {} chances missed one after the other, {} needed at a loss of {} %",
            if silence.ever_read() { "nothing was read" } else { "never read, though tried" },
            self.silent(now),
            silence.misses,
            self.terms.chances,
            percent(self.terms.loss),
        )];
        match silence.probe {
            Some((at, took)) if cause == Cause::Slow => {
                sentences.push(format!(
                    "its NIC answered a probe {} ago, in {}",
                    told(now.saturating_sub(at)),
                    told(took)
                ));
            }
            _ if silence.probes_missed > 0 => {
                sentences
                    .push(format!("{} probes of its NIC were not answered either", silence.probes_missed));
            }
            _ => {}
        }
        for opinion in &silence.opinions {
            let age = now.saturating_sub(opinion.at);
            let read = match opinion.last_good_age {
                Some(good) => format!("read it {} ago", told(good.saturating_add(age))),
                None => "never read it".to_owned(),
            };
            let late = if opinion.late { ", but is late itself" } else { "" };
            sentences.push(format!("{} {read}{late}", opinion.monitor));
        }
        match cause {
            Cause::Alone => sentences.push("no second view decides between path and host".to_owned()),
            Cause::Nobody if place == PATH => {
                sentences.push("nobody reads it: the path cannot be told from the host".to_owned());
            }
            Cause::Back => sentences.push("nobody read it for a while, and others do again".to_owned()),
            Cause::OnlyMe if place == HOST => sentences.push("others read it".to_owned()),
            _ => {}
        }
        sentences
    }

    fn about_kernel(&self, now: Duration) -> Vec<String> {
        let mut sentences = Vec::new();
        let mut timer_stands = false;
        if let (Some(timer), Some(limit)) = (self.kernel.timer, self.kernel.timer_limit) {
            let still = timer.still(now);
            timer_stands = still >= limit;
            if timer_stands {
                sentences.push(format!(
                    "kernel.timer has stood at {} for {}, its limit is {}",
                    timer.value(),
                    told(still),
                    told(limit)
                ));
            } else {
                sentences.push("kernel.timer moves".to_owned());
            }
        }
        let (mut stuck, mut running, mut busy) = (Vec::new(), Vec::new(), 0);
        for cpu in &self.kernel.cpus {
            let limit = self.kernel.limit(cpu).unwrap_or(Duration::MAX);
            // The processor that the timer stopped with may have been seen to tick a little later than the timer.
            let limit = if timer_stands { limit / 2 } else { limit };
            busy += usize::from(cpu.is_busy());
            if cpu.is_busy() && cpu.still(now) >= limit {
                stuck.push(cpu);
            } else if cpu.ticks.still(now) < limit {
                running.push(cpu.number.to_string());
            } else if self.causes[super::KERNEL].0 == Cause::MaybeStuck
                && !cpu.is_busy()
                && cpu.still(now) >= limit * 2
            {
                sentences.push(format!(
                    "CPU {} has stood still for {}; an idle one may look the same",
                    cpu.number,
                    told(cpu.still(now))
                ));
            }
        }
        for cpu in &stuck {
            sentences.push(format!(
                "CPU {} has had one task on it for {} and not ticked: {} ticks",
                cpu.number,
                told(cpu.still(now)),
                cpu.ticks.value()
            ));
        }
        if !stuck.is_empty() && stuck.len() == busy {
            sentences.push(format!("every busy CPU stands still, {} of {}", busy, self.kernel.cpus.len()));
        }
        if !running.is_empty() {
            let plural = if running.len() == 1 { "CPU" } else { "CPUs" };
            sentences.push(format!("{plural} {} ticked meanwhile", running.join(", ")));
        }
        sentences
    }

    fn moves(&self, place: usize) -> String {
        match place {
            super::KERNEL => "kernel.timer moves, and no busy CPU stands still".to_owned(),
            USER | AGENT_PLACE => "agent.heartbeat moves".to_owned(),
            _ => "its sensors move".to_owned(),
        }
    }

    fn heartbeat_stands(&self, now: Duration) -> String {
        match self.heartbeat.zip(self.heartbeat_limit) {
            Some((heartbeat, limit)) => format!(
                "agent.heartbeat has stood at {} for {}, its limit is {}",
                heartbeat.value(),
                told(heartbeat.still(now)),
                told(limit)
            ),
            None => "agent.heartbeat is not there".to_owned(),
        }
    }

    fn application_stands(&self, place: usize, sensor: usize, now: Duration) -> String {
        let application = place.checked_sub(FIRST_APPLICATION).and_then(|index| self.applications.get(index));
        match application.and_then(|application| application.sensors.get(sensor)) {
            Some(sensor) => format!(
                "{} has stood at {} for {}, its limit is {}",
                sensor.name,
                sensor.still.value(),
                told(sensor.still.still(now)),
                told(sensor.limit)
            ),
            None => "its sensor is no longer there".to_owned(),
        }
    }
}

/// A duration with as many digits as somebody wants to read.
fn told(duration: Duration) -> String {
    if duration >= Duration::from_secs(1) {
        format!("{:.1} s", duration.as_secs_f64())
    } else if duration >= Duration::from_millis(1) {
        format!("{:.1} ms", duration.as_secs_f64() * 1e3)
    } else {
        format!("{} µs", duration.as_micros())
    }
}
