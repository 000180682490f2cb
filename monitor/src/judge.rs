//! What is dead, and how sure that is: a verdict for each layer of a target. Pure: it is fed what was read, and what was not, with times, and
//! says what it thinks.
//!
//! # Rules
//! - **Path and host** are judged by silence: nothing was read for T, the tightest deadline of the target's progress sensors, *and* as many
//!   chances were missed as the promised rate of false alarms asks for (see [`crate::pace`]). What tells the two apart is in
//!   `silence`.
//! - **Everything further in** is judged by good readings only. A value is frozen when a reading that was *asked for* at least a limit after
//!   the value was first *seen* still shows it. A lost reading can delay that, never cause it.
//! - **An inner layer fails only when the one around it is seen to run**, after the inner one had stopped: a heartbeat is no proof against user space
//!   unless the kernel's timer moved since, an application's standstill none against the application unless user space moved since.
//!   What an outer layer hides is unknown.
//! - **Time that this monitor did not watch does not count**: when samples come further apart than planned, because the monitor was paused or
//!   its clock jumped ahead, the excess is added to every beginning. Nor does time in which nothing could be read for a deadline count against a
//!   sensor, or time in which the kernel, or all of user space, stood still against what runs on it: what was suspended or starved is given time
//!   to move again, and it does not move again all at once. When this monitor's clock goes back, everything is learnt anew. The target's clock is not used.
//! - **A late monitor is slow to accuse**: limits are multiplied by its [lateness](crate::lateness), and at the bound of that nobody is failed.
//!
//! # Confidence
//! A probability, as far as there is a model, of the verdict's being right:
//! - silence: 1 - p_ml^misses, that loss alone does not explain it; halved between path and host without a second view; with k other monitors to whom
//!   it fell silent too, divided by 1 + qᵏ, q being the probability that two paths are cut at once;
//! - standstill: 1 - e^(-still/interval), the interval being the mean one between the changes that were seen;
//! - n other applications that run: (n + 1) / (n + 2) that user space does (Laplace's rule of succession);
//! - all of it times the share of this monitor's recent rounds that were not late.

mod applications;
mod evidence;
mod excuses;
mod finding;
mod inside;
mod kernel;
mod outside;
mod silence;
mod still;
mod stuck;
#[cfg(test)]
mod tests;

pub use outside::{Failure, Terms};

use crate::peers::Opinion;
use crate::verdict::{Layer, State, Verdict};
use applications::Application;
use backdoors_healers::Limits;
use backdoors_sensor_box::layout::Capabilities;
use backdoors_sensor_box::{ApplicationView, Class, SensorKind, SensorView};
use finding::{Cause, Finding};
use kernel::Kernel;
use silence::{Meaning, Silence};
use std::time::Duration;
use still::Still;

/// The agent, as a subject of verdicts.
pub const AGENT: &str = "backdoors-agent";

/// Changes that wait to be fetched; older ones are dropped.
const MOST_CHANGES: usize = 256;
/// Shortest limit of a progress sensor that is taken seriously.
const SHORTEST_LIMIT: Duration = Duration::from_millis(1);
/// A tick period longer than that is not believed.
const LONGEST_TICK: Duration = Duration::from_secs(1);

/// Settings of a judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// T, as long as the target announces no deadline: silence of this length accuses.
    pub silence: Duration,
}

/// Judges one target.
#[derive(Clone, Debug)]
pub struct Judge {
    settings: Settings,
    terms: Terms,
    /// Longest time between two samples that counts as watched.
    watched: Duration,
    last_asked: Option<Duration>,
    last_read: Option<Duration>,
    now: Duration,
    generation: Option<u64>,
    user_half: bool,
    tick: Duration,
    silence: Silence,
    kernel: Kernel,
    heartbeat: Option<Still>,
    heartbeat_limit: Option<Duration>,
    alive: Option<bool>,
    applications: Vec<Application>,
    /// When what is known of them was asked for.
    applications_asked: Duration,
    /// When anything in user space was last seen to move.
    user_moved: Option<Duration>,
    /// Tightest limit in the box.
    tightest: Option<Duration>,
    doubted: Option<Duration>,
    verdicts: Vec<Verdict>,
    causes: Vec<(Cause, bool)>,
    changes: Vec<Verdict>,
}

const PATH: usize = 0;
const HOST: usize = 1;
const KERNEL: usize = 2;
const USER: usize = 3;
const AGENT_PLACE: usize = 4;
const FIRST_APPLICATION: usize = 5;

impl Judge {
    /// A judge that knows nothing yet, and judges by `terms` until told others.
    #[must_use]
    pub fn new(settings: Settings, terms: Terms) -> Judge {
        let mut judge = Judge {
            settings,
            watched: terms.watched(),
            terms,
            last_asked: None,
            last_read: None,
            now: Duration::ZERO,
            generation: None,
            user_half: false,
            tick: Duration::ZERO,
            silence: Silence::default(),
            kernel: Kernel::default(),
            heartbeat: None,
            heartbeat_limit: None,
            alive: None,
            applications: Vec::new(),
            applications_asked: Duration::ZERO,
            user_moved: None,
            tightest: None,
            doubted: None,
            verdicts: Vec::new(),
            causes: Vec::new(),
            changes: Vec::new(),
        };
        for layer in Layer::ALL {
            let subject = (layer == Layer::Application).then(|| AGENT.to_owned());
            judge.add(layer, subject);
        }
        judge
    }

    /// Judges by other terms from now on.
    pub fn terms(&mut self, terms: Terms) {
        // The sample that comes next was planned by the terms before.
        self.watched = terms.watched().max(self.terms.watched());
        self.terms = terms;
    }

    /// T: the tightest limit among the progress sensors of box and applications; what the settings say if there is none.
    #[must_use]
    pub fn tightest(&self) -> Duration {
        self.deadline_of_sensors().unwrap_or(self.settings.silence)
    }

    /// As [`Judge::tightest`]; `None` if there is no such sensor.
    #[must_use]
    pub fn deadline_of_sensors(&self) -> Option<Duration> {
        let applications = self.applications.iter().flat_map(|application| &application.sensors);
        applications.map(|sensor| sensor.limit).chain(self.tightest).min()
    }

    /// Takes a good reading in that was asked for at `asked` and had come at `now`. `limits` override those of the sensors. Allocates
    /// nothing unless the box or a verdict changes.
    pub fn reading(&mut self, asked: Duration, now: Duration, view: &SensorView, limits: &Limits) {
        self.watch(asked, now);
        if self.last_read.is_some_and(|last| asked < last) {
            // Overtaken by a later one.
            return;
        }
        let unread = asked.saturating_sub(self.last_read.replace(asked).unwrap_or(asked));
        if unread >= self.terms.widened(self.tightest()) {
            // Nothing was read for a deadline: whether anything ran meanwhile nobody knows. A machine that was suspended did not.
            self.excuse_readings(unread.saturating_sub(self.watched), asked);
        }
        self.watched = self.terms.watched();
        if self.generation.replace(view.generation) != Some(view.generation) {
            self.forget_box();
        }
        self.silence.good(asked);
        self.take_in(now, view, limits);
        if self.kernel.timer.is_some_and(|timer| timer.still(asked) > self.tick * 2) && !self.user_half {
            // What is inside of a kernel that stands still cannot move; it needs time when the kernel moves again.
            self.excuse_inside(unread, asked);
        }
        self.say_reachable(now);
        self.judge_inside(asked, now);
    }

    /// Takes in that the chance of `asked` came to nothing, as was known at `now`.
    pub fn missed(&mut self, asked: Duration, now: Duration, how: Failure) {
        self.watch(asked, now);
        self.silence.missed(asked, now, how);
        self.judge_silence(now);
    }

    /// Takes in the outcome of a zero-length probe: how long the NIC took to answer, or why it did not.
    pub fn probe(&mut self, now: Duration, answer: Result<Duration, Failure>) {
        self.silence.probed(now, answer);
        self.judge_silence(now);
    }

    /// Takes in what other monitors say, all of it.
    pub fn opinions(&mut self, now: Duration, opinions: &[Opinion]) {
        self.silence.heard(opinions, now, self.terms.widened(self.tightest()));
        self.judge_silence(now);
    }

    /// Takes in what was read of all applications, asked for at `asked`.
    pub fn applications(&mut self, asked: Duration, now: Duration, views: &[ApplicationView]) {
        if let Some(usual) = applications::moved(&self.applications, views) {
            self.user_space_moves(usual, now);
        }
        if applications::take_in(&mut self.applications, views, now) {
            self.rearrange(now);
        }
        self.applications_asked = asked;
        if self.last_read.is_some() && !self.is_silent() {
            self.judge_inside(asked, now);
        }
    }

    /// Looks at the time alone: silence may have lasted too long. To be called when [`Judge::due`] says so.
    pub fn look(&mut self, now: Duration) {
        self.judge_silence(now);
    }

    /// When, if nothing moves before, something will have stood still for too long or the silence lasted too long: a sample should be
    /// taken then.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let widened = |limit: Duration| self.terms.widened(limit);
        let timer = self.kernel.timer.zip(self.kernel.timer_limit);
        let heartbeat = self.heartbeat.zip(self.heartbeat_limit);
        let of_box = [timer, heartbeat].into_iter().flatten().map(|(still, limit)| (still.changed(), limit));
        let of_applications = self.applications.iter().flat_map(|application| &application.sensors);
        let stills = of_box.chain(of_applications.map(|sensor| (sensor.still.changed(), sensor.limit)));
        let of_cpus = self.kernel.cpus.iter().filter_map(|cpu| cpu.due(widened(self.kernel.limit(cpu)?)));
        // What a reading has looked at since is decided. What was missed for want of a reading is still due, unless nothing is read anyway.
        let decided = match self.last_read {
            Some(read) if self.silence.misses < self.terms.chances => read,
            _ => self.now,
        };
        let of_silence = self.silence.due(widened(self.tightest())).filter(|&due| due > self.now);
        stills
            .map(|(changed, limit)| changed.saturating_add(widened(limit)))
            .chain(of_cpus)
            .filter(|&due| due > decided)
            .chain(of_silence)
            .min()
    }

    /// Whether a zero-length probe and the opinions of others are wanted now: half of the deadline, or of the chances, is gone. Says
    /// yes only every eighth of a deadline.
    pub fn wants_second_view(&mut self, now: Duration) -> bool {
        let deadline = self.terms.widened(self.tightest());
        if !self.silence.is_doubtful(now, deadline, &self.terms) {
            return false;
        }
        let pause = (deadline / 8).max(Duration::from_millis(5));
        if self.doubted.is_some_and(|last| last <= now && now - last < pause) {
            return false;
        }
        self.doubted = Some(now);
        true
    }

    /// The verdicts: path, host, kernel, user space, agent, other applications. Evidence is as of each verdict's last change; see
    /// [`Judge::refresh`].
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// Moves the verdicts that changed, each as it was then, to the end of `into`.
    pub fn changes(&mut self, into: &mut Vec<Verdict>) {
        into.append(&mut self.changes);
    }

    /// Puts the numbers of `now` into all evidence, for somebody who looks at it.
    pub fn refresh(&mut self, now: Duration) {
        for place in 0..self.verdicts.len() {
            self.verdicts[place].evidence = self.evidence(place, now);
        }
    }

    /// The worst of the verdicts: the outermost layer that failed, else the outermost suspect, else the outermost healthy one.
    #[must_use]
    pub fn overall(&self) -> &Verdict {
        let of = |state| self.verdicts.iter().find(|verdict| verdict.state == state);
        of(State::Failed)
            .or_else(|| of(State::Suspect))
            .or_else(|| of(State::Healthy))
            .unwrap_or(&self.verdicts[PATH])
    }

    /// The box was made anew: nothing that was seen of the one before holds.
    fn forget_box(&mut self) {
        self.kernel = Kernel::default();
        (self.heartbeat, self.heartbeat_limit, self.alive, self.tightest) = (None, None, None, None);
    }

    fn take_in(&mut self, now: Duration, view: &SensorView, limits: &Limits) {
        let has = |capability| view.capabilities & capability != 0;
        self.user_half = has(Capabilities::PROCFS) && !has(Capabilities::KERNEL_HALF);
        self.tick = Duration::from_nanos(view.tick_period).min(LONGEST_TICK);
        let shortest = SHORTEST_LIMIT.max(self.tick * 2);
        self.tightest = None;
        self.kernel.begin_reading();
        let (mut timer, mut heartbeat, mut alive) = (false, false, None);
        for reading in &view.sensors {
            let limit = if reading.class == Class::Progress {
                let limit =
                    limits.of(reading.kind, reading.instance, reading.limit).map(Duration::from_nanos);
                let limit = limit.filter(|&limit| limit >= shortest);
                if let Some(limit) = limit {
                    self.tightest = Some(self.tightest.map_or(limit, |tightest| tightest.min(limit)));
                }
                limit
            } else {
                None
            };
            match reading.kind {
                SensorKind::KERNEL_TIMER => {
                    timer = true;
                    self.kernel.timer(reading.value, limit, now);
                }
                SensorKind::CPU_TICKS => self.kernel.ticks(reading.instance, reading.value, limit, now),
                SensorKind::CPU_SWITCHES => self.kernel.switches(reading.instance, reading.value, now),
                SensorKind::CPU_BUSY => self.kernel.busy(reading.instance, reading.value, now),
                SensorKind::AGENT_HEARTBEAT => {
                    heartbeat = true;
                    self.heartbeat_limit = limit;
                    let before = self.heartbeat.filter(|heartbeat| heartbeat.value() != reading.value);
                    if let Some(usual) = before.and_then(|heartbeat| heartbeat.beat()) {
                        self.user_space_moves(usual, now);
                    }
                    let still = self.heartbeat.get_or_insert_with(|| Still::new(reading.value, now));
                    still.see(reading.value, now);
                }
                SensorKind::AGENT_ALIVE => alive = Some(reading.value != 0),
                _ => {}
            }
        }
        self.kernel.end_reading();
        if !timer {
            (self.kernel.timer, self.kernel.timer_limit) = (None, None);
        }
        if !heartbeat {
            (self.heartbeat, self.heartbeat_limit) = (None, None);
        }
        if self.alive == Some(false) && alive == Some(true) {
            // Another agent, which has the time of any other one for its first beat.
            self.heartbeat.iter_mut().for_each(|heartbeat| heartbeat.begin(now));
        }
        self.alive = alive;
    }

    fn say_reachable(&mut self, now: Duration) {
        self.say(PATH, Finding::healthy(1.0, Cause::Reads), now);
        self.say(HOST, Finding::healthy(1.0, Cause::Reads), now);
    }

    fn is_silent(&self) -> bool {
        self.verdicts[KERNEL].state == State::Unknown && self.causes[KERNEL].0 == Cause::Hidden
    }

    fn judge_silence(&mut self, now: Duration) {
        let deadline = self.terms.widened(self.tightest());
        let meaning = self.silence.meaning(now, deadline, &self.terms);
        let sure = 1.0 - self.terms.loss.powf(f64::from(self.silence.misses));
        let (path, host) = match meaning {
            Meaning::Nothing | Meaning::Within => return,
            Meaning::Answers => {
                (Finding::healthy(1.0, Cause::Answers), Finding::healthy(1.0, Cause::Answers))
            }
            Meaning::Closed => {
                (Finding::healthy(1.0, Cause::Closed), Finding::failed(sure.max(0.9), Cause::Closed))
            }
            Meaning::NotAsked => (Finding::unknown(Cause::NotAsked), Finding::unknown(Cause::NotAsked)),
            Meaning::Slow => (Finding::suspect(sure, Cause::Slow), Finding::healthy(sure, Cause::Slow)),
            Meaning::OnlyMe => (Finding::failed(sure, Cause::OnlyMe), Finding::healthy(sure, Cause::OnlyMe)),
            Meaning::OnlyMeAtFirst => (Finding::failed(sure, Cause::OnlyMe), Finding::unknown(Cause::Hidden)),
            Meaning::Back => (Finding::suspect(0.5, Cause::Back), Finding::healthy(1.0, Cause::OnlyMe)),
            Meaning::Nobody(others) => {
                let shared = silence::SHARED_PATH.powf(f64::from(others));
                (Finding::unknown(Cause::Nobody), Finding::failed(sure / (1.0 + shared), Cause::Nobody))
            }
            Meaning::Alone => {
                (Finding::suspect(sure / 2.0, Cause::Alone), Finding::suspect(sure / 2.0, Cause::Alone))
            }
        };
        self.say(PATH, path, now);
        self.say(HOST, host, now);
        for place in KERNEL..self.verdicts.len() {
            self.say(place, Finding::unknown(Cause::Hidden), now);
        }
    }

    /// Puts a finding in force.
    fn say(&mut self, place: usize, mut finding: Finding, now: Duration) {
        if finding.cause == Cause::Held {
            return;
        }
        let standing = &self.terms.standing;
        let stays = self.verdicts[place].state == State::Failed && self.causes[place].0 == finding.cause;
        let held = finding.state == State::Failed && standing.overloaded && !stays;
        if held {
            finding.state = State::Suspect;
        }
        let confidence = (finding.confidence * (1.0 - standing.late_share)).clamp(0.0, 1.0);
        let verdict = &mut self.verdicts[place];
        verdict.confidence = confidence;
        if verdict.state == finding.state && self.causes[place] == (finding.cause, held) {
            return;
        }
        let state_changed = verdict.state != finding.state;
        if state_changed {
            verdict.state = finding.state;
            verdict.since = now;
        }
        self.causes[place] = (finding.cause, held);
        self.verdicts[place].evidence = self.evidence(place, now);
        if state_changed || matches!(finding.state, State::Suspect | State::Failed) {
            if self.changes.len() >= MOST_CHANGES {
                self.changes.remove(0);
            }
            self.changes.push(self.verdicts[place].clone());
        }
    }

    fn add(&mut self, layer: Layer, subject: Option<String>) {
        self.causes.push((Cause::NothingYet, false));
        self.verdicts.push(Verdict {
            layer,
            subject,
            state: State::Unknown,
            since: self.now,
            confidence: 0.0,
            evidence: Vec::new(),
        });
        let place = self.verdicts.len() - 1;
        self.verdicts[place].evidence = self.evidence(place, self.now);
    }

    /// Brings the verdicts into the order of the applications, which came or went.
    fn rearrange(&mut self, now: Duration) {
        let verdicts = self.verdicts.split_off(FIRST_APPLICATION);
        let causes = self.causes.split_off(FIRST_APPLICATION);
        let mut old: Vec<_> = verdicts.into_iter().zip(causes).collect();
        self.now = self.now.max(now);
        for index in 0..self.applications.len() {
            let name = self.applications[index].name.as_str();
            match old.iter().position(|(verdict, _)| verdict.subject.as_deref() == Some(name)) {
                Some(place) => {
                    let (verdict, cause) = old.swap_remove(place);
                    self.verdicts.push(verdict);
                    self.causes.push(cause);
                }
                None => {
                    let name = name.to_owned();
                    self.add(Layer::Application, Some(name));
                }
            }
        }
        // What is no longer there is not judged any more: say so once.
        for (mut verdict, _) in old {
            if verdict.state != State::Unknown && self.changes.len() < MOST_CHANGES {
                verdict.state = State::Unknown;
                (verdict.since, verdict.confidence) = (now, 0.0);
                verdict.evidence = vec!["its region is no longer there".to_owned()];
                self.changes.push(verdict);
            }
        }
    }
}
