//! Whether memory is short, and how much of it must come free.

use super::{Settings, mebibytes};
use crate::{Case, Evidence};
use backdoors_sensor_box::SensorKind;

/// What must come free at least, as a part of all memory: killing for less is not worth it.
const LEAST_PART: u64 = 50;

/// Memory is short.
#[derive(Debug)]
pub(super) struct Shortage {
    /// Bytes that must come free.
    pub need: u64,
    /// Memory and swap space in all, bytes.
    pub total: u64,
    /// Work stands still for want of it, or the kernel kills.
    pub is_acute: bool,
    /// What tells of it, never empty.
    pub evidence: Vec<Evidence>,
}

/// A sensor of the machine's memory.
struct Reading {
    value: u64,
    limit: u64,
}

impl Reading {
    fn of(case: &Case<'_>, kind: SensorKind, without_limit: u64) -> Option<Reading> {
        let sensor = case.sensors.sensor(kind, 0)?;
        let limit = case.limits.of(kind, 0, sensor.limit).unwrap_or(without_limit);
        Some(Reading { value: sensor.value, limit })
    }
}

impl Shortage {
    /// What the case's sensors say; why memory is not short, if it is not.
    /// With `soon` available memory is gone in no time.
    pub(super) fn of(case: &Case<'_>, settings: &Settings, soon: bool) -> Result<Shortage, String> {
        let sensor = |kind| Reading::of(case, kind, 0).map_or(0, |reading| reading.value);
        let available = Reading::of(case, SensorKind::MEMORY_AVAILABLE, 0)
            .ok_or("the target does not show how much memory it has")?;
        let (memory, swap_free, swap) =
            (sensor(SensorKind::MEMORY_TOTAL), sensor(SensorKind::SWAP_FREE), sensor(SensorKind::SWAP_TOTAL));
        let stalled = Reading::of(case, SensorKind::MEMORY_STALLED, u64::MAX)
            .unwrap_or(Reading { value: 0, limit: u64::MAX });
        let kills = case.events.iter().find(|event| event.kind == SensorKind::OOM_KILLS);
        let enough = part(available.limit, settings.relief);
        let least_swap = part(swap, settings.swap_share);
        let is_low = available.value < available.limit;
        let is_swap_low = swap == 0 || swap_free < least_swap;
        let is_stalled = stalled.value > stalled.limit;

        let have = format!(
            "{} of {} of memory are available (limit {}), {} of {} of swap space are free",
            mebibytes(available.value),
            mebibytes(memory),
            mebibytes(available.limit),
            mebibytes(swap_free),
            mebibytes(swap)
        );
        let stands_still =
            format!("work stood still for {} ms of the last second", stalled.value / 1_000_000);
        let is_short = is_low && (is_swap_low || is_stalled)
            || available.value < enough && (is_stalled || (kills.is_some() || soon) && is_swap_low);
        if !is_short {
            return Err(format!("{have}, and {stands_still}: memory is not short"));
        }
        let mut evidence = vec![Evidence {
            name: "memory".into(),
            text: have,
            value: available.value,
            limit: Some(available.limit),
        }];
        if is_stalled {
            evidence.push(Evidence {
                name: "stalls".into(),
                text: stands_still,
                value: stalled.value,
                limit: Some(stalled.limit),
            });
        }
        if let Some(kills) = kills {
            evidence.push(Evidence {
                name: "oom-kills".into(),
                text: format!("the kernel has killed {} processes for want of memory", kills.value),
                value: kills.value,
                limit: Some(kills.limit),
            });
        }
        let mut need = enough.saturating_sub(available.value).max(memory / LEAST_PART);
        if swap > 0 {
            // What was swapped out comes back, and what is freed of memory makes room for it.
            need = need.max(part(swap, 2.0 * settings.swap_share).saturating_sub(swap_free));
        }
        let is_acute = is_stalled || kills.is_some();
        Ok(Shortage { need, total: memory.saturating_add(swap), is_acute, evidence })
    }
}

/// A part of an amount of memory, which is far below 2^52.
pub(super) fn part(bytes: u64, share: f64) -> u64 {
    (bytes as f64 * share) as u64
}
