//! How the live sessions of the targets are kept. A target has 16 services at most.

use super::page::Page;
use crate::recovery::pull::BoxCounts;
use crate::sampler::Status;
use prometheus_client::registry::Unit;
use std::fmt;

pub(super) fn tell(page: &mut Page<'_>, statuses: &[Status]) -> fmt::Result {
    let of_each = |value: fn(&BoxCounts) -> f64| {
        statuses.iter().flat_map(move |status| {
            status.boxes.iter().map(move |boxes| {
                ([("target", status.name.as_str()), ("service", boxes.service.as_str())], value(boxes))
            })
        })
    };
    page.gauge(
        "backdoors_boxes_sessions",
        "Live sessions of the service that the target captures.",
        None,
        of_each(|boxes| boxes.sessions as f64),
    )?;
    page.gauge(
        "backdoors_boxes_kept",
        "Those with a snapshot in their box.",
        None,
        of_each(|boxes| boxes.kept as f64),
    )?;
    page.gauge(
        "backdoors_boxes_behind",
        "Those whose application read or wrote since its snapshot.",
        None,
        of_each(|boxes| boxes.behind as f64),
    )?;
    page.gauge(
        "backdoors_boxes_longest_behind",
        "For how long the box has been behind that has been so longest.",
        Some(Unit::Seconds),
        of_each(|boxes| boxes.longest_behind.as_secs_f64()),
    )
}
