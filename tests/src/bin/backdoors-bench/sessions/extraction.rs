//! What it takes to pull one session out of a target's memory, against one raw READ of as many bytes, in turn, over the
//! emulated NIC.

use crate::statistics::{median, microseconds, row};
use anyhow::{Context, Result};
use backdoors_continuation_box::snapshot::layout::BoxHead;
use backdoors_continuation_box::snapshot::{BoxMemory, Owner, SessionBox, Shape};
use backdoors_monitor::link::{Link, SessionLink, read};
use backdoors_monitor::recovery::pull::{Boxes, Regions, pull};
use backdoors_rdma::Session;
use backdoors_rdma::emulated::{Dialer, Nic};
use backdoors_rdma::handshake::{Secret, Welcome};
use backdoors_rdma::owner::{MemoryOwner, Rights};
use backdoors_sensor_box::layout::RegionKind;
use backdoors_sensor_box::session::layout::{
    LEAST_RING, SessionRecord, SessionTableHeader, ring_stride, session_table_bytes,
};
use backdoors_sensor_box::writer::SessionTable;
use backdoors_sensor_box::{SharedWords, TcpState};
use backdoors_tests::made_up_target::{GENERATION, SLOT, Words, memory, show};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use zerocopy::{FromZeros, IntoBytes};

/// Of a snapshot, bytes: those of the thesis, which took three times the raw READ.
const SIZES: [usize; 3] = [1 << 10, 5 << 10, 10 << 10];
const SHAPE: Shape = Shape { capacity: 1, snapshot_bytes: 16 << 10, ring_bytes: 256 << 10 };
/// What the session received and wrote, bytes; the client has acknowledged all of it.
const RECEIVED: usize = 200;
const COOKIE: u64 = 7;
const DEADLINE: Duration = Duration::from_secs(5);
const ROUNDS_FOR_EACH: usize = 4;
const AIM: f64 = 1.5;

pub fn run(rounds: usize) -> Result<()> {
    let rounds = rounds * ROUNDS_FOR_EACH;
    println!("snapshot  bytes  raw READ, us  extraction, us  ratio");
    for size in SIZES {
        let mut nic = Nic::new(([127, 0, 0, 1], 0).into(), None)?;
        let _box = make_up(&mut nic, size)?;
        let secret = Secret::generate()?;
        let session = Session::open_with(&mut Dialer::new(DEADLINE, None), 1, |endpoints| {
            let admission = nic.admit("monitor", SLOT, &endpoints)?;
            Ok(Welcome { target: "made-up".to_owned(), admission, secret })
        })?;
        let mut link = SessionLink::new(session);
        let region = |kind| link.region(kind).context("a region is missing");
        let (sessions, received) = (region(RegionKind::SESSIONS)?, region(RegionKind::RECEIVED)?);
        let boxes = region(RegionKind::BOXES_FIRST)?;
        let regions = Regions { sessions, received, boxes: Some(Boxes::open(&mut link, boxes)?) };
        let mut raw = vec![0; size_of::<SessionRecord>() + size_of::<BoxHead>() + size + RECEIVED];
        let (mut extractions, mut reads) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let begun = Instant::now();
            let pulled = pull(&mut link, &regions, 0)?;
            extractions.push(begun.elapsed());
            let found = pulled.sessions.first().and_then(|found| found.boxed.as_ref());
            let found = found.context("the session was not found")?.as_ref().map_err(Clone::clone)?;
            anyhow::ensure!(found.newest.bytes.len() == size, "another snapshot was found");
            let begun = Instant::now();
            read(&mut link, &regions.received, 0, &mut raw)?;
            reads.push(begun.elapsed());
        }
        let extraction = median(&mut extractions).context("no rounds")?;
        let reading = median(&mut reads).context("no rounds")?;
        let ratio = extraction.as_secs_f64() / reading.as_secs_f64();
        println!(
            "{size:8} {:6} {:13.1} {:15.1} {ratio:6.2}",
            raw.len(),
            microseconds(reading),
            microseconds(extraction)
        );
        row(
            &format!("extraction of a session with a snapshot of {} KB", size >> 10),
            &format!("{:.1} us", microseconds(extraction)),
            &format!("{AIM} of a raw READ, {:.1} us", microseconds(reading)),
            ratio,
        );
    }
    Ok(())
}

/// Shows the memory of a target with one session, whose snapshot has `size` bytes. It lasts as long as what is returned.
fn make_up(nic: &mut Nic, size: usize) -> Result<SessionBox> {
    let (table, descriptor) = memory(session_table_bytes(1))?;
    SessionTable::lay_out(table.clone(), GENERATION, LEAST_RING, LEAST_RING / 2)?;
    let words = record();
    let words = words.as_bytes().chunks_exact(8).filter_map(|word| word.try_into().ok());
    for (index, word) in (size_of::<SessionTableHeader>() / 8..).zip(words) {
        table.store(index, u64::from_ne_bytes(word));
    }
    show(nic, RegionKind::SESSIONS, table, descriptor, Rights::ReadOnly)?;
    let (rings, descriptor) = memory(ring_stride(LEAST_RING) as usize)?;
    show(nic, RegionKind::RECEIVED, rings, descriptor, Rights::ReadOnly)?;
    let (boxes, descriptor): (Words, _) = memory(SHAPE.region_bytes())?;
    let live =
        BoxMemory::lay_out(descriptor.as_fd(), SHAPE, Owner { generation: GENERATION, ..Owner::default() })?;
    let mut session = live.take(COOKIE).context("no box")?;
    session.has_read(RECEIVED);
    let written = session.will_write(&[1; RECEIVED]);
    session.has_written(written);
    session.export(&vec![7; size])?;
    show(nic, RegionKind::BOXES_FIRST, boxes, descriptor, Rights::ReadOnly)?;
    Ok(session)
}

fn record() -> SessionRecord {
    const FIRST: u32 = 1000;
    let next = FIRST + 1 + RECEIVED as u32;
    SessionRecord {
        sequence: 2,
        cookie: COOKIE,
        held_end: next.into(),
        local: Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets(),
        remote: Ipv4Addr::new(10, 0, 0, 2).to_ipv6_mapped().octets(),
        family: 2,
        local_port: 80,
        remote_port: 5000,
        state: TcpState::Established as u32,
        irs: FIRST,
        iss: FIRST,
        snd_una: next,
        snd_nxt: next,
        write_seq: next,
        rcv_nxt: next,
        copied_seq: next,
        rcv_wup: next,
        bytes_received: RECEIVED as u64,
        bytes_acked: RECEIVED as u64,
        heard: next.into(),
        mss_clamp: 1460,
        ..SessionRecord::new_zeroed()
    }
}
