//! The monitor's side: bytes of an application's region, hostile until they have become a view here.

use super::hooks::{self, ApplicationHook, HookCalls};
use super::rules::{SensorSpec, check_limit, fit, name_of};
use super::{
    APPLICATION_MAGIC, APPLICATION_VERSION, ApplicationHeader, ApplicationHookRecord,
    ApplicationSensorRecord, ApplicationState, HEADER_BYTES, HOOK_BYTES, MAX_APPLICATION_SENSORS, NAME_BYTES,
    RECORD_BYTES,
};
use crate::catalogue::{Class, Unit};
use crate::decode::DecodeError;
use crate::layout::NO_LIMIT;
use core::mem::offset_of;
use zerocopy::FromBytes;

const WHAT: &str = "application's region";

/// One sensor of an application, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationSensor {
    /// Name; no other sensor of the application has it.
    pub name: String,
    /// Class.
    pub class: Class,
    /// Unit, if known.
    pub unit: Option<Unit>,
    /// Limit, if there is one.
    pub limit: Option<u64>,
    /// Value.
    pub value: u64,
    /// Index of its record.
    pub(super) record: usize,
}

/// An application as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplicationView {
    /// Name; it has nothing in it that a screen or a journal could not carry.
    pub name: String,
    /// Process id in the scope of the sensor box; 0 if it lies outside.
    pub pid: u32,
    /// Changes whenever an application of this name attaches anew: its values start again then.
    pub generation: u64,
    /// How it is, as far as the target knows.
    pub state: ApplicationState,
    /// When it attached, nanoseconds of the target's monotonic clock.
    pub attached_at: u64,
    /// When the target saw that it had died, on the same clock, if it has.
    pub died_at: Option<u64>,
    /// Its sensors, in the order of their records.
    pub sensors: Vec<ApplicationSensor>,
    /// Its hooks, in the order of their records, by which calls name them.
    pub hooks: Vec<ApplicationHook>,
    /// Records of sensors skipped because their class is unknown to this version.
    pub unknown: usize,
}

impl ApplicationView {
    /// The reading of the sensor with this name.
    #[must_use]
    pub fn sensor(&self, name: &str) -> Option<&ApplicationSensor> {
        self.sensors.iter().find(|sensor| sensor.name == name)
    }

    /// The hook with this name, and its place among the application's hooks.
    #[must_use]
    pub fn hook(&self, name: &str) -> Option<(usize, &ApplicationHook)> {
        self.hooks.iter().enumerate().find(|(_, hook)| hook.name == name)
    }

    /// Reads an application's region. Longer headers and records of a newer target are read as far as this version
    /// knows.
    ///
    /// # Errors
    /// See [`DecodeError`]; names and limits that the agent would have refused are one, too.
    pub fn decode(bytes: &[u8]) -> Result<ApplicationView, DecodeError> {
        let records = Records::of(bytes)?;
        let layout = |why| DecodeError::Layout { what: WHAT, why };
        let header = records.header;
        let name = name_of("application", records.name()).map_err(|_| layout("name"))?;
        let mut view = ApplicationView { name: name.into(), ..ApplicationView::default() };
        view.take_header(&header)?;
        for (index, (record, field)) in records.iter().zip(records.names()).enumerate() {
            let name = name_of("sensor", field).map_err(|_| layout("name of a sensor"))?;
            if records.names().take(index).any(|other| other == field) {
                return Err(layout("two sensors of one name"));
            }
            let Some(class) = class_of(record.class) else {
                view.unknown += 1;
                continue;
            };
            let unit = unit_of(record.unit);
            let spec = SensorSpec { name, class, unit: unit.unwrap_or(Unit::Count), limit: record.limit };
            check_limit(&spec).map_err(|_| layout("limit of a sensor"))?;
            view.sensors.push(ApplicationSensor {
                name: name.into(),
                class,
                unit,
                limit: (record.limit != NO_LIMIT).then_some(record.limit),
                value: record.value,
                record: index,
            });
        }
        for (record, field) in records.hooks() {
            let spec = hooks::announced(&record, field).map_err(|_| layout("name or range of a hook"))?;
            if view.hook(spec.name).is_some() {
                return Err(layout("two hooks of one name"));
            }
            let (name, calls) = (spec.name.into(), HookCalls::of(&record));
            view.hooks.push(ApplicationHook { name, least: spec.least, most: spec.most, calls });
        }
        Ok(view)
    }

    /// What may change while a generation lasts.
    pub(super) fn take_header(&mut self, header: &ApplicationHeader) -> Result<(), DecodeError> {
        self.state = ApplicationState::from_number(header.state)
            .ok_or(DecodeError::Layout { what: WHAT, why: "state" })?;
        self.pid = header.pid;
        self.generation = header.generation;
        self.attached_at = header.attached_at;
        self.died_at = (header.died_at != 0).then_some(header.died_at);
        Ok(())
    }
}

/// The parts of a region, which lie in it as they should; what they say is still anybody's.
pub(super) struct Records<'a> {
    pub header: ApplicationHeader,
    name: &'a [u8; NAME_BYTES],
    bytes: &'a [u8],
    record_bytes: usize,
    hooks: &'a [u8],
    hook_bytes: usize,
}

impl<'a> Records<'a> {
    pub fn of(bytes: &'a [u8]) -> Result<Records<'a>, DecodeError> {
        let have = bytes.len();
        let truncated = |need| DecodeError::Truncated { what: WHAT, have, need };
        let (header, _) = ApplicationHeader::read_from_prefix(bytes).map_err(|_| truncated(HEADER_BYTES))?;
        let name = bytes.get(offset_of!(ApplicationHeader, name)..).and_then(<[u8]>::first_chunk);
        let name = name.ok_or_else(|| truncated(HEADER_BYTES))?;
        if header.magic != APPLICATION_MAGIC {
            return Err(DecodeError::Magic { what: WHAT, found: header.magic });
        }
        if header.version != APPLICATION_VERSION {
            return Err(DecodeError::Version { what: WHAT, found: header.version });
        }
        let layout = |why| DecodeError::Layout { what: WHAT, why };
        let (header_bytes, record_bytes) = (header.header_bytes as usize, header.sensor_bytes as usize);
        if !(HEADER_BYTES..=4096).contains(&header_bytes) || header_bytes % 8 != 0 {
            return Err(layout("header size"));
        }
        if !(RECORD_BYTES..=4096).contains(&record_bytes) || record_bytes % 8 != 0 {
            return Err(layout("record size"));
        }
        let count = header.sensor_count as usize;
        if count > MAX_APPLICATION_SENSORS {
            return Err(layout("number of sensors"));
        }
        let (hook_count, hook_bytes) = (header.hook_count as usize, header.hook_bytes as usize);
        if !(HOOK_BYTES..=4096).contains(&hook_bytes) || hook_bytes % 8 != 0 {
            return Err(layout("size of a hook's record"));
        }
        if !fit(count, hook_count) {
            return Err(layout("number of hooks"));
        }
        let end = header_bytes + count * record_bytes;
        let need = end + hook_count * hook_bytes;
        let hooks = bytes.get(end..need).ok_or_else(|| truncated(need))?;
        let bytes = bytes.get(header_bytes..end).ok_or_else(|| truncated(need))?;
        Ok(Records { header, name, bytes, record_bytes, hooks, hook_bytes })
    }

    pub fn iter(&self) -> impl Iterator<Item = ApplicationSensorRecord> + use<'a> {
        // A record is at least as long as this version's.
        let parse = |chunk| ApplicationSensorRecord::read_from_prefix(chunk).ok();
        self.bytes.chunks_exact(self.record_bytes).filter_map(parse).map(|(record, _)| record)
    }

    /// The hooks, each with its name, whatever they are.
    pub fn hooks(&self) -> impl Iterator<Item = (ApplicationHookRecord, &'a [u8; NAME_BYTES])> + use<'a> {
        hooks::records(self.hooks, self.hook_bytes)
    }

    /// The application's name, whatever it is.
    pub fn name(&self) -> &'a [u8; NAME_BYTES] {
        self.name
    }

    /// The names of the sensors, whatever they are.
    pub fn names(&self) -> impl Iterator<Item = &'a [u8; NAME_BYTES]> + use<'a> {
        self.bytes.chunks_exact(self.record_bytes).filter_map(|chunk| chunk.first_chunk())
    }
}

/// The same records as far as they may not change while a generation lasts.
pub(super) fn are_the_same(one: &Records<'_>, other: &Records<'_>) -> bool {
    let fixed = |header: &ApplicationHeader| ApplicationHeader {
        pid: 0,
        state: 0,
        attached_at: 0,
        died_at: 0,
        ..*header
    };
    let fixed_record = |record: ApplicationSensorRecord| ApplicationSensorRecord { value: 0, ..record };
    fixed(&one.header) == fixed(&other.header)
        && one.iter().map(fixed_record).eq(other.iter().map(fixed_record))
        && one.hooks().map(fixed_hook).eq(other.hooks().map(fixed_hook))
}

/// What may not change of a hook.
fn fixed_hook((hook, name): (ApplicationHookRecord, &[u8; NAME_BYTES])) -> (&[u8], u64, u64) {
    (name, hook.least, hook.most)
}

pub(super) fn class_of(number: u8) -> Option<Class> {
    [Class::Progress, Class::Level, Class::Floor, Class::Pressure]
        .into_iter()
        .find(|class| *class as u8 == number)
}

pub(super) fn unit_of(number: u8) -> Option<Unit> {
    [Unit::Count, Unit::PerSecond, Unit::Bytes, Unit::Nanoseconds]
        .into_iter()
        .find(|unit| *unit as u8 == number)
}
