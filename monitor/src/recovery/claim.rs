//! Addresses that are being moved: one recovery at a time may, and one that died may no more.

use std::io;
use std::net::IpAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The right to move an address on this machine. It ends with the process, however that ends.
#[derive(Debug)]
pub struct Claim {
    _name: UnixDatagram,
}

impl Claim {
    /// Takes the right to move `address`, by a name that one socket of a network namespace can have (`unix(7)`, abstract names).
    ///
    /// # Errors
    /// A sentence; nothing was changed.
    pub fn take(address: IpAddr) -> Result<Claim, String> {
        let name = format!("backdoors-takeover-{address}");
        let taken = SocketAddr::from_abstract_name(name).and_then(|name| UnixDatagram::bind_addr(&name));
        taken.map(|name| Claim { _name: name }).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "another recovery of {address} is under way on this machine; nothing was changed; try again when it has ended"
            ),
            _ => format!("claiming {address} failed: {error}; nothing was changed"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_claimed_by_one_until_that_one_ends() {
        let address = "192.0.2.77".parse().unwrap();
        let claim = Claim::take(address).unwrap();
        assert!(Claim::take(address).unwrap_err().contains("under way"));
        drop(claim);
        Claim::take(address).unwrap();
    }
}
