//! What passes a host's card, as tcpdump sees it.

use crate::host::Host;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A capture that is under way. Dropping it ends it.
#[derive(Debug)]
pub struct Wire {
    tcpdump: Child,
}

impl Wire {
    /// Captures what `filter`, in tcpdump's language, lets through at `eth0` of a host, from now on.
    ///
    /// # Errors
    /// If tcpdump cannot be run.
    pub fn watch(host: &Host, filter: &str) -> Result<Wire> {
        // Only the network is the host's: so that it is tcpdump itself that is told to end.
        let tcpdump = std::thread::scope(|threads| {
            let start = || -> Result<Child> {
                host.enter_network()?;
                let options = ["-i", "eth0", "-n", "-e", "-l", "-s", "128", "--immediate-mode", filter];
                let mut command = Command::new("tcpdump");
                let command = command.args(options).stdin(Stdio::null());
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("starting tcpdump")
            };
            threads.spawn(start).join()
        });
        let mut tcpdump = tcpdump.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        let mut line = String::new();
        if let Some(stderr) = tcpdump.stderr.take() {
            let mut stderr = BufReader::new(stderr);
            while !line.contains("listening on") {
                line.clear();
                anyhow::ensure!(stderr.read_line(&mut line)? > 0, "tcpdump ended before it listened");
            }
            // Whoever stops reading has tcpdump stop writing.
            std::thread::spawn(move || drop(std::io::copy(&mut stderr, &mut std::io::sink())));
        }
        Ok(Wire { tcpdump })
    }

    /// The same for resets of the service's connections.
    ///
    /// # Errors
    /// As [`Wire::watch`].
    pub fn watch_resets(host: &Host, port: u16) -> Result<Wire> {
        Wire::watch(host, &format!("tcp port {port} and tcp[tcpflags] & tcp-rst != 0"))
    }

    /// Ends the capture and returns what was seen, a line for each packet.
    ///
    /// # Errors
    /// If tcpdump cannot be ended.
    pub fn end(mut self) -> Result<Vec<String>> {
        // What has arrived by now is on its way through tcpdump.
        std::thread::sleep(Duration::from_millis(200));
        let pid = rustix::process::Pid::from_child(&self.tcpdump);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).context("ending tcpdump")?;
        let mut text = String::new();
        if let Some(mut stdout) = self.tcpdump.stdout.take() {
            stdout.read_to_string(&mut text)?;
        }
        self.tcpdump.wait()?;
        // It ends its own last line, also if there is none.
        Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}
