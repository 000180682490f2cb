//! Recovery of live sessions: a target's services go on here, and their clients notice no more than lost packets (thesis,
//! section 3.6).
//!
//! [`course`] decides, [`pull`] reads, and [`takeover`] does what must be done on this machine.

mod claim;
pub mod course;
pub mod fence;
pub mod pull;
mod row;
mod side_by_side;
pub mod takeover;

pub use backdoors_monitor_api::recovery::{self as report, Report};
pub use course::Terms;
pub use row::row;
