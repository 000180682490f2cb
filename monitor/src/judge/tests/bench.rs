//! A target with a clockwork, a path that loses, and the loop that a sampler runs, under a clock that jumps from event to event.

use super::super::*;
use crate::lateness::{Lateness, LatenessSettings, Standing};
use crate::loss::Loss;
use crate::pace::{Inputs, Pace, Plan};
use backdoors_healers::Limits;
use backdoors_sensor_box::application::{ApplicationRegion, Attachment, Request, SensorSpec, region_bytes};
use backdoors_sensor_box::{ApplicationState, LocalWords, SensorReading, Unit};
use std::collections::VecDeque;

/// What is wrong with the target or the path to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Nothing,
    /// The path of this monitor is cut.
    PathCut,
    /// Readings take for ever, probes do not.
    PathSlow,
    /// Machine and NIC are gone.
    HostDead,
    /// They were, and are back for others. What this monitor had under way is not answered yet.
    BackForOthers,
    /// Whoever serves the memory is gone, and the machine says so.
    OwnerDead,
    /// The NIC refuses everything.
    Revoked,
    /// No CPU executes anything; the NIC lives on.
    CpusStopped,
    /// This CPU spins with interrupts off.
    Stuck(u32),
    /// Nothing but the kernel runs.
    Starved,
    AgentKilled,
    AgentStuck,
    /// Nothing but the kernel and the application runs: the agent has not been given its turn since all were starved.
    AgentWaits,
    ApplicationStuck,
    ApplicationDied,
}

/// Counters that run until a fault stops them.
#[derive(Clone, Debug)]
pub struct Target {
    pub fault: Fault,
    pub since: Duration,
    pub loaded: bool,
    pub timer_limit: Duration,
    pub heartbeat_limit: Duration,
    pub capabilities: u64,
    pub generation: u64,
    pub tells_busy: bool,
    pub tells_alive: bool,
    pub application: Option<Duration>,
}

impl Default for Target {
    fn default() -> Target {
        Target {
            fault: Fault::Nothing,
            since: Duration::MAX,
            loaded: false,
            timer_limit: at(500),
            heartbeat_limit: at(2000),
            capabilities: Capabilities::KERNEL_HALF,
            generation: 1,
            tells_busy: true,
            tells_alive: true,
            application: None,
        }
    }
}

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub fn reading(kind: SensorKind, instance: u32, limit: Option<Duration>, value: u64) -> SensorReading {
    let class = kind.description().map_or(Class::Progress, |line| line.class);
    let limit = limit.map(|limit| limit.as_nanos() as u64);
    SensorReading { kind, instance, class, unit: Some(Unit::Count), limit, value }
}

impl Target {
    fn has(&self, now: Duration, fault: impl Fn(Fault) -> bool) -> bool {
        now >= self.since && fault(self.fault)
    }

    /// Time as far as it got for those that `stops` stopped.
    fn time(&self, now: Duration, stops: impl Fn(Fault) -> bool) -> Duration {
        if self.has(now, stops) { self.since } else { now }
    }

    pub fn view(&self, now: Duration, into: &mut SensorView) {
        use Fault::*;
        into.generation = self.generation;
        into.capabilities = self.capabilities;
        into.tick_period = 1_000_000;
        into.cpus = 2;
        into.sensors.clear();
        let count = |time: Duration, every: u64| (time.as_micros() as u64) / every;
        for cpu in 0..2 {
            let stuck = self.has(now, |fault| fault == CpusStopped || fault == Stuck(cpu));
            // One that stops with the timer may tick once more.
            let time = if stuck { now.min(self.since + at(40)) } else { now };
            // An idle CPU wakes now and then; CPU 1 of an idle target sleeps for long.
            let busy = self.loaded || stuck && self.fault != CpusStopped;
            let ticks = if self.loaded { count(time, 4_000) } else { count(time, 700_000) };
            let switches = if self.loaded { count(time, 12_000) } else { count(time, 700_000) };
            into.sensors.push(reading(SensorKind::CPU_SWITCHES, cpu, None, switches));
            into.sensors.push(reading(SensorKind::CPU_TICKS, cpu, None, ticks));
            if self.tells_busy {
                into.sensors.push(reading(SensorKind::CPU_BUSY, cpu, None, u64::from(busy)));
            }
        }
        // CPU 0 serves the timer.
        let kernel = |fault| matches!(fault, CpusStopped | Stuck(0));
        let user = |fault| kernel(fault) || matches!(fault, Starved | AgentKilled | AgentStuck | AgentWaits);
        let timer = if self.capabilities & Capabilities::PROCFS != 0 {
            count(self.time(now, user), 100_000)
        } else {
            count(self.time(now, kernel), 1_000)
        };
        into.sensors.push(reading(SensorKind::KERNEL_TIMER, 0, Some(self.timer_limit), timer));
        let beats = count(self.time(now, user), 100_000);
        into.sensors.push(reading(SensorKind::AGENT_HEARTBEAT, 0, Some(self.heartbeat_limit), beats));
        if self.tells_alive {
            let alive = !self.has(now, |fault| fault == AgentKilled);
            into.sensors.push(reading(SensorKind::AGENT_ALIVE, 0, None, u64::from(alive)));
        }
    }

    pub fn applications(&self, now: Duration) -> Vec<ApplicationView> {
        use Fault::*;
        let Some(limit) = self.application else { return Vec::new() };
        let stops =
            |fault| matches!(fault, CpusStopped | Stuck(0) | Starved | ApplicationStuck | ApplicationDied);
        let died = self.has(now, |fault| fault == ApplicationDied);
        let mut view = application("shop", &[("requests", limit)], 1);
        view.sensors[0].value = self.time(now, stops).as_millis() as u64 / 20;
        view.state = if died { ApplicationState::Died } else { ApplicationState::Attached };
        vec![view]
    }
}

/// An application with progress sensors, all at their first value.
pub fn application(name: &str, sensors: &[(&str, Duration)], generation: u64) -> ApplicationView {
    let words = LocalWords::zeroed(region_bytes(sensors.len(), 0));
    let sensors = sensors.iter().map(|(name, limit)| SensorSpec::progress(name, *limit)).collect();
    let asked = Request { name, sensors, ..Request::default() };
    let attachment = Attachment { generation, pid: 77, at: 1 };
    ApplicationRegion::lay_out(&words, &asked, &attachment).unwrap();
    ApplicationView::decode(&words.bytes()).unwrap()
}

/// What the other monitors can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    None,
    /// So many, with paths of their own.
    Well(u32),
    /// One that is late itself and reads nothing.
    Late,
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

pub struct Bench {
    pub target: Target,
    pub others: Others,
    pub lost: f64,
    pub round_trip: Duration,
    pub inputs: Inputs,
    pub limits: Limits,
    pub judge: Judge,
    pub now: Duration,
    pub loss: Loss,
    pub changes: Vec<Verdict>,
    pub samples: u64,
    /// The monitor does not run before that.
    pub paused_until: Duration,
    pub lateness: Lateness,
    pub plan: Plan,
    pace: Pace,
    due: Duration,
    /// Misses to be told: when, and when asked.
    waiting: VecDeque<(Duration, Duration)>,
    view: SensorView,
    pub random: Random,
}

impl Bench {
    pub fn new(seed: u64, target: Target) -> Bench {
        let inputs = Inputs {
            tightest: None,
            false_alarm: 1e-6,
            loss: 0.1,
            round_trip: crate::loss::RoundTrip::default(),
            wait: at(100),
            nearest: None,
            lateness: 1.0,
            delay: Duration::ZERO,
            longest: at(1000),
            fastest: at(1),
        };
        let mut random = Random(seed);
        let plan = Plan::of(&inputs);
        let mut pace = Pace::new((random.uniform() * 1e18) as u64, plan);
        let terms = Terms::of(&plan, 0.1, Standing::punctual());
        Bench {
            target,
            others: Others::None,
            lost: 0.0,
            round_trip: Duration::from_micros(200),
            inputs,
            limits: Limits::default(),
            judge: Judge::new(Settings { silence: at(1000) }, terms),
            now: Duration::ZERO,
            loss: Loss::default(),
            changes: Vec::new(),
            samples: 0,
            paused_until: Duration::ZERO,
            lateness: Lateness::new(LatenessSettings::default()),
            plan,
            due: pace.next(Duration::ZERO, Duration::ZERO, None),
            pace,
            waiting: VecDeque::new(),
            view: SensorView::default(),
            random,
        }
    }

    /// Runs until `end`.
    pub fn run(&mut self, end: Duration) {
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until `found`, at most until `end`; returns when.
    pub fn run_until(&mut self, end: Duration, found: impl Fn(&Judge) -> bool) -> Option<Duration> {
        while !found(&self.judge) {
            if !self.step(end) {
                return None;
            }
        }
        Some(self.now)
    }

    fn step(&mut self, end: Duration) -> bool {
        let told = self.waiting.front().map_or(Duration::MAX, |waiting| waiting.0);
        let next = told.min(self.due);
        if next > end {
            return false;
        }
        self.now = next.max(self.paused_until).max(self.now);
        if told <= self.due {
            if let Some((_, asked)) = self.waiting.pop_front() {
                self.miss(asked);
            }
        } else {
            self.sample();
        }
        if self.judge.wants_second_view(self.now) {
            self.second_view();
        }
        self.judge.changes(&mut self.changes);
        true
    }

    fn miss(&mut self, asked: Duration) {
        let how = match self.target.fault {
            Fault::OwnerDead if asked >= self.target.since => Failure::Closed,
            Fault::Revoked if asked >= self.target.since => Failure::Refused,
            _ => Failure::Silent,
        };
        if how == Failure::Silent {
            self.loss.missed();
        }
        self.judge.missed(asked, self.now, how);
    }

    fn sample(&mut self) {
        let (due, asked) = (self.due, self.now);
        self.samples += 1;
        self.lateness.round(due, asked);
        self.judge.look(asked);
        let gone = |fault| {
            matches!(
                fault,
                Fault::PathCut
                    | Fault::PathSlow
                    | Fault::HostDead
                    | Fault::BackForOthers
                    | Fault::OwnerDead
                    | Fault::Revoked
            )
        };
        if self.random.uniform() < self.lost || self.target.has(asked, gone) {
            self.waiting.push_back((asked + self.plan.wait, asked));
        } else {
            let mut view = std::mem::take(&mut self.view);
            self.target.view(asked + self.round_trip / 2, &mut view);
            self.now = asked + self.round_trip;
            self.judge.reading(asked, self.now, &view, &self.limits);
            self.view = view;
            self.loss.good(self.round_trip);
            if self.target.application.is_some() {
                let views = self.target.applications(asked + self.round_trip / 2);
                self.judge.applications(asked, self.now, &views);
            }
        }
        let inputs = Inputs {
            tightest: Some(self.judge.tightest()),
            loss: self.loss.probability(),
            round_trip: self.loss.round_trip(),
            lateness: self.lateness.multiplier(),
            ..self.inputs
        };
        self.plan = self.pace.plan(&inputs);
        self.judge.terms(Terms::of(&self.plan, inputs.loss, self.lateness.standing()));
        // The next sample does not wait for the answer of this one.
        self.due = self.pace.next(due, asked, self.judge.due());
    }

    fn second_view(&mut self) {
        let fault = if self.now >= self.target.since { self.target.fault } else { Fault::Nothing };
        let nic_answers =
            !matches!(fault, Fault::PathCut | Fault::HostDead | Fault::BackForOthers | Fault::OwnerDead);
        let answer = if nic_answers { Ok(self.round_trip) } else { Err(Failure::Silent) };
        self.judge.probe(self.now, answer);
        let unread = matches!(fault, Fault::HostDead | Fault::OwnerDead | Fault::Revoked | Fault::PathSlow);
        let good = if unread { self.target.since } else { self.now };
        let opinion = |monitor: u32, age: Duration, late| Opinion {
            monitor: format!("monitor{monitor}"),
            at: self.now,
            asked: self.now,
            last_good_age: Some(age),
            late,
            nic_answers: None,
            kernel: None,
        };
        let opinions: Vec<Opinion> = match self.others {
            Others::None => return,
            Others::Well(count) => {
                (0..count).map(|monitor| opinion(monitor, self.now - good + at(3), false)).collect()
            }
            Others::Late => vec![opinion(0, at(60_000), true)],
        };
        self.judge.opinions(self.now, &opinions);
    }

    pub fn inject(&mut self, fault: Fault) {
        self.target.fault = fault;
        self.target.since = self.now;
    }

    pub fn heal(&mut self) {
        self.target.fault = Fault::Nothing;
        self.target.since = Duration::MAX;
    }

    pub fn state(&self, layer: Layer) -> State {
        self.verdict(layer).state
    }

    pub fn verdict(&self, layer: Layer) -> &Verdict {
        self.judge.verdicts().iter().find(|verdict| verdict.layer == layer).unwrap()
    }

    pub fn application(&self, name: &str) -> &Verdict {
        let mut verdicts = self.judge.verdicts().iter();
        verdicts.find(|verdict| verdict.subject.as_deref() == Some(name)).unwrap()
    }
}
