//! When to read a target next. Pure.
//!
//! **How many chances.** A target is accused of silence when it could not be read for the tightest deadline T of its progress sensors. The
//! thesis (section 3.4.2, after Gupta et al.) asks for at least log PM(T) / log p_ml chances to read within T, so that all of them are lost
//! with a probability of at most PM(T). That bounds one window; but windows overlap, and an alarm may begin with any chance. A run of
//! n losses begins at a given chance with probability (1 - p) pⁿ, there are n chances in T, so the probability of a false alarm *within T time
//! units*, which is how PM(T) is defined, is at most n (1 - p) pⁿ. The number of chances is the smallest n that keeps both below PM(T).
//!
//! **How far apart.** The last of n chances must have been answered or given up when T ends: the longest interval is
//! (T - wait) / n, `wait` being the longest time one chance is waited for. That is the period. It has to do for an interval from one sample to
//! the next, a round trip at either end, and what this monitor is usually late by; these are subtracted, up to half of it. Each interval is
//! then drawn between 80 % and 100 % of what is left, so that many targets are never sampled in lockstep and no rhythm of a target can hide
//! from the samples.
//!
//! **Faster** as a level, floor or pressure sensor nears its limit: from half its limit on the interval shrinks, geometrically, to the
//! fastest. **Slower** when all is calm, up to the longest interval the configuration allows, or T.
//!
//! **Aligned**: when a progress sensor stands still, a sample is due exactly when its deadline runs out. So a failure is told within T plus
//! one period: the value that stays was first seen at most one interval and a round trip after it froze, and the reading that finds it overdue
//! begins as late as this monitor is, and takes another round trip.

mod nearness;

pub use nearness::{Nearest, Nearness};

use crate::loss::RoundTrip;
use std::fmt;
use std::time::Duration;

/// Chances in one T beyond which the promise is given up.
const MOST_CHANCES: u32 = 1000;
/// Intervals are drawn between this share of the longest and all of it.
const SHORTEST_SHARE: f64 = 0.8;
/// A sensor below this share of its limit is calm.
const CALM: f64 = 0.5;

/// What the pace follows from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inputs {
    /// Tightest limit in force among the progress sensors; `None` if there is none.
    pub tightest: Option<Duration>,
    /// PM(T): the probability with which a healthy target may be accused within T.
    pub false_alarm: f64,
    /// p_ml: the probability of losing a reading, see [`crate::loss::Loss::probability`].
    pub loss: f64,
    /// How long readings take.
    pub round_trip: RoundTrip,
    /// Longest wait for one reading that the configuration allows.
    pub wait: Duration,
    /// The level, floor or pressure sensor nearest its limit.
    pub nearest: Option<Nearest>,
    /// What deadlines are multiplied by because this monitor is late, at least 1.
    pub lateness: f64,
    /// The longest delay of this monitor's recent rounds ([`crate::lateness::Standing::worst_ns`]).
    pub delay: Duration,
    /// The interval when all is calm and no deadline asks for a shorter one.
    pub longest: Duration,
    /// The shortest interval.
    pub fastest: Duration,
}

/// How to sample a target for now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Longest time from the start of one sample to the end of the next.
    pub period: Duration,
    /// Longest time from when one sample is due to when the next is.
    pub interval: Duration,
    /// Chances that must be missed, one after the other, before silence accuses anyone.
    pub chances: u32,
    /// Longest wait for one reading; then the chance is missed.
    pub wait: Duration,
    /// Where the period comes from.
    pub why: Why,
}

/// Where a period comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// Nothing asks for more.
    Calm,
    /// The promise asks for so many chances within the deadline.
    Promise {
        /// Chances within the deadline.
        chances: u32,
        /// The deadline, widened by the monitor's lateness.
        deadline: Duration,
        /// p_ml.
        loss: f64,
        /// PM(T).
        false_alarm: f64,
    },
    /// A sensor is near its limit, or over it.
    Near(Nearest),
    /// Not even the fastest sampling gives the deadline enough chances. False alarms are still as rare as was asked for, but silence is told
    /// later than the deadline.
    Broken {
        /// Chances it would take; `None`: more than can be had.
        chances: Option<u32>,
        /// The deadline.
        deadline: Duration,
        /// p_ml.
        loss: f64,
        /// When silence will be told instead.
        instead: Duration,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Calm => formatter.write_str("calm"),
            Why::Promise { chances, deadline, loss, false_alarm } => write!(
                formatter,
                "{chances} chance{} in {deadline:?} at a loss of {} % for {false_alarm:e}",
                if *chances == 1 { "" } else { "s" },
                percent(*loss)
            ),
            Why::Near(nearest) => nearest.fmt(formatter),
            Why::Broken { chances, deadline, loss, instead } => {
                write!(formatter, "cannot keep the promise: at a loss of {} % ", percent(*loss))?;
                match chances {
                    Some(chances) => write!(formatter, "{chances} chances do not fit into {deadline:?}")?,
                    None => write!(formatter, "no number of chances is enough")?,
                }
                write!(formatter, ", silence is told after {instead:?}")
            }
        }
    }
}

/// A share in percent, with two significant digits.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 10.0 || percent <= 0.0 {
        return format!("{percent:.0}");
    }
    let places = (1.0 - percent.log10().floor()).clamp(0.0, 9.0) as usize;
    format!("{percent:.places$}")
}

/// The smallest number of chances that keeps the promise, and whether it is one (beyond a thousand it is not).
#[must_use]
pub fn chances_needed(false_alarm: f64, loss: f64) -> (u32, bool) {
    let loss = loss.clamp(1e-12, 0.999_999);
    let mut all_lost = 1.0;
    for chances in 1..=MOST_CHANCES {
        all_lost *= loss;
        if all_lost <= false_alarm && f64::from(chances) * (1.0 - loss) * all_lost <= false_alarm {
            return (chances, true);
        }
    }
    (MOST_CHANCES, false)
}

impl Plan {
    /// The plan that follows from the inputs. Absurd inputs make an absurd but possible plan: never faster than `fastest` (at least
    /// 10 µs), never slower than `longest`.
    #[must_use]
    pub fn of(inputs: &Inputs) -> Plan {
        let mut plan = Plan::with_period(inputs);
        if matches!(plan.why, Why::Promise { .. }) {
            let around = inputs.round_trip.high.saturating_mul(2).saturating_add(inputs.delay);
            plan.interval = (plan.period - around.min(plan.period / 2)).max(inputs.fastest);
        }
        plan
    }

    fn with_period(inputs: &Inputs) -> Plan {
        let fastest = inputs.fastest.max(Duration::from_micros(10));
        let longest = inputs.longest.max(fastest);
        let wait = wait(inputs, fastest);
        let (chances, enough) = chances_needed(inputs.false_alarm, inputs.loss);
        let mut plan = Plan { period: longest, interval: longest, chances, wait, why: Why::Calm };
        if let Some(tightest) = inputs.tightest {
            let deadline = widened(tightest, inputs.lateness);
            let loss = inputs.loss;
            let possible = deadline.saturating_sub(wait) / chances;
            if !enough || possible < fastest {
                let instead = fastest.saturating_mul(chances).saturating_add(wait);
                let chances = enough.then_some(chances);
                (plan.period, plan.interval) = (fastest, fastest);
                plan.why = Why::Broken { chances, deadline, loss, instead };
                return plan;
            }
            if possible < plan.period {
                (plan.period, plan.interval) = (possible, possible);
                plan.why = Why::Promise { chances, deadline, loss, false_alarm: inputs.false_alarm };
            }
        }
        if let Some(nearest) = inputs.nearest
            && nearest.share > CALM
        {
            let closeness = ((nearest.share - CALM) / (1.0 - CALM)).min(1.0);
            let ratio = fastest.as_secs_f64() / longest.as_secs_f64();
            let period = longest.mul_f64(ratio.powf(closeness)).max(fastest);
            if period < plan.period {
                (plan.period, plan.interval) = (period, period);
                plan.why = Why::Near(nearest);
            }
        }
        plan
    }
}

/// A reading that takes four times as long as nearly all is lost. Not longer than a quarter of the deadline, so that there is time for others.
fn wait(inputs: &Inputs, fastest: Duration) -> Duration {
    let mut wait = inputs.wait;
    if !inputs.round_trip.high.is_zero() {
        wait = wait.min(inputs.round_trip.high.saturating_mul(4).max(fastest));
    }
    if let Some(tightest) = inputs.tightest {
        wait = wait.min(widened(tightest, inputs.lateness) / 4);
    }
    wait.max(Duration::from_micros(10))
}

pub(crate) fn widened(deadline: Duration, by: f64) -> Duration {
    // Keeps within what a duration can hold, whatever the limit says.
    Duration::try_from_secs_f64(deadline.as_secs_f64() * by.max(1.0)).unwrap_or(Duration::MAX)
}

/// Says when to read one target.
#[derive(Clone, Debug)]
pub struct Pace {
    plan: Plan,
    random: u64,
    begun: bool,
}

impl Pace {
    /// A pace from the seed, which must differ between targets.
    #[must_use]
    pub fn new(seed: u64, first: Plan) -> Pace {
        Pace { plan: first, random: seed, begun: false }
    }

    /// Makes the plan that follows from the inputs and puts it in force.
    pub fn plan(&mut self, inputs: &Inputs) -> Plan {
        self.plan = Plan::of(inputs);
        self.plan
    }

    /// The plan in force.
    #[must_use]
    pub fn in_force(&self) -> &Plan {
        &self.plan
    }

    /// When to read next. `last` is when the last sample was due, `now` the time; `deadline` the time at which, if nothing
    /// moves before, a progress sensor or the silence has lasted too long ([`crate::judge::Judge::due`]).
    pub fn next(&mut self, last: Duration, now: Duration, deadline: Option<Duration>) -> Duration {
        let interval = self.plan.interval;
        if !self.begun {
            self.begun = true;
            return now.saturating_add(interval.mul_f64(self.uniform()));
        }
        let share = SHORTEST_SHARE + (1.0 - SHORTEST_SHARE) * self.uniform();
        let mut next = last.saturating_add(interval.mul_f64(share));
        if next <= now || last > now {
            // Chances that went by are not made up for.
            next = now.saturating_add(interval.mul_f64(share));
        }
        match deadline {
            Some(deadline) if deadline > now => next.min(deadline),
            // What was due could not be decided, for want of a reading: try again soon.
            Some(_) => next.min(now.saturating_add(interval / 4)),
            None => next,
        }
    }

    /// Uniform in [0, 1), by SplitMix64 (Steele, Lea, Flood, 2014).
    fn uniform(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests;
