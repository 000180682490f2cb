//! The interfaces of the agent's network, and the program that looks at what leaves by them.

use libbpf_rs::{Program, TC_EGRESS, TC_INGRESS, TcHook};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nameindex};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Among the first that see a packet, so that no other filter lets it pass before.
const PRIORITY: u32 = 1;
/// Names the filter among others of that priority. Whatever has this handle is an agent's.
const HANDLE: u32 = 0xbac0_d002;

/// By number, the names of all interfaces but loopback devices; with names in `only`, of those alone.
pub(super) fn interfaces(only: &[String]) -> io::Result<BTreeMap<i32, String>> {
    // Not all are there with a number: those without an address on their wire are not.
    let loopback = getifaddrs()?.filter(|found| found.flags.contains(InterfaceFlags::IFF_LOOPBACK));
    let loopback: BTreeSet<String> = loopback.map(|found| found.interface_name).collect();
    let mut found = BTreeMap::new();
    for interface in &if_nameindex()? {
        let name = interface.name().to_string_lossy().into_owned();
        if !loopback.contains(&name) && (only.is_empty() || only.contains(&name)) {
            found.extend(i32::try_from(interface.index()).map(|number| (number, name)));
        }
    }
    Ok(found)
}

fn filter(program: BorrowedFd<'_>, interface: i32) -> TcHook {
    let mut hook = TcHook::new(program);
    hook.ifindex(interface).attach_point(TC_EGRESS).priority(PRIORITY).handle(HANDLE).replace(true);
    hook
}

/// Why nothing looks at what leaves by an interface.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// The kernel refuses it.
    #[error(transparent)]
    Refused(#[from] libbpf_rs::Error),
    /// What filters are attached to has no place for what leaves.
    #[error(
        "it has a queueing discipline \"ingress\", which takes the place of \"clsact\" and sees nothing that leaves: run \
         `tc qdisc del dev NAME ingress`, and attach its filters to a clsact one"
    )]
    Ingress,
}

/// Sees that the program looks at all that leaves by an interface, in the place of an earlier one.
pub(super) fn watch(program: BorrowedFd<'_>, interface: i32) -> Result<(), WatchError> {
    let mut leaving = filter(program, interface);
    if leaving.query().is_ok_and(|found| Program::id_from_fd(program).is_ok_and(|own| own == found)) {
        return Ok(());
    }
    leaving.create()?;
    leaving.attach()?;
    // Where there is no clsact but an ingress, the kernel takes the filter for one of what comes in.
    let mut coming = leaving;
    if coming.attach_point(TC_INGRESS).query().is_ok() {
        leaving.detach()?;
        return Err(WatchError::Ingress);
    }
    Ok(())
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
