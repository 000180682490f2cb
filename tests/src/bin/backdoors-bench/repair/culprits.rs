//! Processes to be killed.

use super::watcher::Watcher;
use anyhow::Result;
use backdoors_tests::host::Host;
use backdoors_tests::machine::Machine;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// As many processes of one user as were wanted.
pub struct Culprits<'lab> {
    target: &'lab Host,
    user: u32,
}

impl<'lab> Culprits<'lab> {
    /// Starts them, and waits until the sensor box counts them all.
    pub fn start(
        target: &'lab Host,
        watcher: &mut Watcher,
        user: u32,
        count: u32,
        spinning: bool,
    ) -> Result<Culprits<'lab>> {
        let children = count - 1;
        let script = if spinning {
            format!("for i in $(seq {children}); do while :; do :; done & done; while :; do :; done")
        } else {
            format!("for i in $(seq {children}); do sleep 1000000 & done; wait")
        };
        target.shell_as(user, &script)?;
        target.wait_for("the culprits", PATIENCE, || {
            Ok((watcher.processes_of(user)? == u64::from(count)).then_some(()))
        })?;
        Ok(Culprits { target, user })
    }

    /// Waits until nothing is left of them, not even zombies.
    pub fn reaped(self) -> Result<()> {
        let count =
            format!("cat /proc/[0-9]*/status 2>/dev/null | grep -c '^Uid:\\s*{}\\s' || true", self.user);
        self.target.wait_for("the culprits' parent to reap them", PATIENCE, || {
            Ok((self.target.shell(&count)?.trim() == "0").then_some(()))
        })
    }
}
