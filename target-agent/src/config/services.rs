//! The sections `[[service]]`.

use super::agreement::duration;
use super::schema;
use crate::kernel::Service;
use crate::kernel::settings::{MAX_SERVICE_PORTS, MAX_SERVICES};
use crate::services::Boxes;
use backdoors_continuation_box::snapshot::Shape;
use backdoors_continuation_box::snapshot::layout::{MOST_NAME, MOST_SNAPSHOT};
use backdoors_sensor_box::session::layout::{LARGEST_RING, LEAST_RING, MAX_SESSIONS, ring_stride};
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// The kernel takes the memory of all rings at once, and for good.
pub(super) const MOST_MEMORY: u64 = 4 << 30;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    name: String,
    #[serde(deserialize_with = "ports")]
    ports: Vec<u16>,
    #[serde(default = "default_sessions", deserialize_with = "sessions")]
    sessions: u32,
    #[serde(default = "default_ring", deserialize_with = "ring")]
    #[schemars(schema_with = "schema::size")]
    ring: u32,
    #[serde(default = "default_snapshot", deserialize_with = "snapshot")]
    #[schemars(schema_with = "schema::size")]
    snapshot: u32,
    #[serde(default)]
    output: Output,
    #[serde(default, deserialize_with = "output_ring")]
    #[schemars(schema_with = "schema::size")]
    output_ring: Option<u32>,
    #[serde(default = "default_keep", deserialize_with = "duration")]
    #[schemars(schema_with = "schema::duration")]
    keep: Duration,
}

/// Whether what a service writes is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Output {
    #[default]
    Mirrored,
    Regenerated,
}

/// The smallest ring of written bytes: a part of it must be left when what a kernel puts into a send queue at once is subtracted.
const LEAST_OUTPUT_RING: u32 = 256 << 10;
const LARGEST_OUTPUT_RING: u32 = 16 << 20;
/// Whoever is away for longer does not come back.
const LONGEST_KEEP: Duration = Duration::from_secs(24 * 60 * 60);

fn default_snapshot() -> u32 {
    4 << 10
}

fn default_keep() -> Duration {
    Duration::from_secs(60)
}

fn default_sessions() -> u32 {
    256
}

fn default_ring() -> u32 {
    256 << 10
}

fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u16>, D::Error> {
    let ports = Vec::<i64>::deserialize(deserializer)?;
    if ports.is_empty() {
        return Err(D::Error::custom("a service without ports has no connections: name at least one"));
    }
    let port = |port: i64| u16::try_from(port).ok().filter(|port| *port > 0);
    let checked = ports.into_iter().map(|number| {
        port(number).ok_or_else(|| D::Error::custom(format!("{number} is no port: ports are 1 to 65535")))
    });
    checked.collect()
}

fn sessions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let number = i64::deserialize(deserializer)?;
    let sessions = u32::try_from(number).ok().filter(|number| (1..=MAX_SESSIONS as u32).contains(number));
    sessions.ok_or_else(|| {
        D::Error::custom(format!("{number} sessions at once cannot be captured: 1 to {MAX_SESSIONS} can"))
    })
}

fn size<'de, D: Deserializer<'de>>(deserializer: D, what: &str) -> Result<(String, u32), D::Error> {
    let text = String::deserialize(deserializer)?;
    let units = [("KiB", 10), ("MiB", 20)];
    let parsed = units.iter().find_map(|(unit, shift)| {
        let number = text.strip_suffix(unit)?.trim().parse::<u32>().ok()?;
        number.checked_mul(1 << shift)
    });
    let bytes = parsed.ok_or_else(|| {
        D::Error::custom(format!(
            "{text:?} is no size of {what}: write a whole number and KiB or MiB, as in 256KiB"
        ))
    })?;
    Ok((text, bytes))
}

fn snapshot<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let (text, bytes) = size(deserializer, "a snapshot")?;
    if (1..=MOST_SNAPSHOT).contains(&bytes) {
        return Ok(bytes);
    }
    Err(D::Error::custom(format!("snapshots of {text} cannot be: give 1KiB to {}KiB", MOST_SNAPSHOT >> 10)))
}

fn output_ring<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let (text, bytes) = size(deserializer, "a ring")?;
    if bytes.is_power_of_two() && (LEAST_OUTPUT_RING..=LARGEST_OUTPUT_RING).contains(&bytes) {
        return Ok(Some(bytes));
    }
    Err(D::Error::custom(format!("a ring of {text} cannot be: give a power of two, 256KiB to 16MiB")))
}

fn ring<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let (text, bytes) = size(deserializer, "a ring")?;
    if !(LEAST_RING..=LARGEST_RING).contains(&bytes) || !bytes.is_power_of_two() {
        return Err(D::Error::custom(format!(
            "a ring of {text} cannot be: give a power of two, 128KiB to 2MiB"
        )));
    }
    Ok(bytes)
}

/// What is wrong with services that are good each by itself, and what would be right.
fn check(services: &[Section]) -> Result<(), String> {
    let mut ports: Vec<u16> = services.iter().flat_map(|service| service.ports.iter().copied()).collect();
    if services.len() > MAX_SERVICES || ports.len() > MAX_SERVICE_PORTS {
        return Err(format!(
            "{} services with {} ports in all, but at most {MAX_SERVICES} with {MAX_SERVICE_PORTS} can be",
            services.len(),
            ports.len()
        ));
    }
    for (index, service) in services.iter().enumerate() {
        if service.name.is_empty() || service.name.len() > MOST_NAME {
            return Err(format!(
                "a service has the name {:?}: give it one of 1 to {MOST_NAME} bytes",
                service.name
            ));
        }
        if service.output == Output::Regenerated && service.output_ring.is_some() {
            return Err(format!(
                "service {:?} generates its output again and has an output_ring: leave one of the two out",
                service.name
            ));
        }
        if service.keep > LONGEST_KEEP {
            return Err(format!(
                "service {:?} keeps sessions for more than a day: say 24 hours at most, in s",
                service.name
            ));
        }
        if services[..index].iter().any(|other| other.name == service.name) {
            return Err(format!("two services have the name {:?}: give each its own", service.name));
        }
    }
    ports.sort_unstable();
    if let Some(twice) = ports.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("services have port {} twice: name it once", twice[0]));
    }
    let sessions: u64 = services.iter().map(|service| u64::from(service.sessions)).sum();
    let ring = services.iter().map(|service| service.ring).max().unwrap_or(0);
    let memory = sessions * u64::from(ring_stride(ring));
    if sessions > MAX_SESSIONS as u64 || memory > MOST_MEMORY {
        return Err(format!(
            "{sessions} sessions with rings of {} KiB take {} MiB, but at most {MAX_SESSIONS} and {} MiB can be: take fewer \
             sessions or smaller rings (all have the largest service's)",
            ring >> 10,
            memory >> 20,
            MOST_MEMORY >> 20
        ));
    }
    Ok(())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Service>, D::Error> {
    let sections = Vec::<Section>::deserialize(deserializer)?;
    check(&sections).map_err(D::Error::custom)?;
    let service = |section: Section| {
        let boxes = section.boxes();
        let Section { name, ports, sessions, ring, .. } = section;
        Service { name, ports, sessions, ring, boxes }
    };
    Ok(sections.into_iter().map(service).collect())
}

impl Section {
    fn boxes(&self) -> Boxes {
        let ring_bytes = match self.output {
            Output::Mirrored => self.output_ring.unwrap_or(LEAST_OUTPUT_RING),
            Output::Regenerated => 0,
        };
        let shape = Shape { capacity: self.sessions, snapshot_bytes: self.snapshot, ring_bytes };
        Boxes { shape, keep: self.keep }
    }
}
