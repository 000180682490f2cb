//! An application's region as its target writes it: the agent lays it out and notes calls, the application sets its
//! sensors.

use super::hooks::{CALLS_WORD, HookCalls};
use super::message::Request;
use super::rules::{SpecError, check, field_of};
use super::{
    APPLICATION_MAGIC, APPLICATION_VERSION, ApplicationHeader, ApplicationHookRecord,
    ApplicationSensorRecord, ApplicationState, HEADER_BYTES, HOOK_BYTES, RECORD_BYTES, region_bytes,
};
use crate::words::SharedWords;
use crate::writer::LayOutError;
use core::mem::offset_of;
use zerocopy::IntoBytes;

const PROCESS: usize = offset_of!(ApplicationHeader, pid) / 8;
const ATTACHED_AT: usize = offset_of!(ApplicationHeader, attached_at) / 8;
const DIED_AT: usize = offset_of!(ApplicationHeader, died_at) / 8;
const GENERATION: usize = offset_of!(ApplicationHeader, generation) / 8;
const VALUE: usize = offset_of!(ApplicationSensorRecord, value) / 8;

/// Who attaches, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Of the region.
    pub generation: u64,
    /// Process id, in the scope of the sensor box; 0 if it lies outside.
    pub pid: u32,
    /// Nanoseconds of the target's monotonic clock.
    pub at: u64,
}

/// An application's region in shared memory.
#[derive(Clone, Debug)]
pub struct ApplicationRegion<W> {
    words: W,
    sensors: usize,
    hooks: usize,
}

/// Why a region cannot be laid out. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplicationRegionError {
    /// What the application wants to show is against the rules.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The memory cannot hold it.
    #[error(transparent)]
    LayOut(#[from] LayOutError),
}

impl<W: SharedWords> ApplicationRegion<W> {
    /// Lays a region out in zeroed memory that nobody reads yet, as it is asked for. Sensors begin with the values there
    /// are for them, the others with one that is in order; no hook was called. The generation is the attachment's.
    ///
    /// # Errors
    /// See [`ApplicationRegionError`].
    pub fn lay_out(
        words: W,
        asked: &Request<'_>,
        attachment: &Attachment,
    ) -> Result<ApplicationRegion<W>, ApplicationRegionError> {
        check(asked.name, &asked.sensors, &asked.hooks)?;
        let image = image(asked, attachment);
        if words.len() < image.len() / 8 {
            return Err(LayOutError::TooSmall.into());
        }
        // From the end, so that the magic comes last.
        for (index, chunk) in image.chunks_exact(8).enumerate().rev() {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            words.store(index, u64::from_le_bytes(word));
        }
        Ok(ApplicationRegion { words, sensors: asked.sensors.len(), hooks: asked.hooks.len() })
    }

    /// Takes up memory with room for `sensors` sensors and `hooks` hooks that was laid out before.
    ///
    /// # Errors
    /// [`LayOutError::TooSmall`].
    pub fn over(words: W, sensors: usize, hooks: usize) -> Result<ApplicationRegion<W>, LayOutError> {
        if words.len() < region_bytes(sensors, hooks) / 8 {
            return Err(LayOutError::TooSmall);
        }
        Ok(ApplicationRegion { words, sensors, hooks })
    }

    /// The memory.
    #[must_use]
    pub fn words(&self) -> &W {
        &self.words
    }

    /// Says that a process is attached, in the region of this generation that it had before.
    pub fn attach(&self, attachment: &Attachment) {
        self.words.store(DIED_AT, 0);
        self.words.store(ATTACHED_AT, attachment.at);
        self.words.store(GENERATION, attachment.generation);
        self.set_process(attachment.pid, ApplicationState::Attached);
    }

    /// Says that the application died, seen at `at`.
    pub fn die(&self, at: u64) {
        self.words.store(DIED_AT, at);
        self.set_process(self.pid(), ApplicationState::Died);
    }

    /// Says that the application leaves. For the application itself, before it tells the agent, so that nobody takes
    /// its silence for failure even if there is no agent just then.
    pub fn leave(&self) {
        self.set_process(self.pid(), ApplicationState::Left);
    }

    fn set_process(&self, pid: u32, state: ApplicationState) {
        self.words.store(PROCESS, u64::from(pid) | u64::from(state as u32) << 32);
    }

    /// The process that is said to be attached. Applications can write this.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.words.load(PROCESS) as u32
    }

    /// What is said of the application, if it makes sense. Applications can write this.
    #[must_use]
    pub fn state(&self) -> Option<ApplicationState> {
        ApplicationState::from_number((self.words.load(PROCESS) >> 32) as u32)
    }

    /// Index of the word that holds the value of the sensor with this index, if there is one.
    #[must_use]
    pub fn value_word(&self, sensor: usize) -> Option<usize> {
        (sensor < self.sensors).then(|| HEADER_BYTES / 8 + sensor * (RECORD_BYTES / 8) + VALUE)
    }

    /// Sets the sensor with this index; nothing happens if there is none.
    pub fn set(&self, sensor: usize, value: u64) {
        if let Some(word) = self.value_word(sensor) {
            self.words.store(word, value);
        }
    }

    /// The values of all sensors.
    #[must_use]
    pub fn values(&self) -> Vec<u64> {
        (0..self.sensors)
            .filter_map(|sensor| self.value_word(sensor))
            .map(|word| self.words.load(word))
            .collect()
    }

    /// Shows what was called of the hook with this index; nothing happens if there is none.
    pub fn set_calls(&self, hook: usize, calls: &HookCalls) {
        if hook < self.hooks {
            let first = region_bytes(self.sensors, hook) / 8 + CALLS_WORD;
            for (offset, word) in calls.words().into_iter().enumerate() {
                self.words.store(first + offset, word);
            }
        }
    }
}

/// The bytes of a region.
pub(super) fn image(asked: &Request<'_>, attachment: &Attachment) -> Vec<u8> {
    let Request { name, sensors, hooks, values, held: _ } = asked;
    let header = ApplicationHeader {
        magic: APPLICATION_MAGIC,
        version: APPLICATION_VERSION,
        header_bytes: HEADER_BYTES as u32,
        generation: attachment.generation,
        name: field_of(name),
        pid: attachment.pid,
        state: ApplicationState::Attached as u32,
        attached_at: attachment.at,
        died_at: 0,
        sensor_count: sensors.len() as u32,
        sensor_bytes: RECORD_BYTES as u32,
        hook_count: hooks.len() as u32,
        hook_bytes: HOOK_BYTES as u32,
        reserved: [0; 4],
    };
    let mut bytes = Vec::with_capacity(region_bytes(sensors.len(), hooks.len()));
    bytes.extend_from_slice(header.as_bytes());
    for (index, sensor) in sensors.iter().enumerate() {
        let record = ApplicationSensorRecord {
            name: field_of(sensor.name),
            class: sensor.class as u8,
            unit: sensor.unit as u8,
            flags: 0,
            reserved: 0,
            limit: sensor.limit,
            value: values.get(index).copied().unwrap_or_else(|| sensor.first_value()),
            reserved_word: 0,
        };
        bytes.extend_from_slice(record.as_bytes());
    }
    for hook in hooks {
        let [calls, word, result, called_at, answered_at, check] = HookCalls::default().words();
        let (name, least, most) = (field_of(hook.name), hook.least, hook.most);
        let record = ApplicationHookRecord {
            name,
            least,
            most,
            calls,
            word,
            result,
            called_at,
            answered_at,
            check,
            reserved: [0; 4],
        };
        bytes.extend_from_slice(record.as_bytes());
    }
    bytes
}
