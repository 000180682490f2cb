//! Healers that are programs of their own: what they are told and what they may answer. Running them is the monitor's
//! business. `docs/external-healers.md` describes the format for those who write one.

mod answer;
mod case;
mod settings;
#[cfg(test)]
mod tests;

pub use answer::{AnswerError, MOST_EVIDENCE, MOST_NAME, MOST_TEXT, clean, decode};
pub use case::encode;
pub use settings::{ExternalSettings, is_external};

/// Version of case and answer. A healer that knows another must say so and fail.
pub const VERSION: u32 = 1;
