//! `backdoors top`: a fleet and each target of it in a terminal.
//!
//! [`App`](app::App) decides what is on the screen, without I/O: it takes keys, news and the time, and says what it wants to know and
//! what is to be done. [`screen`] draws it. [`feed`] asks a [`Source`](source::Source), so that the screen never waits for a daemon, and
//! [`terminal`] has the loop around all of it.

pub mod action;
pub mod app;
pub mod daemon;
pub mod feed;
mod fleet;
pub mod hold;
pub mod screen;
pub mod source;
mod target;
pub mod terminal;
pub mod units;

pub use terminal::{Options, TopError, run};
