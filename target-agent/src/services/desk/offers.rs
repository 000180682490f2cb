//! Sessions that were recovered from other machines.

use super::{ConnectionId, Held, Kept, Now, Place, State, Told};
use backdoors_continuation_box::resume::{Output, Resumption, Streams};
use backdoors_continuation_box::service::message::{Bases, Begin, Boxed, Keep, Message, Offer, Recovered};
use backdoors_continuation_box::snapshot::BoxView;

impl<S: Held> Place<S> {
    pub(super) fn offer(&mut self, by: ConnectionId, offer: &Offer, socket: S, old_box: &[u8]) -> Told {
        match self.take_offer(by, offer, socket, old_box) {
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

    fn take_offer(
        &mut self,
        by: ConnectionId,
        offer: &Offer,
        socket: S,
        old_box: &[u8],
    ) -> Result<Boxed, (bool, String)> {
        let wrong = |reason: &str| (false, reason.to_owned());
        let old = offer.old().check().map_err(|error| (false, format!("its box was of {error}")))?;
        let view = BoxView::decode(old, old_box, None)
            .map_err(|error| (false, format!("its box makes no sense: {error}")))?;
        let view = view.ok_or_else(|| wrong("its box was nobody's"))?;
        let plan = offer.plan().filter(|plan| follows(plan, &view));
        let plan = plan.ok_or_else(|| {
            wrong("the plan does not follow from the box: plan with the box that is offered")
        })?;
        if let Output::Regenerate { sent: 1.., .. } = plan.output {
            return Err(wrong(
                "bytes that were sent and not acknowledged are held by nobody: let the service's output be mirrored",
            ));
        }
        if offer.cookie == 0 || socket.cookie() != Some(offer.cookie) {
            return Err(wrong("the socket has another cookie"));
        }
        // What its application is done with needs no server.
        if self.server.is_none() && !view.is_ended {
            return Err((true, "the server ended: start it, and connect anew".into()));
        }
        let restored =
            self.boxes.restore(offer.cookie, &view, &plan).map_err(|error| (true, error.to_string()))?;
        let boxed = Boxed { cookie: offer.cookie, index: restored.index(), reserved: 0 };
        let back = match plan.output {
            Output::Discard(_) => 0,
            Output::Regenerate { back, .. } => back,
        };
        let recovered = Recovered {
            keep: Keep { cookie: boxed.cookie, index: boxed.index, reserved: 0, bases: Bases::default() },
            read: plan.unread.start,
            written: restored.written(),
            ahead: restored.ahead(),
            unsent: plan.unsent.start,
            replay: 0,
            back,
        };
        restored.leave();
        let state = State::Offered { by, recovered, written_end: plan.unsent.end, is_ended: view.is_ended };
        // Whatever was kept with this box has ended, and the word of it is still under way.
        self.kept.insert(boxed.index, Kept { cookie: boxed.cookie, bases: Bases::default(), socket, state });
        Ok(boxed)
    }

    pub(super) fn begin(&mut self, by: ConnectionId, begin: &Begin, now: Now) -> Told {
        let index = begin.offered.index;
        let found = self.kept.get_mut(&index).filter(|kept| kept.cookie == begin.offered.cookie);
        let Some(kept) = found else { return Told::refusal(false, "nothing of this kind was offered") };
        let State::Offered { by: offered_by, mut recovered, written_end, is_ended } = kept.state else {
            return Told::refusal(false, "it has begun already");
        };
        if offered_by != by || recovered.unsent.checked_add(begin.written).is_none_or(|end| end > written_end)
        {
            return Told::refusal(false, "this is not what was offered");
        }
        if is_ended {
            let rest = recovered.unsent + begin.written..written_end;
            if let Some(Kept { cookie, socket, .. }) = self.kept.remove(&index) {
                self.close_with(index, cookie, socket, rest, now);
            }
            return Told::answer(Message::Begun);
        }
        let counts = match kept.socket.counts() {
            Ok(counts) => counts,
            Err(error) => {
                let cookie = kept.cookie;
                tracing::warn!(service = self.name, cookie, %error, "a recovered session ended at once");
                self.kept.remove(&index);
                self.boxes.free(index, cookie);
                return Told::refusal(false, error.to_string());
            }
        };
        recovered.unsent += begin.written;
        // Nobody has read of the new socket yet.
        recovered.keep.bases = Bases {
            read: recovered.read.wrapping_sub(counts.read),
            written: recovered.unsent.wrapping_sub(counts.written),
        };
        kept.bases = recovered.keep.bases;
        kept.state = State::Begun(recovered);
        self.to_hand.push_back(index);
        Told::answer(Message::Begun)
    }

    /// Forgets what was offered over a connection that ended, and not begun. A connection in repair mode says nothing when it is
    /// closed.
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
                self.boxes.free(index, kept.cookie);
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
