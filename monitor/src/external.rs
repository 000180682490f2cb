//! Healers that are programs of their own, run: each examination starts the program once, on a thread of its own, and
//! nobody waits for it. What it is told and may answer is [`backdoors_healers::external`]'s business.

mod children;
mod healer;
mod run;
#[cfg(test)]
mod tests;

pub use children::{CHILDREN, Children};
pub use healer::ExternalHealer;
