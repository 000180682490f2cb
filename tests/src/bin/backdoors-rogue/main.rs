//! A monitor that keeps to no rules: what the daemon would never write or read, this does, and prints what came of it
//! as one line of JSON. A target must bear it.

mod fence;

use anyhow::{Context, Result, bail};
use backdoors_rdma::handshake::{Certificate, Identity};
use backdoors_rdma::session::{Provider, Session, SessionConfig};
use backdoors_rdma::{AccessError, Operation, RemoteRange};
use backdoors_sensor_box::layout::{CommandSlot, REASON_BYTES, RegionKind};
use backdoors_sensor_box::{
    AcknowledgementView, CommandKey, CommandState, LeaseView, LeaseWord, Seal, fetch_acknowledgement,
    fetch_received, fetch_sessions,
};
use clap::{Parser, Subcommand};
use serde_json::json;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// Longest wait for the end of a command.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a target is watched for a judgement that must not come.
const SILENCE: Duration = Duration::from_millis(300);

#[derive(Parser)]
struct Arguments {
    /// Where the target shakes hands
    #[arg(long)]
    address: SocketAddr,
    /// The target's certificate
    #[arg(long)]
    certificate: PathBuf,
    /// Folder of this monitor's key
    #[arg(long)]
    identity: PathBuf,
    /// This monitor's name
    #[arg(long)]
    name: String,
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Subcommand)]
enum Deed {
    /// Shake hands and do nothing
    Hello,
    /// Write a command slot and wait until the target has judged it
    Command(CommandWords),
    /// Take the lease from whoever holds it
    TakeLease,
    /// Give the lease up, whoever holds it
    ReleaseLease,
    /// Read a part of a region, or what lies beyond it
    Read(Place),
    /// Write zeros there
    Write(Place),
    /// Read it until that fails, and tell how; then write a command
    KeepReading(Place),
    /// Tell the live connections, and what of that which each received is held
    Sessions,
    /// Set the fence, lift it or look at it, and tell whether it holds
    Fence(fence::FenceWords),
}

#[derive(clap::Args)]
struct CommandWords {
    #[arg(long)]
    opcode: u32,
    #[arg(long, default_value_t = 0)]
    flags: u32,
    #[arg(long, default_value_t = 0)]
    subject: u64,
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// How much more than the last accepted sequence this one is
    #[arg(long, default_value_t = 1, allow_negative_numbers = true)]
    step: i64,
    #[arg(long, default_value_t = 0)]
    most: u64,
    /// The token to show, a number; that of the lease, taken if nobody holds it, if absent
    #[arg(long)]
    token: Option<u64>,
    /// A bit of the slot to change after the command was given its code
    #[arg(long)]
    flip: Option<usize>,
    /// Bits to change in every byte of the key
    #[arg(long, default_value_t = 0)]
    other_key: u8,
    /// The slot to make the code for instead of its own
    #[arg(long)]
    for_slot: Option<u32>,
    /// How much more than the region's generation the one is that the code is made for
    #[arg(long, default_value_t = 0)]
    later: u64,
    /// Write these bytes, in hexadecimal, instead of all of the above
    #[arg(long)]
    bytes: Option<String>,
}

#[derive(clap::Args)]
struct Place {
    /// Kind of the region
    #[arg(long)]
    kind: u32,
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    offset: i64,
    /// The region's own length if absent
    #[arg(long)]
    length: Option<u64>,
    /// Bits to change in the region's key
    #[arg(long, default_value_t = 0)]
    twist: u32,
    /// Use the key of the region of this kind instead of its own
    #[arg(long)]
    key_of: Option<u32>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let config = SessionConfig {
        address: arguments.address,
        target_certificate: Certificate::load(&arguments.certificate)?,
        identity: Identity::load(&arguments.identity, &arguments.name)?,
        provider: Provider::Emulated,
        connections: 2,
        deadline: Duration::from_secs(5),
    };
    let mut session = Session::open(&config)?;
    let answer = match &arguments.deed {
        Deed::Hello => json!({ "target": session.target(), "slot": session.slot() }),
        Deed::Command(words) => command(&mut session, words)?,
        Deed::TakeLease => lease(&mut session, |lease, slot| Some(lease.taken_by(slot)))?,
        Deed::ReleaseLease => lease(&mut session, |lease, _| Some(lease.released()))?,
        Deed::Read(place) => {
            let range = place.range(&session)?;
            let mut bytes = vec![0; usize::try_from(range.length)?];
            outcome(session.read(range, &mut bytes))
        }
        Deed::KeepReading(place) => keep_reading(&mut session, place)?,
        Deed::Sessions => sessions(&mut session)?,
        Deed::Fence(words) => fence::fence(&mut session, words)?,
        Deed::Write(place) => {
            let range = place.range(&session)?;
            let bytes = vec![0; usize::try_from(range.length)?];
            outcome(session.submit(&mut [Operation::Write { to: range, from: &bytes }]))
        }
    };
    println!("{answer}");
    Ok(())
}

/// How often who keeps reading reads.
const PERIOD: Duration = Duration::from_millis(5);

fn keep_reading(session: &mut Session, place: &Place) -> Result<serde_json::Value> {
    let range = place.range(session)?;
    let mut bytes = vec![0; usize::try_from(range.length)?];
    println!("reading");
    let begun = Instant::now();
    while session.read(range, &mut bytes).is_ok() {
        if begun.elapsed() > PATIENCE {
            bail!("it could be read for {PATIENCE:?}");
        }
        std::thread::sleep(PERIOD);
    }
    // Over the other connection.
    let read = outcome(session.read(range, &mut bytes));
    let slot = session.region(RegionKind::COMMAND).context("no command slot")?.range;
    let write =
        outcome(session.submit(&mut [Operation::Write { to: slot, from: &[1; size_of::<CommandSlot>()] }]));
    Ok(json!({ "read": read, "write": write }))
}

fn sessions(session: &mut Session) -> Result<serde_json::Value> {
    let table = session.region(RegionKind::SESSIONS).context("no live connections are captured")?.range;
    let rings = session.region(RegionKind::RECEIVED).context("no received bytes")?.range;
    let session = RefCell::new(session);
    let read = |region: RemoteRange| {
        let session = &session;
        move |offset, into: &mut [u8]| {
            let from = region.slice(offset, into.len() as u64);
            session.borrow_mut().read(from.ok_or(AccessError::Invalid("outside the region"))?, into)
        }
    };
    let view = fetch_sessions(table.length, read(table)).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut told = Vec::new();
    for found in &view.sessions {
        let received = fetch_received(&view, found, read(table), read(rings));
        let (start, bytes) = received.map(|received| (received.start, received.bytes)).unwrap_or_default();
        told.push(json!({
            "local": found.local.to_string(),
            "protected": found.is_protected(),
            "received": found.received(),
            "read": found.read_position(),
            "start": start,
            "bytes": String::from_utf8_lossy(&bytes),
        }));
    }
    Ok(json!({ "sessions": told, "refused": view.refused.len() }))
}

fn outcome(result: std::result::Result<(), AccessError>) -> serde_json::Value {
    match result {
        Ok(()) => json!({ "outcome": "done" }),
        Err(AccessError::Denied) => json!({ "outcome": "denied" }),
        Err(error) => json!({ "outcome": "failed", "error": error.to_string() }),
    }
}

impl Place {
    fn range(&self, session: &Session) -> Result<RemoteRange> {
        let region = |kind| session.region(kind).with_context(|| format!("no region of kind {kind}"));
        let range = region(self.kind)?.range;
        Ok(RemoteRange {
            address: range.address.wrapping_add_signed(self.offset),
            length: self.length.unwrap_or(range.length),
            key: region(self.key_of.unwrap_or(self.kind))?.range.key ^ self.twist,
        })
    }
}

/// Makes the lease what `change` makes of it, if anything, and tells what it is then.
fn lease(
    session: &mut Session,
    change: impl FnOnce(LeaseWord, u32) -> Option<LeaseWord>,
) -> Result<serde_json::Value> {
    let region = session.region(RegionKind::LEASE).context("no lease table")?.range;
    let mut bytes = [0; LeaseView::BYTES];
    session.read(slice(region, 0, bytes.len() as u64)?, &mut bytes)?;
    let mut lease = LeaseView::decode(&bytes)?.lease;
    if let Some(new) = change(lease, session.slot()) {
        let (at, expected, mut found) = (slice(region, LeaseView::LEASE_OFFSET, 8)?, lease.word(), 0);
        let swap = Operation::CompareAndSwap { at, expected, new: new.word(), found: &mut found };
        session.submit(&mut [swap])?;
        if found != expected {
            bail!("somebody else changed the lease");
        }
        lease = new;
    }
    let token = lease.token().map_or(0, |token| token.word());
    Ok(json!({ "holder": lease.holder(), "term": lease.term(), "token": token }))
}

fn command(session: &mut Session, words: &CommandWords) -> Result<serde_json::Value> {
    let token = match words.token {
        Some(token) => token,
        None => {
            let free = |lease: LeaseWord, slot| lease.holder().is_none().then(|| lease.taken_by(slot));
            lease(session, free)?["token"].as_u64().context("no token")?
        }
    };
    let region = session.region(RegionKind::COMMAND).context("no command slot")?;
    let slot = region.range;
    let before = acknowledgement(session)?;
    let bytes = match &words.bytes {
        Some(text) => from_hexadecimal(text)?,
        None => {
            let seal = Seal {
                key: CommandKey::from_bytes(session.secret().bytes().map(|byte| byte ^ words.other_key)),
                slot: words.for_slot.unwrap_or(session.slot()),
                generation: region.generation.wrapping_add(words.later),
            };
            let mut bytes = words.slot(before.accepted, token, &seal);
            if let Some(bit) = words.flip {
                *bytes.get_mut(bit / 8).context("no such bit")? ^= 1 << (bit % 8);
            }
            bytes
        }
    };
    let (body, number) = bytes.split_at(size_of::<CommandSlot>() - 8);
    let sequence = u64::from_le_bytes(number.try_into().context("a slot ends with its number")?);
    session.submit(&mut [
        Operation::Write { to: slice(slot, 0, body.len() as u64)?, from: body },
        Operation::Write { to: slice(slot, body.len() as u64, 8)?, from: number },
    ])?;
    let written = Instant::now();
    let (view, judged) = loop {
        let view = acknowledgement(session)?;
        if view != before && view.command == sequence && !on_its_way(&view) {
            break (view, true);
        }
        // The same sequence once more is no new command.
        let known = before.command == sequence || before.accepted == sequence;
        if view == before && known && written.elapsed() > SILENCE {
            break (view, false);
        }
        if written.elapsed() > PATIENCE {
            bail!("command {sequence} was not judged within {PATIENCE:?}: {view:?}");
        }
    };
    Ok(json!({
        "bytes": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "judged": judged,
        "sequence": sequence,
        "accepted_before": before.accepted,
        "accepted": view.accepted,
        "state": view.state.name(),
        "reason": view.reason.name(),
        "matched": view.matched,
        "signalled": view.signalled,
    }))
}

impl CommandWords {
    fn slot(&self, accepted: u64, token: u64, seal: &Seal) -> Vec<u8> {
        let slot = CommandSlot {
            opcode: self.opcode,
            flags: self.flags,
            subject: self.subject,
            start: self.start,
            most_victims: self.most,
            argument: 0,
            token,
            mac: [0; 2],
            reason: [0; REASON_BYTES],
            sequence: accepted.wrapping_add_signed(self.step),
        };
        seal.put_on(slot).as_bytes().to_vec()
    }
}

fn from_hexadecimal(text: &str) -> Result<Vec<u8>> {
    let digits = (0..text.len()).step_by(2).map(|at| text.get(at..at + 2).unwrap_or_default());
    let bytes = digits.map(|digits| u8::from_str_radix(digits, 16).context("no bytes"));
    let bytes = bytes.collect::<Result<Vec<u8>>>()?;
    if bytes.len() != size_of::<CommandSlot>() {
        bail!("{} bytes are no slot", bytes.len());
    }
    Ok(bytes)
}

fn on_its_way(view: &AcknowledgementView) -> bool {
    matches!(view.state, CommandState::Running | CommandState::Awaiting)
}

fn slice(range: RemoteRange, offset: u64, length: u64) -> Result<RemoteRange> {
    range.slice(offset, length).context("the region is smaller than it must be")
}

fn acknowledgement(session: &mut Session) -> Result<AcknowledgementView> {
    let region = session.region(RegionKind::ACKNOWLEDGEMENTS).context("no acknowledgements")?.range;
    let slot = session.slot();
    fetch_acknowledgement(slot, |offset, into: &mut [u8]| {
        let from =
            region.slice(offset, into.len() as u64).ok_or(AccessError::Invalid("outside the region"))?;
        session.read(from, into)
    })
    .map_err(|error| anyhow::anyhow!("{error}"))
}
