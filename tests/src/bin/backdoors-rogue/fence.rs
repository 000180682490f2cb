//! Fencing the target.

use crate::slice;
use anyhow::{Context, Result};
use backdoors_rdma::session::Session;
use backdoors_rdma::{AccessError, Operation};
use backdoors_sensor_box::fence::LIFTED;
use backdoors_sensor_box::layout::RegionKind;
use backdoors_sensor_box::{CommandKey, fetch_fence};
use serde_json::{Value, json};

/// What to do with the fence; without any of these it is only looked at.
#[derive(clap::Args)]
#[group(multiple = false)]
pub(crate) struct FenceWords {
    /// Write this monitor's own word
    #[arg(long)]
    set: bool,
    /// Write 0
    #[arg(long)]
    lift: bool,
    /// Write this number
    #[arg(long)]
    word: Option<u64>,
}

pub(crate) fn fence(session: &mut Session, words: &FenceWords) -> Result<Value> {
    let key = CommandKey::from_bytes(session.secret().bytes());
    let word = match words {
        FenceWords { set: true, .. } => Some(key.fence_word()),
        FenceWords { lift: true, .. } => Some(LIFTED),
        FenceWords { word, .. } => *word,
    };
    if let Some(word) = word {
        let own = session.region(RegionKind::FENCE_WORD).context("no word of a fence to write")?.range;
        session.submit(&mut [Operation::Write { to: slice(own, 0, 8)?, from: &word.to_le_bytes() }])?;
    }
    let region = session.region(RegionKind::FENCE).context("nothing can be fenced")?.range;
    let view = fetch_fence(|offset, into: &mut [u8]| {
        let from = region.slice(offset, into.len() as u64);
        session.read(from.ok_or(AccessError::Invalid("outside the region"))?, into)
    })
    .map_err(|error| anyhow::anyhow!("{error}"))?;
    let holds = view.holds(session.slot(), &key);
    Ok(json!({
        "holds": holds.is_ok(),
        "why_not": holds.err().map(|why| why.to_string()),
        "held": view.held,
        "withheld": view.withheld,
        "covered": view.covered,
        "interfaces": view.interfaces,
        "addresses": view.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
    }))
}
