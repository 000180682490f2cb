//! The interfaces of the agent's network, and the program that looks at what leaves by them.

use libbpf_rs::{Program, TC_EGRESS, TcHook};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Among the first that see a packet, so that no other filter lets it pass before.
const PRIORITY: u32 = 1;
/// Names the filter among others of that priority. Whatever has this handle is an agent's.
const HANDLE: u32 = 0xbac0_d002;

/// By number, the names of all interfaces but loopback devices; with names in `only`, of those alone.
pub(super) fn interfaces(only: &[String]) -> io::Result<BTreeMap<i32, String>> {
    let wanted = |name: &String| only.is_empty() || only.contains(name);
    // Each interface is listed with the address of its card, and once more with each other address it has.
    let cards = getifaddrs()?.filter(|card| !card.flags.contains(InterfaceFlags::IFF_LOOPBACK));
    let numbered = cards.filter_map(|card| {
        let number = card.address?.as_link_addr()?.ifindex();
        Some((i32::try_from(number).ok()?, card.interface_name))
    });
    Ok(numbered.filter(|(_, name)| wanted(name)).collect())
}

fn filter(program: BorrowedFd<'_>, interface: i32) -> TcHook {
    let mut hook = TcHook::new(program);
    hook.ifindex(interface).attach_point(TC_EGRESS).priority(PRIORITY).handle(HANDLE).replace(true);
    hook
}

/// Sees that the program looks at all that leaves by an interface, in the place of an earlier one.
pub(super) fn watch(program: BorrowedFd<'_>, interface: i32) -> libbpf_rs::Result<()> {
    let mut filter = filter(program, interface);
    if filter.query().is_ok_and(|found| Program::id_from_fd(program).is_ok_and(|own| own == found)) {
        return Ok(());
    }
    filter.create()?;
    filter.attach().map(drop)
}

/// Has no agent's program look at what leaves by an interface, but the one with the number in `keep`. What filters are
/// attached to stays: others may have filters there.
pub(super) fn unwatch(interface: i32, keep: Option<u32>) -> libbpf_rs::Result<()> {
    // Only its place counts, not its program.
    let mut filter = filter(io::stdin().as_fd(), interface);
    match filter.query() {
        Ok(found) if Some(found) != keep => filter.detach(),
        _ => Ok(()),
    }
}
