//! One target, looked after: sampled, judged, its events dispatched to healers, their repairs carried out.
//!
//! [`Sampler::glance`] does what is due as far as it needs no waiting: it starts readings and takes in those that are
//! there, so that one thread can look after a thousand targets. What does wait for the link (tables, commands,
//! directories) is left to [`Sampler::attend`], for a thread that has only this target. All of it runs under a clock
//! that tests turn by hand; [`crate::rounds`] runs it under the machine's.

mod access;
mod answers;
mod enlisted;
mod fencing;
mod healing;
mod judging;
mod lease;
mod offers;
mod order;
mod pacing;
mod reading;
mod reconfigure;
mod recovering;
mod requests;
mod status;
mod surveying;
mod telling;
mod treating;

use backdoors_monitor_api::Reach;
pub use enlisted::built_in;
pub use fencing::FenceOrder;
pub use judging::SecondViews;
pub use offers::{NotOffered, OfferedHook, Offers};
pub use order::{Order, OrderError, OrderReply, Rejection, Request, Wanted, order_texts};
pub use recovering::RecoverOrder;
pub use status::Status;
use status::reach_of;
use surveying::Surveying;

use crate::budget::Budget;
use crate::clock::{Clock, nanoseconds};
use crate::config::{ConfigError, HealerConfig, TargetConfig};
use crate::detector::{Detector, Event, Taken};
use crate::dispatcher::Dispatcher;
use crate::guard::Spare;
use crate::journal::{Entry, What};
use crate::judge::{self, Failure, Judge, Terms};
use crate::lateness;
use crate::lateness::{Lateness, LatenessSettings};
use crate::lease::{Action, Lease};
use crate::levels::{self, Levels};
use crate::link::{Link, LinkError, Linker, failure};
use crate::loss::Loss;
use crate::pace::Pace;
use crate::proposals::Proposals;
use crate::reachability::{Change, Reachability};
use crate::recorder::{self, Recorder};
use crate::rules::Rules;
use crate::unkillable::Unkillable;
use crate::verdict::{State, Verdict};
use backdoors_healers::{Exceeded, Healer};
use backdoors_rdma::AccessError;
use backdoors_sensor_box::{ApplicationsFetcher, Class, SensorFetcher, SensorKind, Unit};
use healing::Healing;
use reading::Reader;
use std::collections::{HashMap, VecDeque};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use telling::Telling;
use treating::Running;

/// Longest pause between two attempts to connect.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// A directory that does not help is not read more often than this.
const REFRESH_PAUSE: Duration = Duration::from_millis(500);

/// What a sampler needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To be glanced at again: at this time of the monotonic clock, or when a descriptor becomes readable.
    Glance(Duration),
    /// A thread of its own, on which it may wait.
    Attend,
}

/// Takes journal entries.
pub type Tell = Box<dyn FnMut(Entry) + Send>;

/// Looks after one target.
pub struct Sampler {
    config: TargetConfig,
    linker: Box<dyn Linker>,
    clock: Box<dyn Clock>,
    tell: Tell,
    status: Arc<Mutex<Status>>,

    link: Option<Box<dyn Link>>,
    /// A link is being opened.
    opening: bool,
    /// The last attempt to open one failed.
    dial_failed: bool,
    /// Links opened so far.
    links: u64,
    open_at: Duration,
    backoff: Duration,
    refresh_wanted: bool,
    refresh_at: Duration,
    reachability: Reachability,
    reader: Reader,
    /// When the last reading that was taken in had been asked for.
    last_started: Option<Duration>,

    fetcher: SensorFetcher,
    generation: Option<u64>,
    /// Why the last reading was no sensor box, since when, and whether that was told.
    unreadable: Option<(String, Duration, bool)>,
    next_sample: Duration,
    pace: Pace,
    loss: Loss,
    lateness: Lateness,
    detector: Detector,
    judge: Judge,
    verdict_changes: Vec<Verdict>,
    /// The state of each layer that was told last.
    told: HashMap<judging::Place, State>,
    rules: Rules,
    second_views: Option<Box<dyn SecondViews>>,
    recorder: Option<Recorder>,
    applications: ApplicationsFetcher,
    application_kinds: Vec<u32>,
    levels: Levels,
    level_changes: Vec<levels::Change>,
    /// Kinds of regions of applications that left.
    left: Vec<u32>,
    events: Vec<Event>,
    exceeded: Vec<Exceeded>,

    /// Share of the recent chances to read that were answered in time.
    answered: f64,
    lease: Option<Lease>,
    lease_slot: Option<u32>,
    /// What the lease asked for, and when.
    lease_wants: Option<(Duration, Action)>,
    resigned: bool,
    dispatcher: Dispatcher,
    healers: Vec<Healing>,
    spare: Spare,
    budget: Budget,
    unkillable: Unkillable,
    proposals: Proposals,
    running: Option<Running>,
    telling: Telling,
    surveying: Surveying,
    orders: VecDeque<Order>,
    recoveries: VecDeque<RecoverOrder>,
    /// To be taken in when no command is under way.
    new_config: Option<Box<TargetConfig>>,
}

impl Sampler {
    /// A sampler that begins at once. Journal entries go to `tell`.
    ///
    /// # Errors
    /// If limits or healers of the configuration are wrong.
    pub fn new(
        config: TargetConfig,
        linker: Box<dyn Linker>,
        clock: Box<dyn Clock>,
        tell: Tell,
    ) -> Result<Sampler, ConfigError> {
        let late_after = (config.period * 4).max(Duration::from_millis(250));
        let detector = Detector::new(config.limits()?, late_after);
        let first_plan = pacing::first_plan(&config);
        let loss = Loss::default();
        let terms = Terms::of(&first_plan, loss.probability(), lateness::Standing::punctual());
        let judge = Judge::new(judge::Settings { silence: config.lost_after }, terms);
        let healers = config.make_healers()?;
        let sampler = Sampler {
            reachability: Reachability::new(config.lost_after),
            status: Arc::new(Mutex::new(Status::new(&config, first_plan))),
            linker,
            tell,
            link: None,
            opening: false,
            dial_failed: false,
            links: 0,
            open_at: Duration::ZERO,
            backoff: FIRST_BACKOFF,
            refresh_wanted: false,
            reader: Reader::default(),
            last_started: None,
            refresh_at: Duration::ZERO,
            fetcher: SensorFetcher::default(),
            generation: None,
            unreadable: None,
            next_sample: clock.monotonic(),
            pace: Pace::new(pacing::seed(&config.name), first_plan),
            loss,
            lateness: Lateness::new(LatenessSettings::default()),
            detector,
            judge,
            verdict_changes: Vec::new(),
            told: HashMap::new(),
            rules: Rules::new(&config.rules),
            second_views: None,
            recorder: None,
            applications: ApplicationsFetcher::default(),
            application_kinds: Vec::new(),
            levels: Levels::default(),
            level_changes: Vec::new(),
            left: Vec::new(),
            events: Vec::new(),
            exceeded: Vec::new(),
            answered: 1.0,
            lease: None,
            lease_slot: None,
            lease_wants: None,
            resigned: false,
            dispatcher: Dispatcher::default(),
            healers: Vec::new(),
            spare: config.spare()?,
            budget: Budget::new(config.budget.bounds()),
            unkillable: Unkillable::new(config.budget.unkillable_cooldown),
            proposals: Proposals::new(config.proposal_lifetime, clock.wall()),
            running: None,
            telling: Telling::default(),
            surveying: Surveying::default(),
            orders: VecDeque::new(),
            recoveries: VecDeque::new(),
            new_config: None,
            clock,
            config,
        };
        let sampler =
            healers.into_iter().fold(sampler, |sampler, (config, healer)| sampler.healed_by(healer, &config));
        sampler.tell_config();
        Ok(sampler)
    }

    /// Has one more healer look after the target.
    #[must_use]
    pub fn healed_by(mut self, healer: Box<dyn Healer>, config: &HealerConfig) -> Sampler {
        self.dispatcher.register(healer.watches(), config.cooldown());
        if let Some(every) = healer.looks_every() {
            self.dispatcher.look_every(self.healers.len(), every);
        }
        self.healers.push(Healing::new(healer, config));
        self
    }

    /// Has readings, verdicts and journal entries recorded.
    #[must_use]
    pub fn recorded_by(mut self, mut recorder: Recorder) -> Sampler {
        recorder.settings(self.clock.monotonic(), &recorder::Settings::of(&self.config));
        self.recorder = Some(recorder);
        self
    }

    /// Has other monitors asked when the target cannot be read.
    #[must_use]
    pub fn consulting(mut self, others: Box<dyn SecondViews>) -> Sampler {
        self.second_views = Some(others);
        self
    }

    /// What is known of the target, kept up to date by every sample.
    #[must_use]
    pub fn status(&self) -> Arc<Mutex<Status>> {
        Arc::clone(&self.status)
    }

    /// Does what is due without waiting for anything.
    pub fn glance(&mut self) -> Next {
        self.receive();
        self.look_for_answers();
        let now = self.clock.monotonic();
        self.lose_patience(now);
        if now >= self.next_sample {
            self.sample(now);
            // Where the answer takes no time it is there already.
            self.receive();
        }
        // The lease table that was received just now is of a time after `now`.
        self.consider_lease(self.clock.monotonic());
        self.expire_proposals(now);
        if self.needs_attention() { Next::Attend } else { Next::Glance(self.wake()) }
    }

    /// Does what has to wait for the link; returns when to glance again.
    pub fn attend(&mut self) -> Duration {
        self.refresh_directory(self.clock.monotonic());
        self.mind_lease();
        self.reconfigure();
        self.recover();
        self.take_in_answers(self.clock.monotonic());
        self.dispatch(self.clock.monotonic());
        let wake = self.heal();
        self.survey(self.clock.monotonic());
        // That the link was waited for makes the next sample late, but not this monitor.
        self.next_sample = self.next_sample.max(self.clock.monotonic());
        match wake {
            Some(wake) => wake.min(self.wake()),
            None => self.wake(),
        }
    }

    /// [`Sampler::glance`], and [`Sampler::attend`] if that is needed: for who has but one target, or all the time in
    /// the world. Returns the time, on the monotonic clock, at which to call it again.
    pub fn step(&mut self) -> Duration {
        match self.glance() {
            Next::Glance(at) => at,
            Next::Attend => self.attend(),
        }
    }

    /// When there is something to do even if nothing comes in.
    fn wake(&self) -> Duration {
        let impatient = self.reader.impatient_at(self.patience());
        let others = impatient.into_iter().chain(self.look_for_answers_at()).chain(self.tells_at());
        others.fold(self.next_sample, Duration::min)
    }

    /// Whether there is something to [`Sampler::attend`] to.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        let now = self.clock.monotonic();
        self.running.is_some()
            || self.has_to_tell(now)
            || !self.orders.is_empty()
            || !self.recoveries.is_empty()
            || self.refresh_is_due(now)
            || self.lease_wants.is_some()
            || self.an_answer_is_there()
            || self.may_reconfigure()
            || self.a_healer_is_due(now)
            || self.survey_is_due(now)
    }

    /// Shows the descriptors that become readable when there is something to glance at. They change with
    /// [`Sampler::links`].
    pub fn watch(&self, each: &mut dyn FnMut(BorrowedFd<'_>)) {
        if let Some(link) = &self.link {
            link.watch(each);
        }
    }

    /// Links opened so far: each has descriptors of its own.
    #[must_use]
    pub fn links(&self) -> u64 {
        self.links
    }

    /// Name of the target.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.config.name
    }

    fn sample(&mut self, now: Duration) {
        let due = self.next_sample;
        if let Some(late) = self.lateness.round(due, now) {
            tracing::debug!(target = %self.config.name, "a sample is late by {late:?}");
        }
        self.detector.widen(self.lateness.multiplier());
        if let Err(LinkError { reason, failure }) = self.connect(now) {
            self.missed(now, now, failure, reason);
        } else if let Err(error) = self.start_sample(now) {
            self.draw_consequences(now, &error);
            // That every connection waits tells less than what they wait for, or what ended the others.
            let known = if matches!(error, AccessError::Busy) { self.problem() } else { None };
            self.missed(now, now, failure(&error), known.unwrap_or_else(|| error.to_string()));
        }
        self.look_at_time(now);
        self.schedule(due, now);
    }

    /// A good reading.
    fn take_in(&mut self, taken: Taken, missed: bool) {
        let now = taken.finished;
        let took = taken.finished.saturating_sub(taken.started);
        if missed {
            self.loss.late(took)
        } else {
            self.loss.good(took)
        }
        self.backoff = FIRST_BACKOFF;
        self.unreadable = None;
        let generation = self.fetcher.view().generation;
        if self.generation != Some(generation) {
            if self.generation.replace(generation).is_some() {
                self.note(What::MadeAnew { generation });
                self.detector.forget(now, &mut self.events);
                if let Some(running) = &mut self.running {
                    running.treatment.repair.made_anew();
                }
                self.telling.made_anew();
                if let Some(slot) = self.link.as_ref().map(|link| link.slot()) {
                    self.know_lease(slot, true);
                }
            }
            self.refresh_at = Duration::ZERO;
            self.refresh_wanted = true;
        }
        match self.reachability.good(now) {
            Some(Change::Connected) => {
                let (slot, connections) =
                    self.link.as_ref().map_or((0, 0), |link| (link.slot(), link.connections()));
                self.note(What::Connected { slot, generation, connections });
            }
            Some(Change::Recovered { silence }) => {
                self.note(What::Recovered { silence_ns: nanoseconds(silence) });
            }
            Some(Change::Lost { .. }) | None => {}
        }
        self.detector.feed(taken, self.fetcher.view(), &mut self.events);
        self.exceeded.clear();
        self.exceeded.extend(self.detector.exceeded());
        self.tell_events();
        self.dispatcher.read();
        self.tell_reading(now);
        self.judge_reading(taken);
        self.let_go();
        self.update_status(now);
    }

    /// A chance to read, taken at `asked`, that gave nothing.
    fn missed(&mut self, asked: Duration, now: Duration, how: Failure, reason: String) {
        self.judge_miss(asked, now, how, &reason);
        if let Some(Change::Lost { silence }) = self.reachability.bad(now) {
            self.note(What::Lost { reason: reason.clone(), silence_ns: nanoseconds(silence) });
        }
        self.trouble(reach_of(&self.reachability), reason);
    }

    /// A reading, but of something else than a sensor box.
    fn not_a_box(&mut self, taken: Taken, reason: String, transient: bool) {
        let now = taken.finished;
        self.judge_miss(taken.started, now, Failure::Damaged, &reason);
        let since = self.unreadable.as_ref().map_or(now, |(_, since, _)| *since);
        let told = self.unreadable.as_ref().is_some_and(|(before, _, told)| *told && *before == reason);
        let tell = !told && (!transient || now.saturating_sub(since) >= self.config.lost_after);
        if tell {
            self.note(What::Unreadable { reason: reason.clone() });
        }
        self.unreadable = Some((reason.clone(), since, told || tell));
        self.trouble(Reach::Unreadable, reason);
        self.refresh_wanted = true;
    }

    fn tell_events(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            match event {
                Event::Raised(exceeded) => {
                    self.dispatcher.raised(&exceeded);
                    for healing in &mut self.healers {
                        healing.told_nothing = false;
                    }
                    self.note(What::Event {
                        sensor: sensor_name(exceeded.kind, exceeded.instance),
                        instance: exceeded.instance,
                        class: class_name(exceeded.class),
                        unit: unit_name(exceeded.unit),
                        value: exceeded.value,
                        limit: exceeded.limit,
                    });
                }
                Event::Cleared { kind, instance, value, lasted } => self.note(What::Cleared {
                    sensor: sensor_name(kind, instance),
                    instance,
                    value,
                    lasted_ns: nanoseconds(lasted),
                }),
                Event::Late { gap } => self.note(What::Late { gap_ns: nanoseconds(gap) }),
            }
        }
        self.events = events;
    }

    fn update_status(&self, now: Duration) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.take_in(now, self.fetcher.view(), &self.exceeded);
        status.running.clone_from(&self.running.as_ref().map(|running| running.mandate.order_text.clone()));
        status.nic_answers = None;
        if !(status.applications.is_empty() && self.applications.views().is_empty()) {
            status.applications.clear();
            status.applications.extend_from_slice(self.applications.views());
        }
        if let Some(link) = &self.link {
            status.slot = Some(link.slot());
            status.connections = link.connections();
        }
    }

    /// Why the newest chance came to nothing, if it did.
    fn problem(&self) -> Option<String> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).problem.clone()
    }

    fn trouble(&self, reach: Reach, reason: String) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.failures += 1;
        status.reach = reach;
        status.connections = self.link.as_ref().map_or(0, |link| link.connections());
        status.problem = Some(reason);
    }

    fn note(&mut self, what: What) {
        let entry = Entry::new(self.clock.wall(), self.clock.monotonic(), &self.config.name, what);
        if let Some(recorder) = &mut self.recorder {
            recorder.note(self.clock.monotonic(), &entry);
        }
        (self.tell)(entry);
    }
}

/// A sensor as journals and screens name it.
#[must_use]
pub fn sensor_name(kind: SensorKind, instance: u32) -> String {
    use backdoors_sensor_box::Instance;
    match kind.description() {
        Some(line) if line.instance == Instance::Machine => line.name.to_owned(),
        Some(line) => format!("{}[{instance}]", line.name),
        None => format!("sensor {}[{instance}]", kind.0),
    }
}

/// A class as journals and screens name it.
#[must_use]
pub fn class_name(class: Class) -> &'static str {
    match class {
        Class::Progress => "progress",
        Class::Level => "level",
        Class::Floor => "floor",
        Class::Pressure => "pressure",
    }
}

/// A unit as journals and answers name it.
#[must_use]
pub fn unit_name(unit: Option<Unit>) -> &'static str {
    match unit {
        Some(Unit::Count) => "count",
        Some(Unit::PerSecond) => "per-second",
        Some(Unit::Bytes) => "bytes",
        Some(Unit::Nanoseconds) => "nanoseconds",
        None => "unknown",
    }
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sampler").field("target", &self.config.name).finish_non_exhaustive()
    }
}
