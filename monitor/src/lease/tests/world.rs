//! A target's memory, what reads and writes it, and everything that can happen to requests and clocks on the way.

use crate::lease::{Action, Fitness, Lease, LeaseSettings};
use backdoors_sensor_box::layout::COMMAND_SLOTS;
use backdoors_sensor_box::{Candidacy, LeaseView, LeaseWord, Token};
use std::time::Duration;

pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub fn settings(preference: u8) -> LeaseSettings {
    LeaseSettings { duration: ms(300), margin: ms(60), preference, take_back_after: ms(1000) }
}

/// Splitmix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }

    fn one_in(&mut self, chance: u64) -> bool {
        chance > 0 && self.below(chance) == 0
    }
}

/// What goes wrong, each once in so many cases; 0: never.
#[derive(Clone, Copy, Debug)]
pub struct Mishaps {
    /// A request is not carried out.
    pub lost_request: u64,
    /// It is, and nobody hears of it.
    pub lost_answer: u64,
    /// The answer comes twice.
    pub answered_twice: u64,
    /// It takes up to two seconds, on the way there or back.
    pub slow: u64,
    /// Its sender gives it up after so many milliseconds, although it is under way; 0: it waits for ever.
    pub patience: u64,
    /// A monitor is paused for up to two seconds, in each millisecond.
    pub pause: u64,
    /// Its clock jumps ahead by up to an hour, or stands still for up to two seconds.
    pub clock: u64,
}

impl Mishaps {
    pub const NONE: Mishaps = Mishaps {
        lost_request: 0,
        lost_answer: 0,
        answered_twice: 0,
        slow: 0,
        patience: 0,
        pause: 0,
        clock: 0,
    };
}

#[derive(Clone, Copy, Debug)]
enum What {
    Act(Action),
    /// A command that its monitor was allowed to write when it decided to.
    Command(Token),
}

#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "a handful of them live at once")]
enum Answer {
    Table(LeaseView),
    Found(LeaseWord),
    Done,
}

/// A request under way, times of the world.
#[derive(Debug)]
struct Request {
    from: usize,
    what: What,
    asked_at: Duration,
    arrives: Option<u64>,
    answers: Vec<u64>,
    answer: Option<Answer>,
}

/// A monitor.
pub struct Monitor {
    pub lease: Lease,
    pub fitness: Fitness,
    clock: u64,
    still_until: u64,
    paused_until: u64,
    given_up_at: Option<u64>,
    /// Has decided on a command, and has not written it yet.
    decided: Option<Token>,
    pub alive: bool,
}

impl Monitor {
    pub fn now(&self) -> Duration {
        ms(self.clock)
    }

    pub fn token(&self) -> Option<Token> {
        self.lease.token(self.now()).filter(|_| self.alive)
    }
}

/// All of it.
pub struct World {
    pub time: u64,
    pub table: LeaseView,
    pub monitors: Vec<Monitor>,
    pub mishaps: Mishaps,
    pub dice: Dice,
    requests: Vec<Request>,
    /// Commands that are being carried out: slot, token, sweeps to go.
    running: Vec<(usize, Token, u64)>,
    last_obeyed: Option<Token>,
    pub obeyed: usize,
    pub refused: usize,
}

impl World {
    pub fn new(preferences: &[u8], seed: u64, mishaps: Mishaps) -> World {
        let mut dice = Dice(seed);
        let monitor = |(slot, preference): (usize, &u8)| Monitor {
            lease: Lease::new(slot as u32, settings(*preference)),
            fitness: Fitness::FULL,
            // Clocks of different machines have nothing to do with each other.
            clock: dice.below(1_000_000),
            still_until: 0,
            paused_until: 0,
            given_up_at: None,
            decided: None,
            alive: true,
        };
        let monitors = preferences.iter().enumerate().map(monitor).collect();
        let table = LeaseView { lease: LeaseWord::default(), candidacies: [None; COMMAND_SLOTS] };
        World {
            time: 0,
            table,
            monitors,
            mishaps,
            dice,
            requests: Vec::new(),
            running: Vec::new(),
            last_obeyed: None,
            obeyed: 0,
            refused: 0,
        }
    }

    /// Those that believe to hold the lease now.
    pub fn believers(&self) -> Vec<usize> {
        (0..self.monitors.len()).filter(|&index| self.monitors[index].token().is_some()).collect()
    }

    /// One millisecond. Panics if the target obeys two.
    pub fn tick(&mut self) {
        self.time += 1;
        self.turn_clocks();
        self.carry_out();
        self.kernel_half();
        self.deliver();
        for index in 0..self.monitors.len() {
            if self.monitors[index].alive && self.time >= self.monitors[index].paused_until {
                self.act(index);
            }
        }
    }

    fn turn_clocks(&mut self) {
        for monitor in &mut self.monitors {
            if self.dice.one_in(self.mishaps.pause * 1000) {
                monitor.paused_until = self.time + self.dice.below(2000);
            }
            if self.dice.one_in(self.mishaps.clock * 1000) {
                if self.dice.one_in(2) {
                    monitor.clock += self.dice.below(3_600_000);
                } else {
                    monitor.still_until = self.time + self.dice.below(2000);
                }
            }
            if self.time >= monitor.still_until {
                monitor.clock += 1;
            }
        }
    }

    /// What a kernel half does every millisecond.
    fn kernel_half(&mut self) {
        let lease = self.table.lease;
        self.running.retain(|(slot, token, _)| lease.allows(*slot, token.word()));
        assert!(self.running.iter().all(|(_, token, _)| *token == self.running[0].1), "two are obeyed");
        for (_, token, sweeps) in &mut self.running {
            assert!(self.last_obeyed.is_none_or(|last| last.term() <= token.term()), "an old term is obeyed");
            self.last_obeyed = Some(*token);
            *sweeps -= 1;
        }
        self.running.retain(|(_, _, sweeps)| *sweeps > 0);
    }

    fn carry_out(&mut self) {
        for request in &mut self.requests {
            if request.arrives != Some(self.time) {
                continue;
            }
            request.answer = Some(match request.what {
                What::Act(Action::CompareAndSwap { expected, new }) => {
                    let found = self.table.lease;
                    if found == expected {
                        self.table.lease = new;
                    }
                    Answer::Found(found)
                }
                What::Act(Action::Announce(candidacy)) => {
                    self.table.candidacies[request.from] = Some(candidacy);
                    Answer::Done
                }
                What::Act(_) => Answer::Table(self.table),
                What::Command(token) => {
                    if self.table.lease.allows(request.from, token.word()) {
                        self.obeyed += 1;
                        self.running.retain(|(slot, _, _)| *slot != request.from);
                        self.running.push((request.from, token, 1 + self.dice.below(400)));
                    } else {
                        self.refused += 1;
                    }
                    Answer::Done
                }
            });
        }
    }

    fn deliver(&mut self) {
        for request in &self.requests {
            let monitor = &mut self.monitors[request.from];
            let (now, asked_at) = (monitor.now(), request.asked_at);
            for _ in request.answers.iter().filter(|time| **time == self.time && monitor.alive) {
                match (request.answer, request.what) {
                    (Some(Answer::Table(table)), _) => monitor.lease.read(asked_at, now, &table),
                    (Some(Answer::Found(found)), What::Act(Action::CompareAndSwap { expected, .. })) => {
                        monitor.lease.swapped(asked_at, now, expected, found);
                    }
                    (Some(Answer::Done), What::Act(_)) => monitor.lease.announced(now),
                    _ => {}
                }
                monitor.given_up_at = None;
            }
        }
        let time = self.time;
        self.requests.retain(|request| {
            request.arrives.is_some_and(|at| at > time) || request.answers.iter().any(|at| *at > time)
        });
    }

    fn act(&mut self, index: usize) {
        let monitor = &mut self.monitors[index];
        let now = monitor.now();
        if monitor.given_up_at.is_some_and(|at| at <= self.time) {
            monitor.given_up_at = None;
            monitor.lease.failed(now);
        }
        // What it decided on before it was paused, or a moment ago, it writes without a second thought.
        if let Some(token) = monitor.decided.take() {
            self.send(index, What::Command(token), now);
        }
        let monitor = &mut self.monitors[index];
        if self.dice.one_in(20) {
            monitor.decided = monitor.lease.token(now);
        }
        if monitor.lease.due(now) > now {
            return;
        }
        let action = monitor.lease.step(now, monitor.fitness);
        if !matches!(action, Action::Wait(_)) {
            if self.mishaps.patience > 0 {
                monitor.given_up_at = Some(self.time + self.mishaps.patience);
            }
            self.send(index, What::Act(action), now);
        }
    }

    fn send(&mut self, from: usize, what: What, asked_at: Duration) {
        let (mishaps, dice) = (self.mishaps, &mut self.dice);
        let way = |dice: &mut Dice| match dice.one_in(mishaps.slow) {
            true => 1 + dice.below(2000),
            false => 1 + dice.below(2),
        };
        let arrives = self.time + way(dice);
        let mut answers = vec![arrives + way(dice)];
        if dice.one_in(mishaps.answered_twice) {
            answers.push(answers[0] + way(dice));
        }
        if dice.one_in(mishaps.lost_answer) {
            answers.clear();
        }
        let lost = dice.one_in(mishaps.lost_request);
        let (arrives, answers) = if lost { (None, Vec::new()) } else { (Some(arrives), answers) };
        self.requests.push(Request { from, what, asked_at, arrives, answers, answer: None });
    }

    /// Candidacy of a monitor, as it stands in the table.
    pub fn candidacy(&self, slot: usize) -> Option<Candidacy> {
        self.table.candidacies[slot]
    }
}
