//! Requests that are started and polled for.

use crate::access::{AccessError, Connection, RemoteRange, Request};
use crate::conformance::Failure;
use crate::conformance::bench::{Bench, contents, denied, equal, failed, fails, holds, moved, pattern};
use crate::owner::Rights;
use crate::pool::Ticket;
use crate::session::Session;
use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::Poll;
use std::time::{Duration, Instant};

/// Deadline of requests that must be answered.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for something to become readable that must.
const WAKE_TIME: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

fn invalid(error: &AccessError) -> bool {
    matches!(error, AccessError::Invalid(_))
}

fn busy(error: &AccessError) -> bool {
    matches!(error, AccessError::Busy)
}

fn poisoned(error: &AccessError) -> bool {
    matches!(error, AccessError::Poisoned)
}

fn unreachable(error: &AccessError) -> bool {
    matches!(error, AccessError::Unreachable { .. })
}

/// Waits, for so long, until something may have news.
fn sleep_until_readable<'a>(
    readiness: impl Iterator<Item = BorrowedFd<'a>>,
    longest: Duration,
) -> Result<(), Failure> {
    let mut waiting: Vec<PollFd<'_>> =
        readiness.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    let longest = Timespec::try_from(longest).map_err(failed("no such time"))?;
    rustix::event::poll(&mut waiting, Some(&longest)).map_err(failed("poll"))?;
    Ok(())
}

/// Polls until the connection's request has ended.
fn outcome(connection: &mut dyn Connection, bytes: &mut Vec<u8>) -> Result<Result<(), AccessError>, Failure> {
    let start = Instant::now();
    loop {
        if let Poll::Ready(result) = connection.poll(bytes) {
            return Ok(result);
        }
        holds("a request ends at its deadline at the latest", start.elapsed() < PATIENCE * 2)?;
        sleep_until_readable(std::iter::once(connection.readiness()), Duration::from_millis(20))?;
    }
}

fn ask(
    connection: &mut dyn Connection,
    request: Request<'_>,
    deadline: Duration,
) -> Result<Result<Vec<u8>, AccessError>, Failure> {
    let mut bytes = vec![0xee; 5];
    if let Err(error) = connection.start(request, deadline) {
        return Ok(Err(error));
    }
    Ok(outcome(connection, &mut bytes)?.map(|()| bytes))
}

/// Waits for changes alone, as somebody with many connections does.
fn watch(fd: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    let watch = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed("epoll"))?;
    let (data, flags) = (epoll::EventData::new_u64(1), epoll::EventFlags::IN | epoll::EventFlags::ET);
    epoll::add(&watch, fd, data, flags).map_err(failed("epoll"))?;
    Ok(watch)
}

pub(super) fn reads_and_wakes(bench: &mut Bench<'_>) -> Result<(), Failure> {
    const LENGTH: usize = 64 << 10;
    const ROUNDS: usize = 300;
    let (memory, mut monitor, range) = bench.simple(LENGTH, Rights::ReadOnly, 1)?;
    let connection = monitor.first()?;
    let watch = watch(connection.readiness())?;
    let mut bytes = vec![0xee; 3];
    for round in 0..ROUNDS {
        memory.write_bytes(0, &pattern(LENGTH, round as u64)).map_err(failed("local memory"))?;
        let large = if round % 10 == 0 { LENGTH - 100 } else { 1000 };
        let pieces = [(0, 8), (round % 13, 1 + round % 50), (64, large), (LENGTH - 1 - round, 1)];
        let ranges = pieces.map(|(at, length)| moved(range, at as i64, length as u64));
        connection.start(Request::Read(&ranges), PATIENCE).map_err(failed("start"))?;
        // Whether it is asked before it can be ready must make no difference.
        let mut result = if round % 2 == 0 { connection.poll(&mut bytes) } else { Poll::Pending };
        while result.is_pending() {
            let mut events =
                [
                    const {
                        epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }
                    },
                ];
            let woken = epoll::wait(&watch, &mut events, Some(&WAKE_TIME)).map_err(failed("epoll"))?;
            holds("a readable end wakes who waits for changes", woken == 1)?;
            result = connection.poll(&mut bytes);
        }
        let Poll::Ready(result) = result else { continue };
        result.map_err(failed("started read"))?;
        let now = contents(&memory)?;
        let expected: Vec<u8> =
            pieces.iter().flat_map(|(at, length)| &now[*at..at + length]).copied().collect();
        holds("all ranges come, one after the other, and nothing else", bytes == expected)?;
    }
    Ok(())
}

pub(super) fn one_at_a_time(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let (memory, mut monitor, range) = bench.simple(64, Rights::ReadOnly, 1)?;
    memory.write_bytes(0, &[7; 64]).map_err(failed("local memory"))?;
    let connection = monitor.first()?;
    let mut bytes = Vec::new();
    let early = connection.poll(&mut bytes);
    holds("there is nothing to poll for before", matches!(early, Poll::Ready(Err(AccessError::Invalid(_)))))?;
    connection.start(Request::Read(&[range]), PATIENCE).map_err(failed("start"))?;
    fails("a second request", connection.start(Request::Probe, PATIENCE), invalid)?;
    fails("a batch beside it", connection.read(range, &mut [0; 64]), invalid)?;
    outcome(connection, &mut bytes)?.map_err(failed("the first request"))?;
    equal("what it read", bytes.as_slice(), &[7; 64])?;
    let after = connection.poll(&mut bytes);
    holds("there is nothing to poll for after", matches!(after, Poll::Ready(Err(AccessError::Invalid(_)))))?;
    connection.read(range, &mut [0; 64]).map_err(failed("a batch after it"))?;
    let again = ask(connection, Request::Read(&[range]), PATIENCE)?.map_err(failed("a request after it"))?;
    equal("what that read", again.as_slice(), &[7; 64])
}

pub(super) fn over_the_limits(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let (_memory, mut monitor, range) = bench.simple(4 << 20, Rights::ReadOnly, 1)?;
    let connection = monitor.first()?;
    let limits = connection.limits();
    let mut refuse = |what: &str, ranges: &[RemoteRange]| {
        fails(what, connection.start(Request::Read(ranges), PATIENCE), invalid)
    };
    refuse("no ranges", &[])?;
    refuse("an empty range", &[moved(range, 0, 8), moved(range, 0, 0)])?;
    refuse("one range too many", &vec![moved(range, 0, 1); limits.operations + 1])?;
    refuse("a range too long", &[moved(range, 0, limits.bytes as u64 + 1)])?;
    refuse("ranges too long together", &[moved(range, 0, limits.bytes as u64 / 2 + 1); 2])?;
    refuse("ranges of endless length", &[moved(range, 0, u64::MAX); 2])?;
    holds("the connection is not poisoned", !connection.is_poisoned())?;
    let most = vec![moved(range, 0, 8); limits.operations];
    let read =
        ask(connection, Request::Read(&most), PATIENCE)?.map_err(failed("as many ranges as may be"))?;
    equal("bytes read", read.len(), 8 * limits.operations)?;
    let longest = [moved(range, 0, limits.bytes as u64)];
    let read = ask(connection, Request::Read(&longest), PATIENCE)?.map_err(failed("as long as may be"))?;
    equal("bytes read", read.len(), limits.bytes)
}

pub(super) fn denied_ends_its_connection(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let (_memory, mut monitor, range) = bench.simple(64, Rights::Writable, 2)?;
    let outside = [range, moved(range, 60, 8)];
    let connection = monitor.connection(0)?;
    denied("a read past the end", ask(connection, Request::Read(&outside), PATIENCE)?)?;
    holds("it is poisoned", connection.is_poisoned())?;
    fails("a probe over it", connection.start(Request::Probe, PATIENCE), poisoned)?;
    let nothing = connection.poll(&mut Vec::new());
    holds("polling says so too", matches!(nothing, Poll::Ready(Err(AccessError::Poisoned))))?;
    ask(monitor.connection(1)?, Request::Read(&[range]), PATIENCE)?.map_err(failed("over the other one"))?;
    Ok(())
}

/// Polls a session until as many requests have ended.
fn outcomes(
    session: &mut Session,
    count: usize,
) -> Result<BTreeMap<Ticket, Result<Vec<u8>, AccessError>>, Failure> {
    let start = Instant::now();
    let mut outcomes = BTreeMap::new();
    let mut bytes = Vec::new();
    loop {
        while let Some((ticket, result)) = session.poll(&mut bytes) {
            let twice = outcomes.insert(ticket, result.map(|()| bytes.clone())).is_some();
            holds("no request ends twice", !twice)?;
        }
        if outcomes.len() >= count {
            return Ok(outcomes);
        }
        holds("requests end at their deadline at the latest", start.elapsed() < PATIENCE * 2)?;
        sleep_until_readable(session.readiness(), Duration::from_millis(20))?;
    }
}

pub(super) fn several_at_once(bench: &mut Bench<'_>) -> Result<(), Failure> {
    const CONNECTIONS: usize = 3;
    let (_, memory) = bench.region(1, 1, 64 << 10, Rights::ReadOnly, None)?;
    memory.write_bytes(0, &pattern(64 << 10, 1)).map_err(failed("local memory"))?;
    let held = contents(&memory)?;
    let mut session = bench.session("monitor", 0, CONNECTIONS)?;
    equal("readable ends", session.readiness().count(), CONNECTIONS)?;
    let range = session.expect(1, 1).map_err(failed("the region"))?.range;
    equal("regions", session.regions().map(|region| region.range).collect::<Vec<_>>(), vec![range])?;
    for round in 0..50 {
        let mut started = Vec::new();
        for index in 0..CONNECTIONS {
            let (at, length) = (round * 8 + index * 1000, if index == 0 { 40_000 } else { 8 + index });
            let piece = [moved(range, at as i64, length as u64)];
            let ticket = session.start(Request::Read(&piece), PATIENCE).map_err(failed("start"))?;
            started.push((ticket, &held[at..at + length]));
        }
        fails("one more than there are connections", session.start(Request::Probe, PATIENCE), busy)?;
        let mut beside = vec![0; 64 << 10];
        session.read(range, &mut beside).map_err(failed("a batch that waits for one of them to end"))?;
        holds("the batch brings its own bytes", beside == held)?;
        let mut outcomes = outcomes(&mut session, CONNECTIONS)?;
        for (ticket, expected) in started {
            let read = outcomes.remove(&ticket).ok_or_else(|| Failure("a request did not end".into()))?;
            let read = read.map_err(failed("one of several reads"))?;
            holds("each request brings its own bytes", read == expected)?;
        }
    }
    equal("connections left", session.healthy(), CONNECTIONS)
}

pub(super) fn ended_are_passed_over(bench: &mut Bench<'_>) -> Result<(), Failure> {
    bench.region(1, 1, 64, Rights::ReadOnly, None)?;
    let mut session = bench.session("monitor", 0, 3)?;
    let range = session.expect(1, 1).map_err(failed("the region"))?.range;
    for left in [2, 1, 0] {
        let good = (left > 0).then(|| session.start(Request::Read(&[range]), PATIENCE)).transpose();
        let good = good.map_err(failed("start"))?;
        let bad = session.start(Request::Read(&[moved(range, 64, 8)]), PATIENCE).map_err(failed("start"))?;
        let mut outcomes = outcomes(&mut session, 1 + usize::from(good.is_some()))?;
        let refused = outcomes.remove(&bad).ok_or_else(|| Failure("a request did not end".into()))?;
        denied("a read past the end", refused)?;
        if let Some(good) = good {
            let read = outcomes.remove(&good).ok_or_else(|| Failure("a request did not end".into()))?;
            read.map_err(failed("a good read beside it"))?;
        }
        equal("connections left", session.healthy(), left)?;
    }
    fails("a request with no connection left", session.start(Request::Probe, PATIENCE), poisoned)
}

pub(super) fn late_answer(bench: &mut Bench<'_>) -> Result<(), Failure> {
    const LENGTH: usize = 1 << 20;
    const CONNECTIONS: usize = 3;
    let (memory, mut monitor, range) = bench.simple(LENGTH, Rights::ReadOnly, CONNECTIONS + 1)?;
    memory.write_bytes(0, &vec![7; LENGTH]).map_err(failed("local memory"))?;
    let long = [moved(range, 0, LENGTH as u64)];
    let mut late = Vec::new();
    for index in 0..CONNECTIONS {
        let connection = monitor.connection(index)?;
        connection.start(Request::Read(&long), Duration::ZERO).map_err(failed("start"))?;
        let mut bytes = Vec::new();
        match connection.poll(&mut bytes) {
            Poll::Pending => return Err(Failure("a deadline that passed is not noticed".into())),
            // Soft-RoCE may answer itself before the start has returned: then nothing is late.
            Poll::Ready(Ok(())) => holds("all of it is there", bytes == vec![7; LENGTH])?,
            Poll::Ready(result) => {
                fails("a read in no time at all", result, unreachable)?;
                late.push(index);
            }
        }
        equal("it is poisoned", connection.is_poisoned(), late.contains(&index))?;
    }
    let good = monitor.connection(CONNECTIONS)?;
    let small = [moved(range, 0, 64)];
    for _ in 0..20 {
        // Meanwhile the answers come.
        let read = ask(good, Request::Read(&small), PATIENCE)?.map_err(failed("over another connection"))?;
        equal("what it read", read.as_slice(), &[7; 64])?;
    }
    for index in late {
        let connection = monitor.connection(index)?;
        sleep_until_readable(std::iter::once(connection.readiness()), Duration::from_secs(1))?;
        let mut bytes = Vec::new();
        let later = connection.poll(&mut bytes);
        holds("the answer is lost", matches!(later, Poll::Ready(Err(AccessError::Poisoned))))?;
        holds("nothing of it is seen", bytes.is_empty())?;
        fails("a request", connection.start(Request::Probe, PATIENCE), poisoned)?;
        fails("a batch", connection.read(small[0], &mut [0; 64]), poisoned)?;
    }
    Ok(())
}

pub(super) fn probe(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let (id, memory) = bench.region(1, 1, 64, Rights::Writable, None)?;
    let mut monitor = bench.admit("monitor", 0, 1)?;
    let range = monitor.region(1)?.range;
    let connection = monitor.first()?;
    for _ in 0..20 {
        let brought = ask(connection, Request::Probe, PATIENCE)?.map_err(failed("probe"))?;
        holds("it brings nothing", brought.is_empty())?;
        let read = ask(connection, Request::Read(&[range]), PATIENCE)?.map_err(failed("read after it"))?;
        equal("what that read", read.as_slice(), &[0; 64])?;
    }
    equal("the memory", contents(&memory)?, vec![0; 64])?;
    bench.owner()?.retire(id).map_err(failed("retire"))?;
    // A NIC answers it also for a monitor that there is nothing to read for.
    ask(monitor.first()?, Request::Probe, PATIENCE)?.map_err(failed("probe without a region"))?;
    Ok(())
}

pub(super) fn absent_nic(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let deadline = Duration::from_millis(300);
    bench.region(1, 1, 64, Rights::Writable, None)?;
    let mut monitor = bench.admit("monitor", 0, 2)?;
    let range = monitor.region(1)?.range;
    bench.lose_owner();
    for (index, request) in [Request::Probe, Request::Read(&[range])].into_iter().enumerate() {
        let connection = monitor.connection(index)?;
        let start = Instant::now();
        fails("a request", ask(connection, request, deadline)?, unreachable)?;
        let took = start.elapsed();
        holds(&format!("{took:?} is within twice the deadline"), took < deadline * 2)?;
        fails("the next one", ask(connection, request, deadline)?, poisoned)?;
    }
    Ok(())
}
