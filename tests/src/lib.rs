//! Labs for whole-system scenarios.

pub mod host;
