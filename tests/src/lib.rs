//! Labs for whole-system scenarios.

pub mod host;
pub mod machine;
pub mod vm;
