//! Sessions that were recovered from other machines.

use super::{ConnectionId, Held, Kept, Now, Place, State, Told};
use backdoors_continuation_box::resume::{Output, Resumption, Streams};
use backdoors_continuation_box::service::message::{Bases, Begin, Boxed, Keep, Message, Offer, Recovered};
use backdoors_continuation_box::snapshot::BoxView;
use backdoors_continuation_box::snapshot::layout::BEING_MADE;

impl<S: Held> Place<S> {
    pub(super) fn offer(&mut self, by: ConnectionId, offer: &Offer, socket: S) -> Told {
        match self.take_offer(by, offer, socket) {
            Ok(offered) => {
                tracing::debug!(
                    service = self.name,
                    cookie = offered.cookie,
                    "a recovered session was offered"
                );
                Told::answer(Message::Offered(offered))
            }
            Err((retry_helps, reason)) => {
                tracing::warn!(service = self.name, reason, "a recovered session was refused");
                Told::refusal(retry_helps, reason)
            }
        }
    }

    fn take_offer(&mut self, by: ConnectionId, offer: &Offer, socket: S) -> Result<Boxed, (bool, String)> {
        let wrong = |reason: &str| (false, reason.to_owned());
        let plan = offer.plan().ok_or_else(|| wrong("what was offered has no plan"))?;
        if let Output::Regenerate { sent: 1.., .. } = plan.output {
            return Err(wrong(
                "bytes that were sent and not acknowledged are held by nobody: let the service's output be mirrored",
            ));
        }
        let cookie = offer.cookie;
        if cookie == 0 || socket.cookie() != Some(cookie) {
            return Err(wrong("the socket has another cookie"));
        }
        let is_ended = offer.is_ended();
        // What its application is done with needs no server.
        if self.server.is_none() && !is_ended {
            return Err((true, "the server ended: start it, and connect anew".into()));
        }
        let index = self
            .boxes
            .reserve_for(offer.snapshot, is_ended, &plan)
            .map_err(|error| (true, error.to_string()))?;
        let state = State::Offered { by, plan, is_ended };
        // Whatever was kept with this box has ended, and the word of it is still under way.
        self.kept.insert(index, Kept { cookie, bases: Bases::default(), socket, state });
        Ok(Boxed { cookie, index, reserved: 0 })
    }

    pub(super) fn begin(&mut self, by: ConnectionId, begin: &Begin, old_box: &[u8], now: Now) -> Told {
        let Boxed { cookie, index, .. } = begin.offered;
        let Some(kept) = self.kept.get(&index).filter(|kept| kept.cookie == cookie) else {
            return Told::refusal(false, "nothing of this kind was offered");
        };
        match &kept.state {
            State::Offered { by: offered_by, .. } if *offered_by != by => {
                return Told::refusal(false, "this is not what was offered");
            }
            State::Offered { .. } => {}
            _ => return Told::refusal(false, "it has begun already"),
        }
        let Some(Kept { socket, state: State::Offered { plan, is_ended, .. }, .. }) =
            self.kept.remove(&index)
        else {
            return Told::default();
        };
        let recovered = match self.restore(begin, &plan, is_ended, old_box) {
            Ok(recovered) => recovered,
            Err(reason) => {
                tracing::warn!(service = self.name, cookie, reason, "a recovered session is lost");
                self.boxes.free(index, BEING_MADE);
                socket.reset();
                return Told::refusal(false, reason);
            }
        };
        if is_ended {
            self.close_with(index, cookie, socket, recovered.unsent..plan.unsent.end, now);
            return Told::answer(Message::Begun);
        }
        let counts = match socket.counts() {
            Ok(counts) => counts,
            Err(error) => {
                tracing::warn!(service = self.name, cookie, %error, "a recovered session ended at once");
                self.boxes.free(index, cookie);
                return Told::refusal(false, error.to_string());
            }
        };
        // Nobody has read of the new socket yet.
        let bases = Bases {
            read: recovered.read.wrapping_sub(counts.read),
            written: recovered.unsent.wrapping_sub(counts.written),
        };
        let recovered = Recovered { keep: Keep { bases, ..recovered.keep }, ..recovered };
        self.kept.insert(index, Kept { cookie, bases, socket, state: State::Begun(recovered) });
        self.to_hand.push_back(index);
        Told::answer(Message::Begun)
    }

    /// Fills the box that was taken for an offer, and says where its session goes on.
    fn restore(
        &self,
        begin: &Begin,
        plan: &Resumption,
        was_ended: bool,
        old_box: &[u8],
    ) -> Result<Recovered, String> {
        let Boxed { cookie, index, .. } = begin.offered;
        let old = begin.old().check().map_err(|error| format!("its box was of {error}"))?;
        let view = BoxView::decode(old, old_box, None)
            .map_err(|error| format!("its box makes no sense: {error}"))?
            .ok_or("its box was nobody's")?;
        if view.is_ended != was_ended || !follows(plan, &view) {
            return Err("the plan does not follow from the box: plan with the box that goes along".to_owned());
        }
        let unsent = plan.unsent.start.checked_add(begin.written).filter(|start| *start <= plan.unsent.end);
        let unsent = unsent.ok_or("more was written than was to be")?;
        let restored = self.boxes.restore(index, cookie, &view, plan).map_err(|error| error.to_string())?;
        let back = match plan.output {
            Output::Discard(_) => 0,
            Output::Regenerate { back, .. } => back,
        };
        let recovered = Recovered {
            keep: Keep { cookie, index, reserved: 0, bases: Bases::default() },
            read: plan.unread.start,
            written: restored.written(),
            ahead: restored.ahead(),
            unsent,
            replay: 0,
            back,
        };
        restored.leave();
        Ok(recovered)
    }

    /// Forgets what was offered over a connection that ended, and not begun. A connection in repair mode says nothing when it is
    /// broken off; one that speaks already tells its client that it is lost.
    pub(super) fn withdraw(&mut self, by: ConnectionId) {
        let is_its = |kept: &Kept<S>| matches!(kept.state, State::Offered { by: other, .. } if other == by);
        let its: Vec<u32> =
            self.kept.iter().filter(|(_, kept)| is_its(kept)).map(|(index, _)| *index).collect();
        for index in its {
            if let Some(kept) = self.kept.remove(&index) {
                tracing::warn!(
                    service = self.name,
                    cookie = kept.cookie,
                    "a session was offered and not begun"
                );
                self.boxes.free(index, BEING_MADE);
                kept.socket.reset();
            }
        }
    }
}

/// Whether this is the plan for a session with this box, of a connection that was as the plan says.
fn follows(plan: &Resumption, view: &BoxView) -> bool {
    let streams = Streams {
        acknowledged: plan.unacknowledged.start,
        sent: plan.unacknowledged.end,
        received: plan.unread.end,
        held: plan.unread.clone(),
    };
    Resumption::plan(&streams, view).is_ok_and(|other| other == *plan)
}
