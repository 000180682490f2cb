//! Telling the supervisor of the service that the monitor works: that the thread that samples goes round, and the one
//! that speaks with askers answers. A target whose repair takes long is no sign of either.

use crate::rounds::Attendant;
use backdoors_rdma::supervisor::{Pulse, Watchdog};
use std::io;

/// Tells it from now on, if it wants to know.
///
/// # Errors
/// If there is no thread.
pub(super) fn start(attendants: Vec<Attendant>, round: Pulse, askers: Pulse) -> io::Result<()> {
    // Without targets nobody goes round.
    let rounds = (!attendants.is_empty()).then_some(round);
    let Some(mut watchdog) = Watchdog::wanted(rounds.into_iter().chain([askers]).collect()) else {
        return Ok(());
    };
    std::thread::Builder::new().name("watchdog".into()).spawn(move || {
        loop {
            watchdog.look();
            std::thread::sleep(watchdog.pause());
            // Whoever has nothing to do for long shows that it would.
            attendants.iter().take(1).for_each(Attendant::wake);
        }
    })?;
    Ok(())
}
