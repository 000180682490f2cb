//! What scenarios need of a machine, whichever lab made it.

use crate::host::Host;
use crate::vm::{GuestCommand, Vm};
use anyhow::{Context, Result, bail};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A machine of a lab.
pub trait Machine {
    /// Its name.
    fn name(&self) -> &str;

    /// Its address, as its peers see it.
    fn address(&self) -> Ipv4Addr;

    /// Where a program of this workspace is.
    ///
    /// # Errors
    /// If it was not built.
    fn program(&self, name: &str) -> Result<String>;

    /// Runs a shell script as root and returns what it printed.
    ///
    /// # Errors
    /// If it fails.
    fn shell(&self, script: &str) -> Result<String>;

    /// Runs a shell script as another user in the background, with at most `processes` processes.
    ///
    /// # Errors
    /// If it cannot be started.
    fn shell_as(&self, user: u32, processes: u32, script: &str) -> Result<()>;

    /// Processes of a user that are alive.
    ///
    /// # Errors
    /// If they cannot be counted.
    fn processes_of(&self, user: u32) -> Result<usize> {
        let count = format!(
            "/^State:/ {{ alive = $2 != \"Z\" && $2 != \"X\" }} \
             /^Uid:/ && $2 == {user} && alive {{ count++ }} END {{ print count + 0 }}"
        );
        let text = self.shell(&format!("cat /proc/[0-9]*/status 2>/dev/null | awk '{count}'"))?;
        text.trim().parse().context("counting processes")
    }

    /// Stores a file.
    ///
    /// # Errors
    /// If it cannot be written.
    fn write(&self, path: &str, content: &str) -> Result<()> {
        self.shell(&format!("cat > {path} <<'END_OF_FILE'\n{content}\nEND_OF_FILE")).map(drop)
    }

    /// Starts a program of root's in the background, its output in `log`. Returns its process id.
    ///
    /// # Errors
    /// If it cannot be started.
    fn start(&self, command: &str, log: &str) -> Result<u32> {
        // The shell writes the number before the program can: a script may wait for both.
        // The log is emptied first, so that nobody takes an earlier program's words for this one's.
        let start = format!(": > {log}; setsid {command} >> {log} 2>&1 < /dev/null & echo $!");
        let pid = self.shell(&start)?;
        pid.trim().parse().with_context(|| format!("starting `{command}` printed `{}`", pid.trim()))
    }

    /// Sends a signal, by name, to a process.
    ///
    /// # Errors
    /// If there is no such process.
    fn signal(&self, signal: &str, pid: u32) -> Result<()> {
        self.shell(&format!("kill -{signal} {pid}")).map(drop)
    }

    /// Repeats `look` until it gives something.
    ///
    /// # Errors
    /// If it gives nothing until the deadline; `what` says what was waited for.
    fn wait_for<T>(
        &self,
        what: &str,
        deadline: Duration,
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T>
    where
        Self: Sized,
    {
        let begun = Instant::now();
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if begun.elapsed() > deadline {
                bail!("{}: waited {deadline:?} for {what}", self.name());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A program of this workspace, beside the one that runs: in the target directory of the same build.
fn built(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding the target directory")?;
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("`{name}` was not built: run `cargo build --workspace --bins`"))
}

impl Machine for Host {
    fn name(&self) -> &str {
        self.name()
    }
    fn address(&self) -> Ipv4Addr {
        self.address()
    }
    fn program(&self, name: &str) -> Result<String> {
        Ok(built(name)?.display().to_string())
    }
    fn shell(&self, script: &str) -> Result<String> {
        self.shell(script)
    }
    fn shell_as(&self, user: u32, _: u32, script: &str) -> Result<()> {
        // The host bounds all its users together.
        self.shell_as(user, script)
    }
}

impl Machine for Vm {
    fn name(&self) -> &str {
        self.name()
    }
    fn address(&self) -> Ipv4Addr {
        self.address().unwrap_or(Ipv4Addr::LOCALHOST)
    }
    fn program(&self, name: &str) -> Result<String> {
        Ok(name.to_owned())
    }
    fn shell(&self, script: &str) -> Result<String> {
        Ok(self.shell(script)?)
    }
    fn shell_as(&self, user: u32, processes: u32, script: &str) -> Result<()> {
        let bounded = format!("ulimit -u {processes}; {script}");
        self.spawn(GuestCommand::new(bounded).user(user)).map(drop).map_err(Into::into)
    }
}
