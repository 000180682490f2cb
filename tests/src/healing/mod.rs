//! The main job, end to end: a fork bomb is noticed, diagnosed and eradicated by a peer that only reads and writes
//! the target's memory, while the agent on the target is frozen.

pub mod disturbance;
pub mod useful;

use crate::deployment::{Deployment, Plan};
use crate::machine::Machine;
use anyhow::{Result, bail};
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use useful::{Round, median_and_longest, rounds};

/// The shell's fork bomb, as an unprivileged user would type it.
pub const BOMB: &str = ":(){ :|:& };:";

/// A healing to be watched.
#[derive(Clone, Copy, Debug)]
pub struct Healing {
    /// The user who drops the bomb.
    pub user: u32,
    /// Most processes the target lets that user have.
    pub processes: u32,
    /// How long the useful program runs undisturbed, before and after.
    pub calm: Duration,
    /// Longest time from bomb to last culprit.
    pub patience: Duration,
}

/// What was seen.
#[derive(Debug)]
pub struct Report {
    /// When the bomb was dropped, nanoseconds since 1970 UTC on the lab's clock.
    pub bomb_at: u64,
    /// When its last process was gone.
    pub gone_at: u64,
    /// The journal from the bomb on.
    pub journal: Vec<Value>,
    /// Rounds of the useful program, all.
    pub rounds: Vec<Round>,
    /// Most processes that the user was seen to have.
    pub most: usize,
}

/// The plan for both labs: limits that the bomb breaks, and a healer that may act.
#[must_use]
pub fn plan(provider: &'static str, monitor_prefix: &'static str) -> Plan {
    Plan {
        provider,
        agent: "scope = \"pid-namespace\"\n[limits]\n\"user.processes\" = 150\n".to_owned(),
        watch: "period = \"20ms\"\n".to_owned(),
        healers: "[[target.healer]]\nname = \"forkbomb\"\nmode = \"act\"\n".to_owned(),
        monitor_prefix,
        ..Plan::default()
    }
}

impl Healing {
    /// Freezes the agent, drops the bomb, waits for the repair.
    ///
    /// # Errors
    /// If the bomb survives, or something else than the agent's being frozen is not as it should be; the message
    /// has what everybody printed.
    pub fn watch<M: Machine>(&self, deployment: &Deployment<'_, M>) -> Result<Report> {
        let target = deployment.target;
        let program = target.program("backdoors-useful")?;
        target.start(&format!("{program} 50"), "/run/backdoors/useful.log")?;
        std::thread::sleep(self.calm);

        deployment.freeze_agent()?;
        let known = deployment.journal()?.len();
        let bomb_at = now();
        target.shell_as(self.user, self.processes, BOMB)?;
        let mut most = 0;
        let mut repaired = false;
        let gone = target.wait_for("the bomb's last process", self.patience, || {
            let alive = target.processes_of(self.user)?;
            most = most.max(alive);
            repaired |= deployment.journal()?.iter().skip(known).any(|entry| entry["kind"] == "repaired");
            Ok((repaired && alive == 0).then(now))
        });
        let journal: Vec<Value> = deployment.journal()?.into_iter().skip(known).collect();
        let Ok(gone_at) = gone else {
            bail!(
                "the bomb survives: user {} has {} processes after {:?}\n{}",
                self.user,
                target.processes_of(self.user)?,
                self.patience,
                deployment.logs()
            );
        };

        std::thread::sleep(self.calm);
        let again = target.processes_of(self.user)?;
        if again != 0 {
            bail!("the bomb came back: {again} processes\n{}", deployment.logs());
        }
        let rounds = rounds(&target.shell("cat /run/backdoors/useful.log")?);
        if !deployment.stands_still(deployment.agent)? {
            bail!("the agent ran meanwhile: nothing is shown\n{}", deployment.logs());
        }
        target.signal("CONT", deployment.agent)?;
        Ok(Report { bomb_at, gone_at, journal, rounds, most })
    }
}

impl Report {
    /// Rounds that began before the bomb, while it lived, and after it was gone.
    #[must_use]
    pub fn phases(&self) -> [(&'static str, Vec<Round>); 3] {
        let between = |from: u64, to: u64| {
            self.rounds.iter().copied().filter(|round| (from..to).contains(&round.at)).collect()
        };
        [
            ("before", between(0, self.bomb_at)),
            ("during", between(self.bomb_at, self.gone_at)),
            ("after", between(self.gone_at, u64::MAX)),
        ]
    }

    /// The timeline and the useful program's times, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let since = |at: u64| (at as f64 - self.bomb_at as f64) / 1e6;
        let mut text = format!("{:>10}  the bomb is dropped\n", "0.0 ms");
        for entry in &self.journal {
            let at = format!("{:.1} ms", since(entry["time_ns"].as_u64().unwrap_or(0)));
            let kind = entry["kind"].as_str().unwrap_or("?");
            let words = entry["text"].as_str().unwrap_or("");
            text.push_str(&format!("{at:>10}  {kind:<15} {words}\n"));
        }
        let gone = format!("{:.1} ms", since(self.gone_at));
        text.push_str(&format!("{gone:>10}  no process of the bomb is alive (most seen: {})\n\n", self.most));
        text.push_str("a useful program's round   median      longest   rounds\n");
        for (phase, rounds) in self.phases() {
            match median_and_longest(&rounds) {
                Some((median, longest)) => text.push_str(&format!(
                    "  {phase:<20} {median:>8.1} ms  {longest:>8.1} ms   {:>6}\n",
                    rounds.len()
                )),
                None => text.push_str(&format!("  {phase:<20} none began\n")),
            }
        }
        text
    }
}

pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
