//! The sensor box as its target writes it.

use super::{LayOutError, Torn};
use crate::catalogue::{SensorDescription, SensorKind};
use crate::layout::{BOX_MAGIC, BoxHeader, MAX_SENSORS, SensorRecord, VERSION};
use crate::words::{SharedWords, to_bytes, to_words};
use core::mem::{offset_of, size_of};
use zerocopy::IntoBytes;

const HEADER_WORDS: usize = size_of::<BoxHeader>() / 8;
const RECORD_WORDS: usize = size_of::<SensorRecord>() / 8;
const ID: usize = offset_of!(SensorRecord, id) / 8;
const META: usize = offset_of!(SensorRecord, class) / 8;
const LIMIT: usize = offset_of!(SensorRecord, limit) / 8;
const VALUE: usize = offset_of!(SensorRecord, value) / 8;
const SEQUENCE: usize = offset_of!(BoxHeader, sequence) / 8;
const CAPABILITIES: usize = offset_of!(BoxHeader, capabilities) / 8;
const CLOCK: usize = offset_of!(BoxHeader, clock) / 8;
const COUNTS: usize = offset_of!(BoxHeader, sensor_count) / 8;

/// What a new box says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Generation, not zero.
    pub generation: u64,
    /// Bits of [`crate::layout::Capabilities`].
    pub capabilities: u64,
    /// CPUs of the target.
    pub cpus: u32,
    /// Period of whoever ticks it, nanoseconds.
    pub tick_period: u64,
}

/// A sensor of a box: where its record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sensor(usize);

impl Sensor {
    /// The sensor whose record has this index.
    #[must_use]
    pub fn at(index: usize) -> Sensor {
        Sensor(index)
    }
    /// Index of its record.
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// Why a sensor could not be made. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NewSensorError {
    /// Every record is in use.
    #[error("the box has no room for another sensor: lay it out with more memory")]
    Full,
    /// The catalogue has no such kind.
    #[error("sensor kind {0} is not in the catalogue")]
    UnknownKind(u32),
    /// The record is in use or outside the box.
    #[error("record {0} is in use or outside the box")]
    Occupied(usize),
}

/// A sensor box in shared memory. One thread makes sensors; any may set them.
#[derive(Debug)]
pub struct SensorBox<W> {
    words: W,
}

impl<W: SharedWords> SensorBox<W> {
    /// Lays a box out in zeroed or reused memory, without sensors.
    ///
    /// # Errors
    /// [`LayOutError::TooSmall`], and nothing changed.
    pub fn lay_out(words: W, shape: &Shape) -> Result<SensorBox<W>, LayOutError> {
        let room = words.len().saturating_sub(HEADER_WORDS) / RECORD_WORDS;
        if room == 0 {
            return Err(LayOutError::TooSmall);
        }
        let header = BoxHeader {
            magic: BOX_MAGIC,
            version: VERSION,
            header_bytes: size_of::<BoxHeader>() as u32,
            generation: shape.generation,
            capabilities: shape.capabilities,
            sequence: 0,
            sensor_count: 0,
            sensor_capacity: room.min(MAX_SENSORS) as u32,
            sensor_bytes: size_of::<SensorRecord>() as u32,
            cpus: shape.cpus,
            clock: 0,
            tick_period: shape.tick_period,
            reserved: [0; 7],
        };
        // Odd first: a reader of reused memory sees that nothing holds until the last store below.
        let odd = words.load(SEQUENCE) | 1;
        words.store(SEQUENCE, odd);
        for (index, word) in to_words::<HEADER_WORDS>(header.as_bytes()).into_iter().enumerate() {
            if index != SEQUENCE {
                words.store(index, word);
            }
        }
        for index in HEADER_WORDS..words.len() {
            words.store(index, 0);
        }
        words.store(SEQUENCE, odd.wrapping_add(1));
        Ok(SensorBox { words })
    }

    /// Takes up a box that an earlier process laid out.
    ///
    /// # Errors
    /// [`LayOutError`] if it is not a whole box of this version; nothing changed.
    pub fn adopt(words: W) -> Result<SensorBox<W>, LayOutError> {
        if words.len() < HEADER_WORDS + RECORD_WORDS {
            return Err(LayOutError::TooSmall);
        }
        let header = read_header(&words).map_err(|Torn| LayOutError::Unfinished)?;
        if header.magic != BOX_MAGIC || header.version != VERSION {
            return Err(LayOutError::OtherLayout);
        }
        let fits = header.header_bytes as usize == size_of::<BoxHeader>()
            && header.sensor_bytes as usize == size_of::<SensorRecord>()
            && HEADER_WORDS + header.sensor_capacity as usize * RECORD_WORDS <= words.len()
            && header.sensor_count <= header.sensor_capacity;
        if fits { Ok(SensorBox { words }) } else { Err(LayOutError::OtherLayout) }
    }

    /// The header as it is now.
    ///
    /// # Errors
    /// [`Torn`] while another process lays the box out.
    pub fn header(&self) -> Result<BoxHeader, Torn> {
        read_header(&self.words)
    }

    /// Makes a sensor in the next free record: `new_sensor(ID, C, L)` of the thesis, the class taken from the
    /// catalogue. `limit` is in the sensor's unit, nanoseconds for progress sensors.
    ///
    /// # Errors
    /// See [`NewSensorError`].
    pub fn new_sensor(&self, kind: SensorKind, instance: u32, limit: u64) -> Result<Sensor, NewSensorError> {
        self.new_sensor_at(self.count(), kind, instance, limit)
    }

    /// Makes a sensor in the record with this index, for layouts with gaps. Records in between stay unused.
    ///
    /// # Errors
    /// See [`NewSensorError`].
    pub fn new_sensor_at(
        &self,
        index: usize,
        kind: SensorKind,
        instance: u32,
        limit: u64,
    ) -> Result<Sensor, NewSensorError> {
        let line: &SensorDescription = kind.description().ok_or(NewSensorError::UnknownKind(kind.0))?;
        if index >= self.capacity() {
            return Err(NewSensorError::Full);
        }
        let base = Self::record(index);
        if self.words.load(base + ID) != 0 {
            return Err(NewSensorError::Occupied(index));
        }
        self.words.store(base + META, line.class as u64 | (line.unit as u64) << 8);
        self.words.store(base + LIMIT, limit);
        self.words.store(base + VALUE, 0);
        // The id makes the record valid, so it comes last; the count makes readers fetch it.
        self.words.store(base + ID, u64::from(kind.0) | u64::from(instance) << 32);
        self.raise_count(index + 1);
        Ok(Sensor(index))
    }

    /// Sets a sensor's value: `set_sensor_value` of the thesis. One store.
    pub fn set(&self, sensor: Sensor, value: u64) {
        if sensor.0 < self.capacity() {
            self.words.store(Self::record(sensor.0) + VALUE, value);
        }
    }

    /// The value a sensor has.
    pub fn value(&self, sensor: Sensor) -> u64 {
        if sensor.0 < self.capacity() { self.words.load(Self::record(sensor.0) + VALUE) } else { 0 }
    }

    /// The sensor of this kind and instance.
    pub fn find(&self, kind: SensorKind, instance: u32) -> Option<Sensor> {
        let id = u64::from(kind.0) | u64::from(instance) << 32;
        (0..self.count()).find(|&index| self.words.load(Self::record(index) + ID) == id).map(Sensor)
    }

    /// Frees the record of a sensor. It must not serve another one until every fetch that began before has
    /// ended: a second, by the contract of the layout.
    pub fn retire(&self, sensor: Sensor) {
        if sensor.0 < self.capacity() {
            self.words.store(Self::record(sensor.0) + ID, 0);
        }
    }

    /// Sets the clock word: the target's monotonic clock, nanoseconds.
    pub fn set_clock(&self, nanoseconds: u64) {
        self.words.store(CLOCK, nanoseconds);
    }

    /// Replaces the capability word, e.g. once it is known what the kernel let us load.
    pub fn set_capabilities(&self, capabilities: u64) {
        self.words.store(CAPABILITIES, capabilities);
    }

    /// Records that may be in use.
    pub fn count(&self) -> usize {
        ((self.words.load(COUNTS) & 0xffff_ffff) as usize).min(self.capacity())
    }

    fn capacity(&self) -> usize {
        // The word is in memory that others write: never trust it beyond the memory there is.
        let room = (self.words.len() - HEADER_WORDS) / RECORD_WORDS;
        ((self.words.load(COUNTS) >> 32) as usize).min(room)
    }

    fn raise_count(&self, count: usize) {
        let mut old = self.words.load(COUNTS);
        while ((old & 0xffff_ffff) as usize) < count {
            let new = (old & !0xffff_ffff) | count as u64;
            match self.words.compare_exchange(COUNTS, old, new) {
                Ok(_) => return,
                Err(found) => old = found,
            }
        }
    }

    fn record(index: usize) -> usize {
        HEADER_WORDS + index * RECORD_WORDS
    }
}

fn read_header<W: SharedWords>(words: &W) -> Result<BoxHeader, Torn> {
    use zerocopy::FromBytes;
    let before = words.load(SEQUENCE);
    let mut copy = [0; HEADER_WORDS];
    for (index, word) in copy.iter_mut().enumerate() {
        *word = words.load(index);
    }
    if before % 2 == 1 || words.load(SEQUENCE) != before {
        return Err(Torn);
    }
    let mut bytes = [0; size_of::<BoxHeader>()];
    to_bytes(&copy, &mut bytes);
    BoxHeader::read_from_bytes(&bytes).map_err(|_| Torn)
}
