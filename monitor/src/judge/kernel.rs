//! The kernel, by its own clockwork: the kernel half's timer, and the ticks of every processor that has work.
//!
//! An idle processor does not tick, so a processor is only held to its ticks while a task is on it: `cpu.busy` is 1, and
//! `cpu.switches` shows that it has been the same task all along.

use super::still::Still;
use std::time::Duration;

/// Ticks of a busy processor come this often at least (HZ = 100, the slowest there is).
const SLOWEST_TICK: Duration = Duration::from_millis(10);
/// Without `cpu.busy`, silence of a processor that idles is told from that of one that is stuck only by its length: in
/// so many deadlines even an idle processor gets some housekeeping done.
const IDLE_DEADLINES: u32 = 40;

#[derive(Clone, Debug, Default)]
pub(super) struct Kernel {
    pub timer: Option<Still>,
    pub timer_limit: Option<Duration>,
    pub cpus: Vec<Cpu>,
    next: usize,
    round: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Cpu {
    pub number: u32,
    pub ticks: Still,
    pub limit: Option<Duration>,
    switches: Option<u64>,
    busy: Option<bool>,
    /// Since when nothing but standing still was seen of it: the same ticks, the same task.
    since: Duration,
    round: u64,
}

/// What is said of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stall {
    None,
    /// A task is on it, and it does not tick.
    Stuck,
    /// It stands still for so long that idling hardly explains it.
    Maybe,
}

impl Kernel {
    pub fn begin_reading(&mut self) {
        self.next = 0;
        self.round += 1;
    }

    /// Processors that are no longer in the box are forgotten.
    pub fn end_reading(&mut self) {
        let round = self.round;
        if self.cpus.iter().any(|cpu| cpu.round != round) {
            self.cpus.retain(|cpu| cpu.round == round);
        }
    }

    pub fn timer(&mut self, value: u64, limit: Option<Duration>, now: Duration) {
        self.timer_limit = limit;
        self.timer.get_or_insert_with(|| Still::new(value, now)).see(value, now);
    }

    pub fn ticks(&mut self, number: u32, value: u64, limit: Option<Duration>, now: Duration) {
        let round = self.round;
        let cpu = match self.find(number) {
            Some(index) => &mut self.cpus[index],
            None => {
                self.cpus.push(Cpu {
                    number,
                    ticks: Still::new(value, now),
                    limit,
                    switches: None,
                    busy: None,
                    since: now,
                    round,
                });
                self.next = self.cpus.len();
                return;
            }
        };
        cpu.round = round;
        cpu.limit = limit;
        if cpu.ticks.see(value, now) {
            cpu.since = now;
        }
    }

    pub fn switches(&mut self, number: u32, value: u64, now: Duration) {
        if let Some(index) = self.find(number) {
            let cpu = &mut self.cpus[index];
            if cpu.switches.replace(value) != Some(value) {
                cpu.since = now;
            }
        }
    }

    pub fn busy(&mut self, number: u32, value: u64, now: Duration) {
        if let Some(index) = self.find(number) {
            let cpu = &mut self.cpus[index];
            let busy = value != 0;
            if cpu.busy.replace(busy) != Some(busy) {
                cpu.since = now;
            }
        }
    }

    /// The processor's place. Readings come in the order of the box, so it is mostly the next one.
    fn find(&mut self, number: u32) -> Option<usize> {
        let is_it = |cpu: &Cpu| cpu.number == number;
        let index = if self.cpus.get(self.next).is_some_and(is_it) {
            self.next
        } else {
            self.cpus.iter().position(is_it)?
        };
        self.next = index + 1;
        Some(index)
    }

    pub fn excuse(&mut self, unwatched: Duration, now: Duration) {
        if let Some(timer) = &mut self.timer {
            timer.excuse(unwatched, now);
        }
        for cpu in &mut self.cpus {
            cpu.ticks.excuse(unwatched, now);
            cpu.since = cpu.since.saturating_add(unwatched).min(now);
        }
    }

    pub fn begin(&mut self, now: Duration) {
        if let Some(timer) = &mut self.timer {
            timer.begin(now);
        }
        for cpu in &mut self.cpus {
            cpu.ticks.begin(now);
            cpu.since = now;
        }
    }

    /// The limit a processor is held to: its own, or that of the timer, if that leaves room for some ticks.
    pub fn limit(&self, cpu: &Cpu) -> Option<Duration> {
        cpu.limit.or(self.timer_limit.map(|limit| limit.max(SLOWEST_TICK * 5)))
    }

    /// Whether it ran after `since`, and ran when the reading was asked for: a timer ticks more often than anybody samples.
    pub fn runs(&self, asked: Duration, since: Duration, tick: Duration) -> bool {
        self.timer
            .is_some_and(|timer| timer.moved() && timer.changed() > since && timer.still(asked) <= tick * 2)
    }
}

impl Cpu {
    pub fn stall(&self, asked: Duration, deadline: Duration) -> Stall {
        let still = asked.saturating_sub(self.since);
        match self.busy {
            Some(false) => Stall::None,
            Some(true) if still >= deadline => {
                // Without `cpu.switches` it may have idled between two readings.
                if self.switches.is_some() { Stall::Stuck } else { Stall::Maybe }
            }
            None if self.ticks.moved() && still >= deadline.saturating_mul(IDLE_DEADLINES) => Stall::Maybe,
            _ => Stall::None,
        }
    }

    pub fn still(&self, asked: Duration) -> Duration {
        asked.saturating_sub(self.since)
    }

    pub fn is_busy(&self) -> bool {
        self.busy == Some(true)
    }

    /// When it will have been stuck for `deadline`, if it is busy and does not move.
    pub fn due(&self, deadline: Duration) -> Option<Duration> {
        (self.is_busy() && self.switches.is_some()).then(|| self.since.saturating_add(deadline))
    }

    /// How sure it is that it is stuck. The interval of ticks that was seen may be one of idle times; a busy processor's is known.
    pub fn certainty(&self, still: Duration) -> f64 {
        1.0 - (-still.as_secs_f64() / SLOWEST_TICK.as_secs_f64()).exp()
    }
}
