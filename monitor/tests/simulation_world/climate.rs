//! What a world is like: how many live in it, and what happens to them how often.

use super::time::{MILLISECOND, SECOND};

/// Times are in nanoseconds; intervals are means; 0 means never.
#[derive(Clone, Copy, Debug)]
pub struct Climate {
    pub targets: usize,
    pub monitors: usize,
    pub lifetime: u64,
    /// Limit of `kernel.timer`, which is T.
    pub timer_limit: u64,
    pub heartbeat_limit: u64,
    /// Lines of a target's configuration.
    pub lines: &'static str,
    /// A target gets into trouble.
    pub trouble_every: u64,
    /// Between half of this and all of it.
    pub trouble_lasts: u64,
    /// A path is cut, one way or both, or becomes slow.
    pub cut_every: u64,
    pub cut_lasts: u64,
    /// A monitor is paused, or gets its processor late.
    pub late_every: u64,
    pub late_lasts: u64,
    /// A user of a target starts too many processes.
    pub bomb_every: u64,
    /// An agent is restarted and makes all memory anew.
    pub remake_every: u64,
    pub loss: f64,
    pub stray: f64,
    /// Most by which clocks go wrong, in millionths.
    pub drift: u64,
}

impl Climate {
    /// There is a connection for every chance: readings that wait for each other are not independent chances.
    ///
    /// Few targets with tight deadlines, three monitors, and everything goes wrong all the time.
    pub const ROUGH: Climate = Climate {
        targets: 4,
        monitors: 3,
        lifetime: 600 * SECOND,
        timer_limit: 500 * MILLISECOND,
        heartbeat_limit: 2 * SECOND,
        lines: "period = '1s'\nfastest = '5ms'\ndeadline = '100ms'\nconnections = 16\nfalse_alarm = 1e-6\nlease = { duration = '3s' }\nbudget = { victim_cooldown = '1s', repairs_per_minute = 60, victims_per_minute = 1000000 }\n[[target.healer]]\nname = 'forkbomb'\nmode = 'act'\ncooldown = '1s'",
        trouble_every: 60 * SECOND,
        trouble_lasts: 20 * SECOND,
        cut_every: 90 * SECOND,
        cut_lasts: 20 * SECOND,
        late_every: 60 * SECOND,
        late_lasts: 20 * SECOND,
        bomb_every: 15 * SECOND,
        remake_every: 200 * SECOND,
        loss: 0.02,
        stray: 0.2,
        drift: 20_000,
    };

    /// Nothing is lost or late; targets get into trouble.
    pub const CLEAR: Climate = Climate {
        cut_every: 0,
        late_every: 0,
        remake_every: 0,
        loss: 0.0,
        stray: 0.0,
        trouble_every: 30 * SECOND,
        trouble_lasts: 12 * SECOND,
        ..Climate::ROUGH
    };

    /// Nothing is wrong with any target, and the paths lose much.
    pub const LOSSY: Climate = Climate {
        trouble_every: 0,
        cut_every: 0,
        late_every: 0,
        bomb_every: 0,
        remake_every: 0,
        loss: 0.1,
        stray: 0.0,
        ..Climate::ROUGH
    };

    /// Many targets with deadlines of minutes, for days.
    pub const VAST: Climate = Climate {
        targets: 2000,
        monitors: 2,
        lifetime: 2 * 86_400 * SECOND,
        timer_limit: 3600 * SECOND,
        heartbeat_limit: 2 * 3600 * SECOND,
        lines: "period = '1h'\nfastest = '1s'\ndeadline = '100ms'\nfalse_alarm = 1e-4\nlease = { duration = '1h' }",
        trouble_every: 12 * 86_400 * SECOND,
        trouble_lasts: 6 * 3600 * SECOND,
        cut_every: 30 * 86_400 * SECOND,
        cut_lasts: 2 * 3600 * SECOND,
        late_every: 86_400 * SECOND,
        late_lasts: 7200 * SECOND,
        bomb_every: 0,
        remake_every: 5 * 86_400 * SECOND,
        loss: 0.005,
        stray: 0.01,
        drift: 200,
    };
}
