//! Stopping: on SIGTERM or SIGINT the leases are given up first, so that another monitor need not wait for them to run
//! out. External healers do not outlive this process.

use crate::external::CHILDREN;
use crate::journal::Journal;
use crate::rounds::Attendant;
use crate::sampler::Request;
use backdoors_rdma::supervisor;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Longest time that leases are waited for: they run out by themselves in the end.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Ends this process in good order when it is told to stop.
///
/// # Errors
/// If the signals cannot be watched, or there is no thread.
pub(super) fn on_signals(attendants: Vec<Attendant>, journal: Journal, socket: PathBuf) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    std::thread::Builder::new().name("stop".into()).spawn(move || {
        if signals.forever().next().is_none() {
            return;
        }
        supervisor::stopping();
        for attendant in &attendants {
            if !attendant.request(Request::Resign) {
                tracing::warn!("a lease is left to run out: too many requests wait");
            }
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && attendants.iter().any(holds_lease) {
            std::thread::sleep(LOOK_AGAIN);
        }
        CHILDREN.end_all();
        journal.flush(PATIENCE);
        // Another daemon may have its own there by now; then there is nothing of ours to remove.
        drop(std::fs::remove_file(socket));
        std::process::exit(0);
    })?;
    Ok(())
}

fn holds_lease(attendant: &Attendant) -> bool {
    attendant.status().lock().unwrap_or_else(PoisonError::into_inner).holds_lease
}
