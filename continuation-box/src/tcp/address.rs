//! A service's address, moved to this machine in two steps: local and silent, then announced.
//!
//! Sockets can only be rebuilt on an address that is local, and the network must not send to it before they are. So the
//! address is put on the loopback device first. IPv6 then answers nobody who asks for it. IPv4 does, unless the card is
//! told to answer for its own addresses only (`arp_ignore` 1); all others of the card it answers for as before. To announce it
//! the address is put on the card, too, and taken off the loopback device.
//!
//! A process that ends in between leaves all this as it is, and the next one goes on from there.

use super::announcement::Announcer;
use super::netlink::{Placed, add, remove};
use super::routes::await_local_route;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{SockaddrLike, SockaddrStorage};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use thiserror::Error;

/// An address and the length of its network's prefix, as the service's interface has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixed {
    /// The address.
    pub address: IpAddr,
    /// How many bits of it are the network's.
    pub prefix: u8,
}

/// Why an address was not moved. What was done before the failure has been undone, unless it says otherwise.
#[derive(Debug, Error)]
pub enum AddressError {
    /// No such card.
    #[error(
        "there is no interface {0} with a hardware address; nothing was changed; name the one that leads to the clients"
    )]
    NoInterface(String),
    /// Nothing can be announced there.
    #[error("the interface {0} is down; nothing was changed; set it up (`ip link set {0} up`) and try again")]
    Down(String),
    /// Not an address that one card can have.
    #[error("{address}/{prefix} cannot be the address of an interface; nothing was changed")]
    Impossible {
        /// The address.
        address: IpAddr,
        /// The length of its prefix.
        prefix: u8,
    },
    /// Already this machine's, on another interface.
    #[error(
        "{0} is an address of this machine already, and not on the interface of the service; nothing was changed; take it away \
         there (`ip address del`), or name that interface, and try again"
    )]
    AlreadyLocal(IpAddr),
    /// The process lacks a capability.
    #[error(
        "moving addresses needs CAP_NET_ADMIN and CAP_NET_RAW; nothing was changed; start this process with both"
    )]
    NotPermitted,
    /// A call failed.
    #[error("{call} failed: {source}; the address is not announced, and a retry may help")]
    Call {
        /// Which one.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Addresses that are local, and silent. Dropped without an announcement they are taken away again.
///
/// One at a time per interface: the interface's `arp_ignore` is put back with it.
#[derive(Debug)]
pub struct SilentAddresses {
    announcer: Announcer,
    silence: Silence,
    addresses: Vec<Prefixed>,
    /// Those of them that the interface had before.
    had: Vec<Prefixed>,
    were_left: bool,
}

/// What is to be undone when it ends, whether the addresses were announced or not.
#[derive(Debug)]
struct Silence {
    loopback: u32,
    /// Name of the interface that leads to the clients.
    card: String,
    /// The interface's `arp_ignore` and what it was, if it had to be changed.
    answers: Option<(PathBuf, String)>,
    on_loopback: Vec<Prefixed>,
}

/// Addresses that are this machine's for everybody to know.
#[derive(Debug)]
pub struct Announced {
    announcer: Announcer,
    addresses: Vec<Prefixed>,
    /// Those that were put on the interface.
    placed: Vec<Prefixed>,
}

impl SilentAddresses {
    /// Makes `addresses` local without a word to the network behind `interface`. Those that the loopback device has already
    /// were left there by a process that ended, and are taken over; those that the interface has stay there, and are not
    /// silent: [`SilentAddresses::had`].
    ///
    /// # Errors
    /// [`AddressError`]; nothing has changed then.
    pub fn take(interface: &str, addresses: &[Prefixed]) -> Result<SilentAddresses, AddressError> {
        let (mut card, mut loopback) = (None, None);
        let (mut left, mut had) = (Vec::new(), Vec::new());
        for found in getifaddrs().map_err(|source| failed("listing interfaces", source))? {
            let Some(at) = &found.address else { continue };
            if let Some(link) = at.as_link_addr() {
                match found.interface_name.as_str() {
                    name if name == interface && !found.flags.contains(InterfaceFlags::IFF_UP) => {
                        return Err(AddressError::Down(interface.to_owned()));
                    }
                    name if name == interface => card = Some(*link),
                    "lo" => loopback = Some(link.ifindex() as u32),
                    _ => {}
                }
            }
            let known = ip(at).and_then(|ip| addresses.iter().find(|wanted| wanted.address == ip));
            if let Some(known) = known {
                match found.interface_name.as_str() {
                    "lo" => left.push(*known),
                    name if name == interface => had.push(*known),
                    _ => return Err(AddressError::AlreadyLocal(known.address)),
                }
            }
        }
        let none = |name: &str| AddressError::NoInterface(name.to_owned());
        let (card, hardware) =
            card.and_then(|card| Some((card, card.addr()?))).ok_or_else(|| none(interface))?;
        let loopback = loopback.ok_or_else(|| none("lo"))?;
        if let Some(wrong) = addresses.iter().find(|wanted| !possible(wanted)) {
            return Err(AddressError::Impossible { address: wrong.address, prefix: wrong.prefix });
        }
        let announcer = Announcer::open(card, hardware)
            .map_err(|source| failed("opening a socket for frames", source))?;
        // From here on dropping it undoes what was done.
        let mut silence =
            Silence { loopback, card: interface.to_owned(), answers: None, on_loopback: Vec::new() };
        if addresses.iter().any(|wanted| wanted.address.is_ipv4()) {
            silence.answer_for_own_only(interface)?;
        }
        silence.on_loopback.clone_from(&left);
        for wanted in addresses.iter().filter(|wanted| !left.contains(wanted) && !had.contains(wanted)) {
            add(silence.placed(wanted.address)).map_err(|source| failed("adding an address", source))?;
            silence.on_loopback.push(*wanted);
            await_local_route(wanted.address, "lo")
                .map_err(|source| call("waiting for an address's route", source))?;
        }
        let were_left = !left.is_empty();
        Ok(SilentAddresses { announcer, silence, addresses: addresses.to_vec(), had, were_left })
    }

    /// Whether any of them was left by a process that ended.
    #[must_use]
    pub fn were_left(&self) -> bool {
        self.were_left
    }

    /// Those of the addresses that the interface had before: they may have been announced.
    #[must_use]
    pub fn had(&self) -> &[Prefixed] {
        &self.had
    }

    /// Puts the addresses on the interface and tells the network behind it, once: see [`Announced::repeat`].
    ///
    /// # Errors
    /// [`AddressError`]. The addresses are this machine's no more then, but for those that the interface had before.
    pub fn announce(self) -> Result<Announced, AddressError> {
        let SilentAddresses { announcer, silence, addresses, had, .. } = self;
        let mut announced = Announced { announcer, addresses, placed: Vec::new() };
        let missing: Vec<Prefixed> =
            announced.addresses.iter().filter(|wanted| !had.contains(wanted)).copied().collect();
        let outcome = missing.into_iter().try_for_each(|wanted| {
            add(announced.on_card(wanted)).map_err(|source| failed("adding an address", source))?;
            announced.placed.push(wanted);
            // Without it the address would be nobody's for a while, once it is taken off the loopback device.
            await_local_route(wanted.address, &silence.card)
                .map_err(|source| call("waiting for an address's route", source))
        });
        match outcome.and_then(|()| announced.repeat()) {
            Ok(()) => Ok(announced),
            Err(error) => {
                announced.withdraw();
                Err(error)
            }
        }
    }
}

impl Silence {
    fn answer_for_own_only(&mut self, interface: &str) -> Result<(), AddressError> {
        let file = PathBuf::from(format!("/proc/sys/net/ipv4/conf/{interface}/arp_ignore"));
        let before = fs::read_to_string(&file).map_err(|source| call("reading arp_ignore", source))?;
        if before.trim() == "0" {
            fs::write(&file, "1").map_err(|source| call("writing arp_ignore", source))?;
            self.answers = Some((file, before));
        }
        Ok(())
    }

    fn placed(&self, address: IpAddr) -> Placed {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Placed { address, prefix, interface: self.loopback, this_machine_only: true }
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        for wanted in std::mem::take(&mut self.on_loopback) {
            let left = remove(self.placed(wanted.address)).map_err(io::Error::from);
            lament("taking an address off the loopback device", left);
        }
        if let Some((file, before)) = self.answers.take() {
            lament("putting arp_ignore back", fs::write(file, before));
        }
    }
}

impl Announced {
    fn on_card(&self, wanted: Prefixed) -> Placed {
        Placed {
            address: wanted.address,
            prefix: wanted.prefix,
            interface: self.announcer.interface(),
            this_machine_only: false,
        }
    }

    /// Takes the addresses away again, but for those that the interface had before. What the network was told stays told.
    pub fn withdraw(self) {
        for wanted in &self.placed {
            lament("taking an address away", remove(self.on_card(*wanted)).map_err(io::Error::from));
        }
    }

    /// Tells the network once more. An announcement can be lost, and nobody acknowledges one: repeat it over some seconds.
    ///
    /// # Errors
    /// If it cannot be sent. The addresses stay this machine's.
    pub fn repeat(&self) -> Result<(), AddressError> {
        let addresses = self.addresses.iter().map(|known| known.address);
        self.announcer.announce(addresses).map_err(|source| failed("announcing", source))
    }
}

fn ip(at: &SockaddrStorage) -> Option<IpAddr> {
    match at.family()? {
        nix::sys::socket::AddressFamily::Inet => at.as_sockaddr_in().map(|at| at.ip().into()),
        nix::sys::socket::AddressFamily::Inet6 => at.as_sockaddr_in6().map(|at| at.ip().into()),
        _ => None,
    }
}

fn possible(wanted: &Prefixed) -> bool {
    let bits = if wanted.address.is_ipv4() { 32 } else { 128 };
    let address = wanted.address;
    (1..=bits).contains(&wanted.prefix)
        && !(address.is_unspecified() || address.is_multicast() || address.is_loopback())
}

fn lament(what: &'static str, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "{what} failed; it stays as it is");
    }
}

fn failed(call: &'static str, source: Errno) -> AddressError {
    match source {
        Errno::EPERM => AddressError::NotPermitted,
        source => AddressError::Call { call, source: source.into() },
    }
}

fn call(call: &'static str, source: io::Error) -> AddressError {
    match source.kind() {
        io::ErrorKind::PermissionDenied => AddressError::NotPermitted,
        _ => AddressError::Call { call, source },
    }
}
