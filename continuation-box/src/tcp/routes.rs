//! The routes by which packets for an address reach this machine.

use super::checksum::octets;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the kernel may take: it makes the route from a queue of work, which a busy machine puts off.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(1);
/// `RTF_LOCAL`.
const LOCAL: u32 = 0x8000_0000;

/// Waits until packets for an address that was put on an interface are this machine's. With IPv4 they are at once; the kernel makes
/// an IPv6 address known first and its route later (`addrconf_dad_work`), and until then sends such packets into the network.
pub(super) fn await_local_route(address: IpAddr, interface: &str) -> io::Result<()> {
    if address.is_ipv4() {
        return Ok(());
    }
    let digits: String = octets(address).iter().map(|octet| format!("{octet:02x}")).collect();
    let begun = Instant::now();
    // That of this thread's network namespace.
    while !fs::read_to_string("/proc/thread-self/net/ipv6_route")?
        .lines()
        .any(|line| is_local_route(line, &digits, interface))
    {
        if begun.elapsed() > PATIENCE {
            return Err(io::ErrorKind::TimedOut.into());
        }
        sleep(LOOK);
    }
    Ok(())
}

/// Whether a line of `/proc/net/ipv6_route` is the local route of this one address on this interface.
fn is_local_route(line: &str, digits: &str, interface: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [destination, length, _, _, _, _, _, _, flags, device] = words[..] else { return false };
    destination == digits
        && length == "80"
        && device == interface
        && u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & LOCAL != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_local_route_of_the_address_on_the_interface_counts() {
        let line = "fd770000000000000000000000000010 80 00000000000000000000000000000000 00 \
                    00000000000000000000000000000000 00000000 00000001 00000000 80200001     eth0";
        let digits = "fd770000000000000000000000000010";
        assert!(is_local_route(line, digits, "eth0"));
        assert!(!is_local_route(line, digits, "lo"));
        assert!(!is_local_route(line, &digits.replace("10", "11"), "eth0"));
        assert!(!is_local_route(&line.replace(" 80 ", " 40 "), digits, "eth0"));
        assert!(!is_local_route(&line.replace("80200001", "00000001"), digits, "eth0"));
        assert!(!is_local_route("", digits, "eth0"));
    }
}
