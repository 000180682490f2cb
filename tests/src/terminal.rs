//! A terminal that keys are typed into, and that somebody looks at: `tmux`.

use anyhow::{Context, Result, bail};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How often it is looked at while it is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A terminal with a program in it; the program ends with this.
#[derive(Debug)]
pub struct Terminal(TempDir);

impl Terminal {
    /// Starts a command line in a terminal of so many columns and rows.
    ///
    /// # Errors
    /// If there is no `tmux`.
    pub fn start(command: &str, columns: u32, rows: u32) -> Result<Terminal> {
        let terminal = Terminal(tempfile::tempdir().context("making a folder for a terminal")?);
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let new = ["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows, command];
        terminal.tmux(&new)?;
        Ok(terminal)
    }

    /// Presses the key of this name.
    ///
    /// # Errors
    /// If the program has ended.
    pub fn press(&self, key: &str) -> Result<()> {
        self.tmux(&["send-keys", key]).map(drop)
    }

    /// What is on the screen.
    ///
    /// # Errors
    /// If the program has ended.
    pub fn text(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen is as wanted.
    ///
    /// # Errors
    /// If it is not for so long; the message has the screen.
    pub fn wait_until(&self, patience: Duration, is_so: impl Fn(&str) -> bool) -> Result<()> {
        let begun = Instant::now();
        loop {
            let text = self.text()?;
            if is_so(&text) {
                return Ok(());
            }
            if begun.elapsed() > patience {
                bail!("after {patience:?} the screen still is\n{text}");
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Process id of the program, or of the shell that it was started by.
    ///
    /// # Errors
    /// If it has ended.
    pub fn process(&self) -> Result<u32> {
        self.tmux(&["list-panes", "-F", "#{pane_pid}"])?.trim().parse().context("a process id")
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String> {
        let socket = self.0.path().join("tmux");
        let output = Command::new("tmux").arg("-S").arg(socket).args(arguments).output();
        let output = output.context("starting tmux")?;
        if !output.status.success() {
            bail!("tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        String::from_utf8(output.stdout).context("what is no text on a screen")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.tmux(&["kill-server"]));
    }
}
