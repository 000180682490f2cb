use super::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

type Heard = Receiver<Result<(), CallError>>;

fn wanted(deadline: Instant) -> (Wanted, Heard) {
    let (sender, heard) = mpsc::channel();
    let tell = Tell(Some(Box::new(move |what| sender.send(what).unwrap())));
    (Wanted { call: HookCall { application: 0, generation: 1, hook: 2, word: 3, deadline }, tell }, heard)
}

/// A call of connection 7 that was sent, by its number.
fn sent(outstanding: &mut Outstanding, deadline: Instant) -> (u64, Heard) {
    let (wanted, heard) = wanted(deadline);
    let id = outstanding.next_id();
    outstanding.sent(7, id, wanted);
    (id, heard)
}

#[test]
fn what_the_application_answers_is_told() {
    let mut outstanding = Outstanding::default();
    for (result, told) in [
        (HookResult::Done, Ok(())),
        (HookResult::Failed(9), Err(CallError::Failed(9))),
        (HookResult::TooLate, Err(CallError::NoAnswer)),
    ] {
        let (id, heard) = sent(&mut outstanding, Instant::now() + SECOND);
        assert!(outstanding.is_busy(7) && !outstanding.is_busy(8));
        let answered = outstanding.answered(7, id).unwrap();
        assert_eq!(answered.hook, 2);
        answered.tell(result);
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [told]);
        assert!(!outstanding.is_busy(7));
    }
}

#[test]
fn only_who_was_asked_can_answer_and_only_once() {
    let mut outstanding = Outstanding::default();
    let (id, heard) = sent(&mut outstanding, Instant::now() + SECOND);
    assert!(outstanding.answered(8, id).is_none());
    assert!(outstanding.answered(7, id + 1).is_none());
    outstanding.answered(7, id).unwrap().tell(HookResult::Done);
    assert!(outstanding.answered(7, id).is_none());
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [Ok(())]);
}

#[test]
fn at_the_deadline_it_is_told_that_there_is_no_answer_and_the_application_stays_busy_until_it_answers() {
    let mut outstanding = Outstanding::default();
    let deadline = Instant::now() + SECOND;
    let (id, heard) = sent(&mut outstanding, deadline);
    assert_eq!(outstanding.next_deadline(), Some(deadline));
    outstanding.expire(deadline - Duration::from_nanos(1));
    assert!(heard.try_recv().is_err());
    outstanding.expire(deadline);
    assert_eq!(heard.try_recv(), Ok(Err(CallError::NoAnswer)));
    assert_eq!((outstanding.next_deadline(), outstanding.is_busy(7)), (None, true));
    outstanding.answered(7, id).unwrap().tell(HookResult::Done);
    assert!(heard.try_recv().is_err(), "it was told already");
    assert!(!outstanding.is_busy(7));
}

#[test]
fn the_end_of_the_application_or_of_the_agent_is_told() {
    let mut outstanding = Outstanding::default();
    let (_, heard) = sent(&mut outstanding, Instant::now() + SECOND);
    outstanding.lose(8);
    assert!(heard.try_recv().is_err());
    outstanding.lose(7);
    assert_eq!(heard.try_recv(), Ok(Err(CallError::Ended)));
    let (_, heard) = sent(&mut outstanding, Instant::now() + SECOND);
    drop(outstanding);
    assert_eq!(heard.try_recv(), Ok(Err(CallError::Ended)));
}

#[test]
fn calls_that_nobody_serves_any_more_are_told_also_those_that_were_wanted_before() {
    let (caller, inbox) = Caller::new().unwrap();
    let (sender, heard) = mpsc::channel();
    let call = wanted(Instant::now() + SECOND).0.call;
    let want = || {
        let sender = sender.clone();
        caller.call(call, move |what| sender.send(what).unwrap());
    };
    want();
    assert!(heard.try_recv().is_err());
    drop(inbox);
    assert_eq!(heard.try_recv(), Ok(Err(CallError::Ended)));
    want();
    assert_eq!(heard.try_recv(), Ok(Err(CallError::Ended)));
}

#[test]
fn the_bell_rings_for_each_call_however_many_there_were_before() {
    let (caller, inbox) = Caller::new().unwrap();
    let call = wanted(Instant::now() + SECOND).0.call;
    let rings = || {
        let mut events =
            [rustix::event::PollFd::from_borrowed_fd(inbox.bell(), rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut events, Some(&rustix::event::Timespec::default())).unwrap() == 1
    };
    assert!(!rings());
    // More than the socket has room for.
    for many in [1, 2000] {
        (0..many).for_each(|_| caller.call(call, |_| {}));
        assert!(rings());
        assert_eq!(inbox.take().count(), many);
        assert!(!rings());
    }
    drop(caller);
    assert!(!rings(), "nobody who could want a call is no call");
}
