//! What passes a host's card, as tcpdump sees it.

use crate::host::Host;
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// A capture that is under way. Dropping it ends it.
#[derive(Debug)]
pub struct Wire {
    tcpdump: Child,
    /// What it has written so far is read at once: a pipe holds a few hundred lines, and tcpdump drops packets when it is full.
    text: Option<JoinHandle<std::io::Result<String>>>,
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
        let stdout = tcpdump.stdout.take();
        let text = stdout.map(|mut stdout| {
            std::thread::spawn(move || {
                let mut text = String::new();
                stdout.read_to_string(&mut text).map(|_| text)
            })
        });
        Ok(Wire { tcpdump, text })
    }

    /// The same for the packets that begin, end or reset connections of services at these ports.
    ///
    /// # Errors
    /// As [`Wire::watch`].
    pub fn watch_ends(host: &Host, ports: Range<u16>) -> Result<Wire> {
        // The language knows names for the flags of IPv4 only.
        let flags = "tcp[13] & 7 != 0 or (ip6 and ip6[53] & 7 != 0)";
        let (first, behind) = (ports.start, ports.end);
        Wire::watch(host, &format!("tcp portrange {first}-{} and ({flags})", behind - 1))
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
        self.tcpdump.wait()?;
        let text = self.text.take().context("it was read already")?;
        let text = text.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        // It ends its own last line, also if there is none.
        Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
    }
}

/// Ends a capture of [`Wire::watch_ends`], and sees that no connection of this address was broken off.
///
/// # Errors
/// Which were; or as [`Wire::end`].
pub fn end_unbroken(wire: Wire, service: IpAddr) -> Result<()> {
    let broken = breaks(&wire.end()?, service);
    ensure!(broken.is_empty(), "connections were reset: {broken:?}");
    Ok(())
}

/// The hardware address of a host's card.
///
/// # Errors
/// If there is no such interface, or it has none.
pub fn card(host: &Host, interface: &str) -> Result<String> {
    let text = host.shell(&format!("ip -o link show {interface}"))?;
    let (_, rest) = text.split_once("link/ether ").context("no hardware address")?;
    Ok(rest.split(' ').next().unwrap_or_default().to_owned())
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

/// The packets, of those that [`Wire::watch_ends`] sees at a host of clients, that broke a connection off: resets before both
/// ends of it had closed. What comes late for a connection that is over, of packets that overtook each other on two processors,
/// is answered with a reset by either kernel, and nobody hears of it. Whether the clients had everything by then they say
/// themselves.
#[must_use]
pub fn breaks(packets: &[String], service: IpAddr) -> Vec<String> {
    // As tcpdump writes it; a port follows.
    let service = format!("{service}.");
    // Whether the service, and whether the client, has closed.
    let mut closed: HashMap<[&str; 2], [bool; 2]> = HashMap::new();
    let mut breaks = Vec::new();
    for packet in packets {
        let Some((from, to, flags)) = ends(packet) else {
            breaks.push(format!("not understood: {packet}"));
            continue;
        };
        let by_client = to.starts_with(&service);
        let closed = closed.entry(if by_client { [from, to] } else { [to, from] }).or_default();
        if flags.contains('S') {
            *closed = [false; 2];
        }
        if flags.contains('F') {
            closed[usize::from(by_client)] = true;
        }
        if flags.contains('R') && *closed != [true; 2] {
            breaks.push(packet.clone());
        }
    }
    breaks
}

/// Where a packet comes from, where it goes, and its flags.
fn ends(packet: &str) -> Option<(&str, &str, &str)> {
    let (addresses, rest) = packet.split_once(": Flags [")?;
    let (addresses, to) = addresses.rsplit_once(" > ")?;
    let (_, from) = addresses.rsplit_once(' ')?;
    Some((from, to, rest.split_once(']')?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaks_of(packets: &[(&str, &str, &str)]) -> usize {
        let line = |(from, to, flags): &(&str, &str, &str)| {
            format!(
                "12:00:00.000001 1a:2b > 3c:4d, ethertype IPv4 (0x0800), length 66: {from} > {to}: Flags [{flags}], seq 1, \
                 win 5, length 0"
            )
        };
        let packets: Vec<String> = packets.iter().map(line).collect();
        breaks(&packets, "10.0.0.80".parse().unwrap_or_else(|_| unreachable!())).len()
    }

    const SERVICE: &str = "10.0.0.80.8080";
    const SECOND: &str = "10.0.0.80.8081";
    const CLIENT: &str = "10.0.0.3.5000";
    const OTHER: &str = "10.0.0.3.5001";

    #[test]
    fn a_reset_counts_until_both_ends_have_closed() {
        let (service, client) = ((SERVICE, CLIENT, "FP."), (CLIENT, SERVICE, "F."));
        for reset in [(CLIENT, SERVICE, "R"), (SERVICE, CLIENT, "R"), (SERVICE, CLIENT, "R.")] {
            assert_eq!(breaks_of(&[reset]), 1);
            assert_eq!(breaks_of(&[service, reset]), 1);
            assert_eq!(breaks_of(&[client, reset]), 1);
            assert_eq!(breaks_of(&[(SERVICE, OTHER, "F."), (OTHER, SERVICE, "F."), reset]), 1);
            // Another service's.
            assert_eq!(breaks_of(&[(SECOND, CLIENT, "F."), (CLIENT, SECOND, "F."), reset]), 1);
            assert_eq!(breaks_of(&[service, client, reset]), 0);
            // The client's port is used again.
            assert_eq!(breaks_of(&[service, client, (CLIENT, SERVICE, "S"), reset]), 1);
        }
    }

    #[test]
    fn what_is_not_understood_is_told() {
        assert_eq!(breaks(&["tcpdump: no more memory".to_owned()], IpAddr::from([0; 4])).len(), 1);
    }
}
