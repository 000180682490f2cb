//! What an application shows of itself: a region of its own, with sensors it names and sets, and with the hooks that it
//! lets monitors call.
//!
//! The agent makes and lays out the memory, and hands it to the application, which from then on stores words into
//! it and needs nobody. Region kinds are [`crate::layout::RegionKind::APPLICATION_FIRST`] and up, one for each
//! application, and [`crate::layout::RegionKind::APPLICATIONS`] in all. Little endian, fixed width, every word that
//! must be seen whole eight bytes and aligned:
//!
//! | bytes | shape | who writes |
//! | --- | --- | --- |
//! | 0 to 128 | one [`ApplicationHeader`] | agent; [`ApplicationHeader::state`] also the application, once, to say that it leaves |
//! | 128 and up | one [`ApplicationSensorRecord`] a sensor | agent; [`ApplicationSensorRecord::value`] the application |
//! | behind those | one [`ApplicationHookRecord`] a hook | agent |
//!
//! Sensors and hooks never come or go while a region lives: an application with others is another generation of it.
//! An application can write all of its region, so even on an honest target none of it holds until it was decoded.

mod call;
mod decode;
mod fetch;
mod hooks;
mod message;
mod rules;
mod writer;

pub use call::{Answered, Call, HookResult};
pub use decode::{ApplicationSensor, ApplicationView};
pub use fetch::ApplicationsFetcher;
pub use hooks::{ApplicationHook, HookCalls, LastCall};
pub use message::{Answer, AnswerError, AnswerHead, Goodbye, MAX_ANSWER, Outcome, Request, RequestError};
pub use rules::{HookSpec, MAX_PROGRESS_LIMIT, MIN_PROGRESS_LIMIT, SensorSpec, SpecError, check};
pub use writer::{ApplicationRegion, ApplicationRegionError, Attachment};

use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First word of an application's region.
pub const APPLICATION_MAGIC: u64 = u64::from_le_bytes(*b"BDAPPLIC");
/// Version of the layouts and messages of applications. Readers refuse another.
pub const APPLICATION_VERSION: u32 = 2;
/// Longest name of an application, or of one of its sensors or hooks, in bytes.
pub const NAME_BYTES: usize = 32;
/// Most sensors of an application: with the header they fill a page of 4096 bytes.
pub const MAX_APPLICATION_SENSORS: usize = 62;
/// A hook takes the room of so many sensors.
pub const SENSORS_PER_HOOK: usize = HOOK_BYTES / RECORD_BYTES;
/// Most hooks of an application: as many as there is room for without sensors.
pub const MAX_APPLICATION_HOOKS: usize = MAX_APPLICATION_SENSORS / SENSORS_PER_HOOK;

/// Head of an application's region.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ApplicationHeader {
    /// [`APPLICATION_MAGIC`]. Written last.
    pub magic: u64,
    /// [`APPLICATION_VERSION`].
    pub version: u32,
    /// Size of this header in bytes; records start there. A newer target may have a longer one.
    pub header_bytes: u32,
    /// Tells this region from those that applications of the same name had before.
    pub generation: u64,
    /// Name, padded with zeros.
    pub name: [u8; NAME_BYTES],
    /// Process id, in the scope of the sensor box; 0 if it lies outside. One word with `state`.
    pub pid: u32,
    /// One of [`ApplicationState`].
    pub state: u32,
    /// When it attached, nanoseconds of the target's monotonic clock.
    pub attached_at: u64,
    /// When the agent saw that it had died, nanoseconds of the target's monotonic clock; 0 otherwise.
    pub died_at: u64,
    /// Records of sensors.
    pub sensor_count: u32,
    /// Size of a sensor's record in bytes. A newer target may have longer ones.
    pub sensor_bytes: u32,
    /// Records of hooks.
    pub hook_count: u32,
    /// Size of a hook's record in bytes. A newer target may have longer ones.
    pub hook_bytes: u32,
    /// Zero.
    pub reserved: [u64; 4],
}

/// One sensor of an application: a cache line, so that threads that set different sensors do not disturb each other.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ApplicationSensorRecord {
    /// Name, padded with zeros; unlike those of the application's other sensors.
    pub name: [u8; NAME_BYTES],
    /// Class, as [`crate::Class`] numbers them.
    pub class: u8,
    /// Unit, as [`crate::Unit`] numbers them.
    pub unit: u8,
    /// Zero.
    pub flags: u16,
    /// Zero.
    pub reserved: u32,
    /// Limit in the sensor's unit; for progress sensors a deadline in nanoseconds.
    pub limit: u64,
    /// The value.
    pub value: u64,
    /// Zero.
    pub reserved_word: u64,
}

/// One hook of an application: what may be called, and what became of calls. The words of calls are stored one by one;
/// `check` tells whether they belong together, in whatever order a NIC read them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ApplicationHookRecord {
    /// Name, padded with zeros; unlike those of the application's other hooks.
    pub name: [u8; NAME_BYTES],
    /// Least word that it takes.
    pub least: u64,
    /// Greatest word that it takes.
    pub most: u64,
    /// Calls made in this generation.
    pub calls: u64,
    /// Word of the last one.
    pub word: u64,
    /// What became of it, as [`HookResult::number`] has it; 0 if there was none.
    pub result: u64,
    /// When it was made, nanoseconds of the target's monotonic clock.
    pub called_at: u64,
    /// When it was answered, on the same clock; 0 if it was not yet.
    pub answered_at: u64,
    /// Made of the five words before it, of which it shows a mixture of two writes.
    pub check: u64,
    /// Zero.
    pub reserved: [u64; 4],
}

const HEADER_BYTES: usize = size_of::<ApplicationHeader>();
const RECORD_BYTES: usize = size_of::<ApplicationSensorRecord>();
const HOOK_BYTES: usize = size_of::<ApplicationHookRecord>();

const _: () = {
    assert!(HEADER_BYTES == 128);
    assert!(offset_of!(ApplicationHeader, generation) == 16);
    assert!(offset_of!(ApplicationHeader, name) == 24);
    assert!(offset_of!(ApplicationHeader, pid) == 56);
    assert!(offset_of!(ApplicationHeader, state) == 60);
    assert!(offset_of!(ApplicationHeader, attached_at) == 64);
    assert!(offset_of!(ApplicationHeader, sensor_count) == 80);
    assert!(RECORD_BYTES == 64);
    assert!(offset_of!(ApplicationSensorRecord, class) == 32);
    assert!(offset_of!(ApplicationSensorRecord, limit) == 40);
    assert!(offset_of!(ApplicationSensorRecord, value) == 48);
    assert!(offset_of!(ApplicationHeader, hook_count) == 88);
    assert!(HOOK_BYTES == 128);
    assert!(offset_of!(ApplicationHookRecord, least) == 32);
    assert!(offset_of!(ApplicationHookRecord, calls) == 48);
    assert!(offset_of!(ApplicationHookRecord, check) == 88);
    assert!(region_bytes(MAX_APPLICATION_SENSORS, 0) == 4096);
    assert!(region_bytes(0, MAX_APPLICATION_HOOKS) == 4096);
};

/// Bytes of the region of an application with so many sensors and hooks.
#[must_use]
pub const fn region_bytes(sensors: usize, hooks: usize) -> usize {
    HEADER_BYTES + sensors * RECORD_BYTES + hooks * HOOK_BYTES
}

/// How an application is, as far as the target knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ApplicationState {
    /// It is attached. Whether it gets on its sensors tell.
    #[default]
    Attached = 1,
    /// It ended without saying that it leaves: nobody sets the sensors any more. They are as it left them, until an
    /// application of this name attaches.
    Died = 2,
    /// It said that it leaves. The region is about to be retired.
    Left = 3,
}

impl ApplicationState {
    /// The state with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<ApplicationState> {
        [Self::Attached, Self::Died, Self::Left].into_iter().find(|state| *state as u32 == number)
    }

    /// Name for screens and journals.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Died => "died",
            Self::Left => "left",
        }
    }
}
