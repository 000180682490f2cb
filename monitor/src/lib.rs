//! The monitor: samples targets through one-sided memory, tells which sensors are exceptional, calls healers, and
//! carries their repairs out. Between a reading and a repair it needs nothing of the target but its NIC.
//!
//! [`detector`], [`levels`], [`judge`], [`pace`], [`loss`], [`lateness`], [`lease`], [`rules`], [`dispatcher`], [`guard`],
//! [`budget`], [`unkillable`], [`proposals`], [`reachability`], [`repair`] and [`treatment`] decide and do no I/O. [`sampler`] joins
//! them to one target; [`rounds`] looks after many on one thread; [`external`] runs healers that are programs of their own;
//! [`daemon`] starts all of it, keeps the [`journal`] and serves the [`api`].

pub mod api;
pub mod budget;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod detector;
pub mod dispatcher;
pub mod external;
pub mod guard;
pub mod journal;
pub mod judge;
pub mod knowledge;
pub mod lateness;
pub mod lease;
pub mod levels;
pub mod link;
pub mod loss;
pub mod pace;
pub mod peers;
pub mod proposals;
pub mod reachability;
pub mod recorder;
pub mod recovery;
pub mod repair;
pub mod rounds;
pub mod rules;
pub mod sampler;
pub mod treatment;
pub mod unkillable;
pub mod verdict;
pub mod victim;
