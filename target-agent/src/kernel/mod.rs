//! The kernel half as the user half handles it: load, adopt, protect, remove.

mod attach;
mod census;
mod cpus;
mod fence;
mod interfaces;
mod load;
mod maps;
mod moves;
mod pins;
mod probe;
mod sessions;
pub mod settings;
mod shape;

pub use cpus::online_cpus;
pub use fence::{FencePlan, Held, Reach, RemoveError, can_fence, held, remove, unfence};
pub use load::{LoadError, Plan, Scope, load};
pub use maps::{KernelHalf, Misfit};
pub use moves::{Move, Moves};
pub use pins::{Pins, PinsError};
pub use probe::{KernelAbilities, MemoryVariables, NoTypes, OomKills, probe};
pub use sessions::{NoCgroup, Service, SessionPlan, find_cgroup};
