//! The fault matrix: every fault, with load on the target and without, and the layer that it must be laid at.
//!
//! A [`Row`] says how to bring a fault about, how to undo it, and what monitors must say of it. [`run()`] drives any rows in
//! any [`Lab`]: it waits until two monitors call every layer healthy, brings the fault about, waits for the verdict and
//! holds all that is said until everything is healthy again against what is right. A control is a row of which nothing
//! must be said.

mod labs;
mod observe;
mod rows;
mod run;
mod scene;
mod table;

pub use labs::{Hosts, Lab, OutsideNic, SoftRoce};
pub use rows::{Expected, Row, Step, Undo, Witnesses};
pub use rows::{
    agent_killed, application_stuck, nothing_wrong, one_processor_stuck, panic, path_cut_both_ways,
    path_cut_from_target, path_cut_to_target, path_loses, processors_spinning, processors_stopped,
    user_space_starved,
};
pub use run::run;
pub use scene::{Scene, TICKER};
pub use table::{Line, Table};
