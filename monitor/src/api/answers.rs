//! From requests to answers. Whoever answers here may block: samplers are asked, and orders end when they end.

use super::events::Wish;
use super::metrics::Known;
use super::ordering::Asked;
use super::views::TargetHandle;
use super::{audit, offering, peers};
use crate::clock::{Clock, SystemClock};
use crate::config::LONGEST_GRACE;
use crate::journal::{Journal, tail};
use crate::peers::Opinions;
use crate::recovery::Terms;
use crate::sampler::{FenceOrder, Offers, Order, RecoverOrder, Rejection, Request, Wanted, built_in};
use backdoors_healers::Repair;
use backdoors_monitor_api::{
    ErrorKind, Event, Failure, HealAnswer, HealersAnswer, Query, ReloadAnswer, Report,
};
use backdoors_sensor_box::ProcessView;
use serde::Serialize;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

/// Longest wait for a sampler's answer besides what it needs for the work itself.
const SAMPLER_PATIENCE: Duration = Duration::from_secs(20);
/// Longest wait for the end of a recovery.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(120);
/// Most lines of the past in one answer.
pub(super) const MOST_LINES: usize = 100_000;

/// Reads the configuration again.
pub type Reload = Box<dyn Fn() -> Result<ReloadAnswer, Failure> + Send + Sync>;

/// What answers come from.
pub(super) struct Sources {
    pub targets: Vec<TargetHandle>,
    pub opinions: Opinions,
    pub journal: Journal,
    pub reload: Option<Reload>,
}

impl Sources {
    /// The JSON document that answers `query`, which `by` asks. [`Query::Follow`] has none.
    ///
    /// # Errors
    /// What the asker is told.
    pub(super) fn answer(&self, query: Query, by: &str) -> Result<Vec<u8>, Failure> {
        let now = SystemClock.monotonic();
        match query {
            Query::Targets {} => json(&self.each(|target| target.summary(now, self.journal.tally()))),
            Query::Peers {} => {
                let standings = self.opinions.standings().into_iter();
                json(&standings.map(|standing| peers::summary(standing, now)).collect::<Vec<_>>())
            }
            Query::Sensors { target } => json(&self.target(&target)?.sensors(now)),
            Query::Verdicts { target: Some(target) } => json(&[self.target(&target)?.verdicts(now)]),
            Query::Verdicts { target: None } => json(&self.each(|target| target.verdicts(now))),
            Query::Healers { target: Some(target) } => json(&[self.target(&target)?.healers()]),
            Query::Healers { target: None } => {
                let built_in = HealersAnswer { target: None, healers: built_in() };
                let all = std::iter::once(built_in).chain(self.targets.iter().map(TargetHandle::healers));
                json(&all.collect::<Vec<_>>())
            }
            Query::Reload {} => match &self.reload {
                Some(reload) => json(&reload()?),
                None => Err(Failure::bad_request(
                    "this monitor was started without a configuration file".to_owned(),
                )),
            },
            Query::Processes { target } => {
                let target = self.target(&target)?;
                json(&target.processes(&fresh_processes(target)?))
            }
            Query::Offers { target } => {
                let target = self.target(&target)?;
                json(&offering::answer(&target.config.name, offers(target)?))
            }
            Query::Audit { target, last } => {
                let view = read_now(self.target(&target)?, Request::Audit)?;
                json(&audit::answer(&target, &view, last))
            }
            Query::Heal { target, subject, deed, grace_ns, dry_run, most_victims } => {
                let target = self.target(&target)?;
                let asked =
                    Asked { subject: &subject, deed: &deed, has_grace: grace_ns > 0, dry_run, most_victims };
                let command = target.command(&asked, || fresh_processes(target), || offers(target))?;
                let grace = Duration::from_nanos(grace_ns).min(LONGEST_GRACE);
                json(&order(target, Wanted::Command { command, grace }, by)?)
            }
            Query::Sessions { target } => json(&read_now(self.target(&target)?, Request::Sessions)?),
            Query::Recover { target, dry_run, without_fence, after_another } => {
                let terms = Terms { dry_run, without_fence, after_another };
                json(&recover(self.target(&target)?, terms, by)?)
            }
            Query::Fence { target, deed } => {
                let target = self.target(&target)?;
                let (sender, receiver) = sync_channel(1);
                let order = FenceOrder { deed, by: by.to_owned(), reply: sender };
                hand_over(target, Request::Fence(order))?;
                json(&receiver.recv_timeout(SAMPLER_PATIENCE).map_err(|_| no_answer(target))??)
            }
            Query::Proposals { target: Some(target) } => json(&self.target(&target)?.proposals(now)),
            Query::Proposals { target: None } => {
                json(&self.targets.iter().flat_map(|target| target.proposals(now)).collect::<Vec<_>>())
            }
            Query::Approve { target, id, dry_run } => {
                json(&order(self.target(&target)?, Wanted::Proposal { id, dry_run }, by)?)
            }
            Query::Reject { target, id } => {
                let target = self.target(&target)?;
                let (sender, receiver) = sync_channel(1);
                hand_over(target, Request::Reject(Rejection { id, by: by.to_owned(), reply: sender }))?;
                json(&receiver.recv_timeout(SAMPLER_PATIENCE).map_err(|_| no_answer(target))??)
            }
            Query::Events { target, lines, audit } => {
                let wish = self.wish(target.as_deref(), audit)?;
                let lines = tail(self.journal.path(), lines.min(MOST_LINES), |line| wish.is_for(line));
                let lines = lines
                    .map_err(|error| Failure::internal(format!("the journal cannot be read: {error}")))?;
                json(&lines.iter().map(|line| Event::of_line(line)).collect::<Vec<_>>())
            }
            Query::Follow { .. } => Err(Failure::internal("events to come have no document".to_owned())),
        }
    }

    /// What there is for Prometheus, as OpenMetrics.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn metrics(&self) -> Result<String, Failure> {
        let known = Known {
            statuses: self.each(TargetHandle::status),
            counts: self.journal.tally().counts(),
            now: SystemClock.monotonic(),
            sys: "/sys".into(),
            proc: "/proc".into(),
        };
        known.text().map_err(|error| Failure::internal(format!("the metrics cannot be written: {error}")))
    }

    /// Which entries of the journal are wanted.
    ///
    /// # Errors
    /// There is no such target.
    pub(super) fn wish(&self, target: Option<&str>, audit: bool) -> Result<Wish, Failure> {
        target.map(|name| self.target(name)).transpose()?;
        Ok(Wish::new(target, audit))
    }

    fn each<T>(&self, of: impl Fn(&TargetHandle) -> T) -> Vec<T> {
        self.targets.iter().map(of).collect()
    }

    fn target(&self, name: &str) -> Result<&TargetHandle, Failure> {
        self.targets.iter().find(|target| target.config.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.targets.iter().map(|target| target.config.name.as_str()).collect();
            let message = format!("no target is called `{name}`; there are: {}", names.join(", "));
            Failure { kind: ErrorKind::UnknownTarget, message }
        })
    }
}

fn json(answer: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(answer)
        .map_err(|error| Failure::internal(format!("the answer cannot be written: {error}")))
}

/// Has something of a target read, and waits for it.
fn read_now<T>(
    target: &TargetHandle,
    request: impl FnOnce(SyncSender<Result<T, String>>) -> Request,
) -> Result<T, Failure> {
    let (sender, receiver) = sync_channel(1);
    hand_over(target, request(sender))?;
    let read = receiver.recv_timeout(SAMPLER_PATIENCE).map_err(|_| no_answer(target))?;
    read.map_err(|message| Failure { kind: ErrorKind::Unreachable, message })
}

fn fresh_processes(target: &TargetHandle) -> Result<ProcessView, Failure> {
    read_now(target, Request::Processes)
}

fn offers(target: &TargetHandle) -> Result<Offers, Failure> {
    read_now(target, Request::Offers)
}

/// Hands an order over and waits for its end.
fn order(target: &TargetHandle, wanted: Wanted, by: &str) -> Result<HealAnswer, Failure> {
    let (sender, receiver) = sync_channel(1);
    hand_over(target, Request::Order(Order { wanted, by: by.to_owned(), reply: sender }))?;
    // Another treatment may be under way, and either may be of several commands, with as many notices, and others for who
    // lost its parent.
    let commands = u32::try_from(3 * Repair::MOST).unwrap_or(u32::MAX);
    let patience = target.config.patience.saturating_mul(2 * commands) + 2 * LONGEST_GRACE + SAMPLER_PATIENCE;
    let reply = receiver.recv_timeout(patience).map_err(|_| no_answer(target))??;
    target.healed(&reply).ok_or_else(|| no_answer(target))
}

/// Has sessions recovered, and waits for the end.
fn recover(target: &TargetHandle, terms: Terms, by: &str) -> Result<Report, Failure> {
    let (sender, receiver) = sync_channel(1);
    hand_over(target, Request::Recover(RecoverOrder { terms, by: by.to_owned(), reply: Some(sender) }))?;
    Ok(receiver.recv_timeout(RECOVERY_PATIENCE).map_err(|_| no_answer(target))??)
}

fn hand_over(target: &TargetHandle, request: Request) -> Result<(), Failure> {
    if target.attendant.request(request) {
        return Ok(());
    }
    let message = format!("too many requests wait for target `{}`; try again later", target.config.name);
    Err(Failure { kind: ErrorKind::Busy, message })
}

fn no_answer(target: &TargetHandle) -> Failure {
    let message =
        format!("no answer about target `{}` in time; `backdoors events` may tell more", target.config.name);
    Failure { kind: ErrorKind::Unreachable, message }
}
