//! A state that contradicts itself is refused before a kernel sees it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use backdoors_continuation_box::tcp::state::{ReceiveSide, Scales, SendSide, Timestamps};
use backdoors_continuation_box::tcp::{StateError, TcpState};
use proptest::prelude::*;
use std::net::SocketAddr;
use std::time::Duration;

fn an_end(v6: bool) -> BoxedStrategy<SocketAddr> {
    if v6 {
        (1u16.., any::<u64>())
            .prop_map(|(port, low)| {
                let [a, b, c, d] = [48, 32, 16, 0].map(|shift| (low >> shift) as u16);
                SocketAddr::new(std::net::Ipv6Addr::new(0xfd77, 0, 0, 0, a, b, c, d).into(), port)
            })
            .boxed()
    } else {
        (1u16.., 0u8.., 0u8..).prop_map(|(port, c, d)| SocketAddr::from(([10, 77, c, d], port))).boxed()
    }
}

fn send_side(scale: u8) -> impl Strategy<Value = SendSide> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
    let window = 0..=0xffff_u32 << scale;
    (any::<u32>(), window, 0..1000_u32, bytes(), bytes(), any::<bool>()).prop_map(
        |(una, window, larger, unacknowledged, unsent, closed)| SendSide {
            una,
            next: una.wrapping_add(unacknowledged.len() as u32 + u32::from(closed)),
            window,
            window_at: 0,
            max_window: (window + larger).min(1 << 30),
            unacknowledged: unacknowledged.into(),
            unsent: if closed { Vec::new() } else { unsent }.into(),
            closed,
        },
    )
}

fn receive_side() -> impl Strategy<Value = ReceiveSide> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..300);
    (any::<u32>(), 0..=1_u32 << 30, 0..100_000_u32, bytes, any::<bool>()).prop_map(
        |(copied, window, older, unread, closed)| {
            let next = copied.wrapping_add(unread.len() as u32 + u32::from(closed));
            ReceiveSide { copied, next, window, window_at: next.wrapping_sub(older), unread, closed }
        },
    )
}

prop_compose! {
    fn a_state()(scales in proptest::option::of((0u8..=14, 0u8..=14)), v6 in any::<bool>())(
        local in an_end(v6),
        remote in an_end(v6),
        send in send_side(scales.map_or(0, |(send, _)| send)),
        receive in receive_side(),
        scales in Just(scales),
        segment_size in 88u16..,
        selective in any::<bool>(),
        timestamps in proptest::option::of((any::<u32>(), 0u64..600_000, any::<bool>())),
    ) -> TcpState {
        let mut state = TcpState {
            local,
            remote,
            send,
            receive,
            segment_size,
            scales: scales.map(|(send, receive)| Scales { send, receive }),
            selective,
            timestamps: timestamps.map(|(last, age, microseconds)| {
                Timestamps { last, age: Duration::from_millis(age), microseconds }
            }),
        };
        state.send.window_at = state.receive.window_at;
        state
    }
}

/// One way to break a state, and what is said of it.
type Break = (fn(&mut TcpState), fn(&StateError) -> bool);

const BREAKS: [Break; 20] = [
    (|it| it.local.set_port(0), |error| matches!(error, StateError::End(_))),
    (|it| it.remote.set_port(0), |error| matches!(error, StateError::End(_))),
    (
        |it| it.remote.set_ip([0, 0, 0, 0].into()),
        |error| matches!(error, StateError::End(_) | StateError::Families(..)),
    ),
    (
        |it| it.local.set_ip([224, 0, 0, 1].into()),
        |error| matches!(error, StateError::End(_) | StateError::Families(..)),
    ),
    (
        |it| it.local.set_ip(if it.remote.is_ipv4() { "fd77::1" } else { "10.0.0.1" }.parse().unwrap()),
        |error| matches!(error, StateError::Families(..)),
    ),
    (
        |it| {
            it.local.set_ip("::ffff:10.0.0.1".parse().unwrap());
            it.remote.set_ip("fd77::1".parse().unwrap());
        },
        |error| matches!(error, StateError::End(_)),
    ),
    (
        |it| it.send.unacknowledged = [&it.send.unacknowledged[..], &[0]].concat().into(),
        |error| matches!(error, StateError::Length { .. }),
    ),
    (|it| it.send.next = it.send.next.wrapping_add(2), |error| matches!(error, StateError::Length { .. })),
    (|it| it.send.una = it.send.next.wrapping_add(2), |error| matches!(error, StateError::TooLarge { .. })),
    (|it| it.receive.unread.push(0), |error| matches!(error, StateError::Length { .. })),
    (
        |it| it.receive.copied = it.receive.copied.wrapping_sub(2),
        |error| matches!(error, StateError::Length { .. }),
    ),
    (
        |it| it.receive.copied = it.receive.next.wrapping_add(2),
        |error| matches!(error, StateError::TooLarge { .. }),
    ),
    (
        |it| {
            it.send.next = it.send.una.wrapping_add(it.send.unacknowledged.len() as u32 + 1);
            it.send.closed = true;
            it.send.unsent = vec![0].into();
        },
        |error| *error == StateError::WrittenAfterClose(1),
    ),
    (|it| it.send.max_window = (1 << 30) + 1, |error| matches!(error, StateError::TooLarge { .. })),
    (|it| it.send.window = it.send.max_window + 1, |error| matches!(error, StateError::TooLarge { .. })),
    (|it| it.receive.window = (1 << 30) + 1, |error| matches!(error, StateError::TooLarge { .. })),
    (
        |it| it.receive.window_at = it.receive.next.wrapping_add(1),
        |error| matches!(error, StateError::Far { .. }),
    ),
    (
        |it| it.send.window_at = it.receive.next.wrapping_add((1 << 30) + 1),
        |error| matches!(error, StateError::Far { .. }),
    ),
    (|it| it.scales = Some(Scales { send: 14, receive: 15 }), |error| *error == StateError::Scale(15)),
    (|it| it.segment_size = 87, |error| *error == StateError::SegmentSize(87)),
];

proptest! {
    #[test]
    fn a_state_that_agrees_with_itself_is_accepted_wherever_its_sequence_numbers_wrap(state in a_state()) {
        prop_assert_eq!(state.check(), Ok(()));
    }

    #[test]
    fn whatever_is_wrong_is_named(state in a_state(), which in 0..BREAKS.len()) {
        let mut broken = state;
        let (make, is_named) = BREAKS[which];
        make(&mut broken);
        let error = broken.check();
        prop_assert!(error.as_ref().err().is_some_and(is_named), "{:?}", error);
    }

    #[test]
    fn no_numbers_make_the_check_panic(
        state in a_state(), numbers in any::<[u32; 8]>(), flags in any::<[bool; 2]>(), age in any::<u64>(),
    ) {
        let mut state = state;
        [state.send.una, state.send.next, state.send.window, state.send.window_at] = numbers[..4].try_into().unwrap();
        [state.receive.copied, state.receive.next, state.receive.window, state.receive.window_at] =
            numbers[4..].try_into().unwrap();
        (state.send.closed, state.receive.closed) = (flags[0], flags[1]);
        state.scales = Some(Scales { send: numbers[0] as u8, receive: numbers[1] as u8 });
        state.timestamps = Some(Timestamps { last: numbers[2], age: Duration::from_secs(age), microseconds: flags[0] });
        let _ = state.check();
    }
}

#[test]
fn a_timestamp_that_the_peer_could_take_for_an_old_one_is_refused() {
    let mut state = sample();
    state.timestamps = Some(Timestamps { last: 7, age: Duration::from_secs(20 * 60), microseconds: true });
    assert_eq!(state.check(), Err(StateError::OldTimestamp(Duration::from_secs(20 * 60))));
    state.timestamps = Some(Timestamps { last: 7, age: Duration::from_secs(20 * 60), microseconds: false });
    assert_eq!(state.check(), Ok(()));
    state.timestamps = Some(Timestamps { last: 7, age: Duration::MAX, microseconds: false });
    assert_eq!(state.check(), Err(StateError::OldTimestamp(Duration::MAX)));
}

#[test]
fn a_connection_that_both_ends_have_closed_and_acknowledged_is_over() {
    let mut state = sample();
    (state.send.closed, state.receive.closed) = (true, true);
    assert_eq!(state.check(), Err(StateError::Over));
    // Our own end may not have been acknowledged: then there is something left to be said.
    state.send.next = state.send.next.wrapping_add(1);
    assert_eq!(state.check(), Ok(()));
}

fn sample() -> TcpState {
    TcpState {
        local: SocketAddr::from(([10, 77, 0, 10], 80)),
        remote: SocketAddr::from(([10, 77, 0, 1], 4000)),
        send: SendSide {
            una: u32::MAX,
            next: u32::MAX,
            window: 5_000,
            window_at: 9,
            max_window: 5_000,
            unacknowledged: Vec::new().into(),
            unsent: Vec::new().into(),
            closed: false,
        },
        receive: ReceiveSide {
            copied: 10,
            next: 10,
            window: 5_000,
            window_at: 10,
            unread: Vec::new(),
            closed: false,
        },
        segment_size: 1460,
        scales: None,
        selective: true,
        timestamps: None,
    }
}
