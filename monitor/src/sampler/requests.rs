//! Taking in what others ask, and beginning what they order.

use super::Sampler;
use super::order::{Order, OrderError, Rejection, Request, Wanted, order_text, order_texts};
use super::treating::{Begun, Source};
use crate::guard;
use crate::journal::What;
use crate::proposals::Proposal;
use backdoors_sensor_box::{Command, FetchError, ProcessView, Subject};
use std::sync::PoisonError;
use std::time::Duration;

/// Orders that wait for the end of the command before them.
const MOST_ORDERS: usize = 16;

impl Sampler {
    /// Takes in a request from outside.
    pub fn request(&mut self, request: Request) {
        let now = self.clock.monotonic();
        match request {
            // Whoever asked may have gone: then the answer is dropped.
            Request::Processes(reply) => {
                let processes = self.fetch_processes(now).map_err(|error| error.to_string());
                drop(reply.try_send(processes));
            }
            Request::Offers(reply) => {
                let offers = self.fetch_offers(now).map_err(|error| error.to_string());
                drop(reply.try_send(offers));
            }
            Request::Audit(reply) => {
                let audit = self.fetch_audit(now).map_err(|error| error.to_string());
                drop(reply.try_send(audit));
            }
            Request::Sessions(reply) => drop(reply.try_send(self.sessions())),
            Request::Recover(order) => self.recoveries.push_back(order),
            Request::Fence(order) => self.mind_fence(order),
            Request::Resign => self.resign(),
            Request::Reconfigure(config) => self.new_config = Some(config),
            Request::Reject(rejection) => self.reject(now, &rejection),
            Request::Order(order) if self.orders.len() >= MOST_ORDERS => {
                self.refuse(&order, OrderError::Busy);
            }
            Request::Order(order) => self.orders.push_back(order),
        }
    }

    fn reject(&mut self, now: Duration, rejection: &Rejection) {
        let Rejection { id, by, reply } = rejection;
        let rejected = self.proposals.reject(now, *id);
        self.tell_proposals();
        if rejected.is_ok() {
            self.note(What::Rejected { proposal: *id, by: by.clone() });
        }
        drop(reply.try_send(rejected));
    }

    pub(super) fn begin_order(&mut self, order: Order) {
        let now = self.clock.monotonic();
        let prepared = match order.wanted {
            Wanted::Command { grace, .. } if !grace.is_zero() && self.votes_count() => {
                Err(OrderError::NoGrace)
            }
            Wanted::Command { command, grace } => {
                self.prepare_command(now, command).map(|(commands, table)| (commands, grace, table))
            }
            Wanted::Proposal { id, dry_run } => self.prepare_proposal(now, id, dry_run, &order.by),
        };
        self.tell_proposals();
        match prepared {
            Ok((commands, grace, table)) => {
                let text = self.wanted_text(&order.wanted);
                let Order { by, reply, .. } = order;
                let reason = format!("{by}: {text}");
                let guarded = matches!(order.wanted, Wanted::Proposal { .. });
                let source = Source::Order { by, reply };
                self.begin(now, &table, Begun { commands, grace, guarded, order_text: text, reason, source });
            }
            Err(error) => self.refuse(&order, error),
        }
    }

    fn refuse(&mut self, order: &Order, error: OrderError) {
        let text = self.wanted_text(&order.wanted);
        self.note(What::NotBegun { by: order.by.clone(), order: text, reason: error.to_string() });
        drop(order.reply.try_send(Err(error)));
    }

    fn wanted_text(&self, wanted: &Wanted) -> String {
        match wanted {
            Wanted::Command { command, grace } => order_text(&self.config.name, command, *grace),
            Wanted::Proposal { id, dry_run: false } => self.approval(*id),
            Wanted::Proposal { id, dry_run: true } => format!("{} --dry-run", self.approval(*id)),
        }
    }

    /// The command line that approves a proposal.
    pub(super) fn approval(&self, id: u64) -> String {
        format!("backdoors approve {} {id}", self.config.name)
    }

    fn may_act(&self) -> Result<(), OrderError> {
        if self.reachability.is_lost() || self.generation.is_none() {
            let why = self.problem().unwrap_or_else(|| "it was not reached yet".to_owned());
            return Err(OrderError::Unreachable(why));
        }
        match self.other_holder().filter(|_| !self.votes_count()) {
            Some(slot) => Err(OrderError::NotTheHolder(slot)),
            None => Ok(()),
        }
    }

    fn fresh_table(&mut self, now: Duration) -> Result<ProcessView, OrderError> {
        self.fetch_processes(now).map_err(|error| match error {
            FetchError::Access(why) => OrderError::Unreachable(why),
            FetchError::Decode(why) => OrderError::NoTable(why.to_string()),
        })
    }

    fn prepare_command(
        &mut self,
        now: Duration,
        mut command: Command,
    ) -> Result<(Vec<Command>, ProcessView), OrderError> {
        self.may_act()?;
        let table = match self.fresh_table(now) {
            // The number of a user is certain without the table.
            Err(_) if !matches!(command.opcode.subject(), Subject::Process | Subject::Tree) => {
                ProcessView::default()
            }
            table => table?,
        };
        if matches!(command.opcode.subject(), Subject::Process | Subject::Tree) && command.start == 0 {
            let pid = command.id();
            let named = table.processes.iter().find(|process| process.pid == pid);
            command.start = named.ok_or(OrderError::NoSuchProcess(pid))?.start;
        }
        Ok((vec![command], table))
    }

    /// What was proposed a while ago is looked at anew: whoever it would strike must still be there, and be the same.
    fn prepare_proposal(
        &mut self,
        now: Duration,
        id: u64,
        dry_run: bool,
        by: &str,
    ) -> Result<(Vec<Command>, Duration, ProcessView), OrderError> {
        self.may_act()?;
        let table = self.fresh_table(now)?;
        let Proposal { found, .. } = self.proposals.open(now, id)?.clone();
        guard::check_may(&found.healer, &found.commands)
            .and_then(|()| guard::check(&found.commands, &table, &self.spare))
            .map_err(|reason| OrderError::Unsafe { id, reason })?;
        if !dry_run {
            self.proposals.approve(now, id)?;
        }
        self.note(What::Approved {
            proposal: id,
            by: by.to_owned(),
            healer: found.healer,
            culprit: found.culprit,
            evidence: found.evidence,
            orders: order_texts(&self.config.name, &found.commands, found.grace),
            dry_run,
        });
        let commands = found.commands.into_iter().map(|command| Command { dry_run, ..command });
        Ok((commands.collect(), found.grace, table))
    }

    /// Ends proposals that nobody confirmed.
    pub(super) fn expire_proposals(&mut self, now: Duration) {
        self.proposals.expire(now);
        if self.proposals.has_ended() {
            self.tell_proposals();
        }
    }

    /// Tells which proposals ended by themselves, and shows those there are.
    pub(super) fn tell_proposals(&mut self) {
        for (proposal, state) in self.proposals.take_ended() {
            self.note(What::ProposalEnded { proposal, state });
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.proposals.clear();
        status.proposals.extend(self.proposals.iter().cloned());
    }
}
