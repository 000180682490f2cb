//! A world: targets, paths, monitors, and what befalls them, event by event.

use super::chance::Chance;
use super::climate::Climate;
use super::history::Spans;
use super::path::{BLOCKING_DEADLINE, SharedPath, Stray, Weather};
use super::target::{Target, Trouble};
use super::time::{MILLISECOND, MonitorClock, SECOND, WorldTime};
use super::views::{Peer, Peers, Views};
use backdoors_monitor::config::{Config, TargetConfig};
use backdoors_monitor::journal::{Entry, What};
use backdoors_monitor::sampler::{Sampler, Status};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    Step(usize),
    Tick(usize),
    Arrival(usize),
    Trouble(usize),
    Cut(usize),
    Late(usize),
    Bomb(usize),
    Remake(usize),
    /// The verdicts about the trouble of this target that began last must be right by now.
    Expect(usize, usize),
}

/// How a monitor fails to run in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// It does not run at all.
    Paused,
    /// Each of its steps comes up to so late.
    Slow(u64),
}

/// One monitor and one target.
pub struct Pair {
    pub monitor: usize,
    pub target: usize,
    pub sampler: Sampler,
    pub clock: MonitorClock,
    pub path: SharedPath,
    pub status: Arc<Mutex<Status>>,
    pub cuts: Spans<()>,
    entries: Arc<Mutex<Vec<Entry>>>,
    scheduled: u64,
    answers: Vec<u64>,
    strays: Vec<Stray>,
}

pub struct Place {
    pub target: Arc<Mutex<Target>>,
    pub troubles: Spans<Trouble>,
    pub remakes: Vec<u64>,
}

pub struct World {
    pub climate: Climate,
    pub time: WorldTime,
    pub pairs: Vec<Pair>,
    pub places: Vec<Place>,
    pub lates: Vec<Spans<Late>>,
    pub peers: Peers,
    pub steps: u64,
    /// Entries of journals that were not looked at yet: when, whose, what.
    pub told: Vec<(u64, usize, What)>,
    /// No more misfortune.
    pub calm: bool,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    chance: Chance,
}

impl World {
    pub fn new(seed: u64, climate: Climate) -> World {
        let mut chance = Chance::new(seed);
        let time = WorldTime::default();
        let nothing = Arc::new(rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap());
        let mut world = World {
            climate,
            time: time.clone(),
            pairs: Vec::new(),
            places: Vec::new(),
            lates: vec![Spans::default(); climate.monitors],
            peers: Peers::default(),
            steps: 0,
            told: Vec::new(),
            calm: false,
            events: BinaryHeap::new(),
            order: 0,
            chance: chance.fork(),
        };
        for index in 0..climate.targets {
            let target = Target::new(1, index % 2 == 0, climate.timer_limit, climate.heartbeat_limit);
            let target = Arc::new(Mutex::new(target));
            world.places.push(Place { target, troubles: Spans::default(), remakes: Vec::new() });
            world.after(climate.trouble_every, Event::Trouble(index));
            world.after(climate.bomb_every, Event::Bomb(index));
            world.after(climate.remake_every, Event::Remake(index));
        }
        let config = parse(climate.lines);
        for monitor in 0..climate.monitors {
            let drift = chance.below(2 * climate.drift + 1) as i64 - climate.drift as i64;
            let clock = MonitorClock::new(&time, chance.below(1 << 50), drift);
            let name = format!("monitor{monitor}");
            let peer = Peer { name, clock: clock.clone(), statuses: Vec::new(), silent_since: None };
            world.peers.lock().unwrap().push(peer);
            for target in 0..climate.targets {
                world.add_pair(monitor, target, &clock, &config, &mut chance, &nothing);
            }
            world.after(climate.late_every, Event::Late(monitor));
        }
        world
    }

    fn add_pair(
        &mut self,
        monitor: usize,
        target: usize,
        clock: &MonitorClock,
        config: &TargetConfig,
        chance: &mut Chance,
        nothing: &Arc<OwnedFd>,
    ) {
        let clock = clock.thread();
        let path = SharedPath::new(&self.places[target].target, monitor, chance.fork());
        let weather = Weather { loss: self.climate.loss, stray: self.climate.stray, ..Weather::FINE };
        path.lock().weather = weather;
        let entries: Arc<Mutex<Vec<Entry>>> = Arc::default();
        let tell = {
            let entries = Arc::clone(&entries);
            Box::new(move |entry| entries.lock().unwrap().push(entry))
        };
        let mut config = config.clone();
        config.name = format!("target{target}-{monitor}");
        let linker = Box::new(path.linker(&clock, config.connections, nothing));
        let views = Views { peers: Arc::clone(&self.peers), monitor, target, clock: clock.clone() };
        let sampler = Sampler::new(config, linker, Box::new(clock.clone()), tell).unwrap();
        let sampler = sampler.consulting(Box::new(views));
        let status = sampler.status();
        self.peers.lock().unwrap()[monitor].statuses.push(Arc::clone(&status));
        let index = self.pairs.len();
        self.pairs.push(Pair {
            monitor,
            target,
            sampler,
            clock,
            path,
            status,
            cuts: Spans::default(),
            entries,
            scheduled: u64::MAX,
            answers: Vec::new(),
            strays: Vec::new(),
        });
        let first = self.chance.below(10 * MILLISECOND);
        self.schedule_step(index, first);
        self.after(self.climate.cut_every, Event::Cut(index));
    }

    pub fn pair(&self, monitor: usize, target: usize) -> &Pair {
        &self.pairs[monitor * self.climate.targets + target]
    }

    pub fn at(&mut self, time: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((time, self.order, event)));
    }

    /// Some time later, at random.
    fn after(&mut self, mean: u64, event: Event) {
        if mean > 0 {
            let time = self.time.now() + self.chance.wait(mean);
            self.at(time, event);
        }
    }

    fn schedule_step(&mut self, pair: usize, time: u64) {
        if time < self.pairs[pair].scheduled {
            self.pairs[pair].scheduled = time;
            self.at(time, Event::Step(pair));
        }
    }

    /// Lets everything happen that happens before `end`; returns the next event for which the caller has to look.
    pub fn next(&mut self, end: u64) -> Option<(usize, usize)> {
        loop {
            let &Reverse((time, _, event)) = self.events.peek()?;
            if time > end {
                self.time.set(end);
                return None;
            }
            self.events.pop();
            self.time.set(time);
            match event {
                Event::Step(pair) => self.step(time, pair),
                Event::Tick(target) => self.tick(time, target),
                Event::Arrival(pair) => self.arrive(time, pair),
                Event::Trouble(target) => self.trouble(time, target),
                Event::Cut(pair) => self.cut(time, pair),
                Event::Late(monitor) => self.late(time, monitor),
                Event::Bomb(target) => self.bomb(time, target),
                Event::Remake(target) => self.remake(time, target),
                Event::Expect(target, trouble) => return Some((target, trouble)),
            }
            if !self.told.is_empty() {
                return Some((usize::MAX, 0));
            }
        }
    }

    fn step(&mut self, now: u64, index: usize) {
        let pair = &mut self.pairs[index];
        if pair.scheduled != now {
            return;
        }
        pair.scheduled = u64::MAX;
        let late = self.lates[pair.monitor].0.last().filter(|span| span.ended.is_none());
        if late.is_some_and(|span| span.what == Late::Paused) {
            // Its end wakes all.
            return;
        }
        self.steps += 1;
        pair.clock.begin_step();
        pair.answers.retain(|&answer| answer > now);
        let wake = pair.sampler.step();
        let told = std::mem::take(&mut *pair.entries.lock().unwrap());
        self.told.extend(told.into_iter().map(|entry| (now, index, entry.what)));
        let happenings = std::mem::take(&mut pair.path.lock().happenings);
        pair.answers.extend(happenings.answers);
        let wake = pair.answers.iter().copied().min().unwrap_or(u64::MAX).min(pair.clock.world_at(wake));
        // A step takes some time.
        let mut next = wake.max(pair.clock.world() + 10_000);
        if let Some(Late::Slow(by)) = late.map(|span| span.what) {
            next += self.chance.below(by);
        }
        let target = pair.target;
        for stray in happenings.strays {
            let arrives = stray.arrives;
            self.pairs[index].strays.push(stray);
            self.at(arrives, Event::Arrival(index));
        }
        if happenings.wrote {
            self.at(now + MILLISECOND, Event::Tick(target));
        }
        self.schedule_step(index, next);
    }

    fn tick(&mut self, now: u64, target: usize) {
        let again = self.places[target].target.lock().unwrap().tick(now);
        if let Some(again) = again {
            self.at(again.max(now + MILLISECOND), Event::Tick(target));
        }
    }

    fn arrive(&mut self, now: u64, index: usize) {
        let pair = &mut self.pairs[index];
        let arrived: Vec<Stray> = pair.strays.extract_if(.., |stray| stray.arrives <= now).collect();
        let mut path = pair.path.lock();
        if !path.target.lock().unwrap().is_gone() {
            arrived.iter().for_each(|stray| path.arrive(stray));
        }
        drop(path);
        let target = pair.target;
        self.at(now + MILLISECOND, Event::Tick(target));
    }

    fn lasts(&mut self, most: u64) -> u64 {
        self.chance.between(most / 2, most)
    }

    fn trouble(&mut self, now: u64, target: usize) {
        let trouble = if self.places[target].troubles.any(now, now) || self.calm {
            self.places[target].troubles.end(now);
            None
        } else {
            let kinds = [
                Trouble::HostDead,
                Trouble::KernelHung,
                Trouble::CpuStuck,
                Trouble::Starved,
                Trouble::AgentKilled,
            ];
            Some(kinds[self.chance.below(kinds.len() as u64) as usize])
        };
        self.places[target].target.lock().unwrap().set_trouble(now, trouble);
        match trouble {
            Some(trouble) => {
                self.places[target].troubles.begin(now, trouble);
                let lasts = self.lasts(self.climate.trouble_lasts);
                self.at(now + lasts, Event::Trouble(target));
                let number = self.places[target].troubles.0.len() - 1;
                self.at(now + self.deadline(trouble), Event::Expect(target, number));
            }
            None if !self.calm => self.after(self.climate.trouble_every, Event::Trouble(target)),
            None => {}
        }
        // What waits in the command slots is looked at again.
        self.at(now + MILLISECOND, Event::Tick(target));
    }

    /// By when a trouble must be told, at the latest period there may be.
    pub fn deadline(&self, trouble: Trouble) -> u64 {
        let Climate { timer_limit, heartbeat_limit, loss, .. } = self.climate;
        let limit = match trouble {
            Trouble::Starved | Trouble::AgentKilled => heartbeat_limit,
            // A busy CPU may not tick more often.
            Trouble::CpuStuck => timer_limit.max(50 * MILLISECOND),
            Trouble::HostDead | Trouble::KernelHung => timer_limit,
        };
        // Clocks that go slow, T and one period; what others say of a dead host comes a period later.
        let periods = timer_limit / 3 * if trouble == Trouble::HostDead { 2 } else { 1 };
        // What is lost costs further periods, and a quarter of the deadline that is waited for it.
        let losses = if loss > 0.0 { timer_limit } else { 0 };
        // Whoever minds the lease of a host that died just now waits for that, and does not sample meanwhile.
        let waits = if trouble == Trouble::HostDead { 2 * BLOCKING_DEADLINE } else { 0 };
        limit + limit / 40 + periods + losses + waits + 5 * MILLISECOND
    }

    fn cut(&mut self, now: u64, index: usize) {
        let (loss, stray) = (self.climate.loss, self.climate.stray);
        let fine = Weather { loss, stray, ..Weather::FINE };
        let ends = self.pairs[index].path.lock().weather.is_cut() || self.calm;
        let weather = match self.chance.below(4) {
            _ if ends => fine,
            0 => Weather { requests_cut: true, ..fine },
            1 => Weather { answers_cut: true, ..fine },
            2 => Weather { requests_cut: true, answers_cut: true, ..fine },
            _ => Weather { slow: true, ..fine },
        };
        let lasts = self.lasts(self.climate.cut_lasts.max(2));
        let pair = &mut self.pairs[index];
        pair.path.lock().weather = weather;
        if ends {
            pair.cuts.end(now);
            if !self.calm {
                self.after(self.climate.cut_every, Event::Cut(index));
            }
        } else {
            pair.cuts.begin(now, ());
            self.at(now + lasts, Event::Cut(index));
        }
    }

    fn late(&mut self, now: u64, monitor: usize) {
        let is_late = self.lates[monitor].any(now, now);
        if is_late || self.calm {
            self.lates[monitor].end(now);
            self.peers.lock().unwrap()[monitor].silent_since = None;
            let first = monitor * self.climate.targets;
            for pair in first..first + self.climate.targets {
                if self.pairs[pair].scheduled == u64::MAX {
                    let soon = self.chance.below(MILLISECOND);
                    self.schedule_step(pair, now + soon);
                }
            }
            if !self.calm {
                self.after(self.climate.late_every, Event::Late(monitor));
            }
            return;
        }
        let late = if self.chance.happens(0.5) {
            self.peers.lock().unwrap()[monitor].silent_since = Some(now);
            Late::Paused
        } else {
            Late::Slow(self.chance.between(20 * MILLISECOND, SECOND))
        };
        self.lates[monitor].begin(now, late);
        let lasts = self.lasts(self.climate.late_lasts);
        self.at(now + lasts, Event::Late(monitor));
    }

    fn bomb(&mut self, now: u64, target: usize) {
        if self.calm {
            return;
        }
        let mut place = self.places[target].target.lock().unwrap();
        if place.trouble.is_none() {
            place.bomb(now);
        }
        drop(place);
        self.after(self.climate.bomb_every, Event::Bomb(target));
    }

    fn remake(&mut self, now: u64, target: usize) {
        if self.calm {
            return;
        }
        let place = &mut self.places[target];
        let mut old = place.target.lock().unwrap();
        if old.trouble.is_none() {
            let generation = old.generation + 1;
            let (timer, heartbeat) = (self.climate.timer_limit, self.climate.heartbeat_limit);
            let mut new = Target::new(generation, target.is_multiple_of(2), timer, heartbeat);
            new.bring_up_to(now);
            new.not_the_holder = old.not_the_holder;
            new.obeyed = old.forget(now);
            *old = new;
            place.remakes.push(now);
        }
        drop(old);
        for monitor in 0..self.climate.monitors {
            self.pair(monitor, target).path.lock().serve();
        }
        self.after(self.climate.remake_every, Event::Remake(target));
    }

    /// All misfortune ends.
    pub fn calm_down(&mut self) {
        self.calm = true;
        let now = self.time.now();
        for target in 0..self.climate.targets {
            self.trouble(now, target);
        }
        for pair in 0..self.pairs.len() {
            self.cut(now, pair);
            self.pairs[pair].path.lock().weather = Weather::FINE;
        }
        for monitor in 0..self.climate.monitors {
            self.late(now, monitor);
        }
    }
}

fn parse(lines: &str) -> TargetConfig {
    let text = format!(
        "name = 'm'\nidentity = 'i'\njournal = 'j'\n[[target]]\nname = 'target'\naddress = 'a:1'\ncertificate = 'c'\n{lines}"
    );
    Config::parse(&text, std::path::Path::new("/monitor.toml")).unwrap().targets.remove(0)
}
