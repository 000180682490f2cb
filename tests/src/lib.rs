//! Labs for whole-system scenarios, and the scenarios that more than one test tells.

pub mod deployment;
pub mod faults;
pub mod healing;
pub mod host;
pub mod machine;
pub mod made_up_target;
pub mod mutations;
pub mod pair;
pub mod rogue;
pub mod sessions;
pub mod terminal;
pub mod vm;
