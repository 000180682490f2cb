//! What RDMA devices mean for each role.

use super::facts::{Facts, RdmaDevice, Soft};
use super::report::Finding;
use super::report::Role::{self, Monitor, Target};

const ROLES: [Role; 2] = [Target, Monitor];
const NAME: &str = "RDMA";
const WITHOUT: &str = "only `provider = \"emulated\"` can be used, a NIC in software on the target's CPU";

pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = match &facts.rdma.devices[..] {
        [] => vec![none(facts)],
        devices => devices.iter().map(device).collect(),
    };
    findings.extend(guest(facts));
    findings
}

fn none(facts: &Facts) -> Finding {
    let found = facts.rdma.problem.clone().unwrap_or_else(|| "no device".to_owned());
    let link = "rdma link add rxe0 type rxe netdev eth0";
    let libraries = "apt install libibverbs1 ibverbs-providers rdma-core";
    let remedy = match facts.rdma.soft {
        Soft::Loaded => format!("{link} makes a device of a network interface; {libraries}"),
        Soft::Loadable => {
            format!("modprobe rdma_rxe && {link} makes a device of a network interface; {libraries}")
        }
        Soft::Absent => {
            format!("install a NIC that knows RoCE, or a kernel with the module rdma_rxe; {libraries}")
        }
    };
    // It comes from a library that names remedies of its own.
    let found = found.split(": install").next().unwrap_or_default().to_owned();
    Finding::could_be_better(NAME, &ROLES, found, WITHOUT, remedy)
}

fn device(device: &RdmaDevice) -> Finding {
    let RdmaDevice { name, soft, ports, usable } = device;
    let title = format!("{NAME} device {name}");
    let found = if ports.is_empty() { "no port".to_owned() } else { ports.join("; ") };
    match usable {
        Err(problem) => Finding::could_be_better(
            &title,
            &ROLES,
            format!("{found}; {problem}"),
            WITHOUT,
            format!("bring its interface up and give it an address: rdma link show {name}"),
        ),
        Ok(()) if *soft => Finding::could_be_better(
            &title,
            &ROLES,
            format!("soft-RoCE, {found}"),
            "it runs on this machine's CPU: it lives through floods of processes, not through a hung kernel",
            "install a NIC that knows RoCE, if hung kernels matter",
        ),
        Ok(()) => Finding::good(&title, &ROLES, found, "memory is reached though the CPU stands still"),
    }
}

/// A guest has a way of its own to a NIC that outlives its kernel.
fn guest(facts: &Facts) -> Option<Finding> {
    let found = facts.guest.clone()?;
    let name = "virtual machine";
    let has_hardware = facts.rdma.devices.iter().any(|device| !device.soft && device.usable.is_ok());
    Some(if has_hardware {
        Finding::good(name, &[Target], found, "it has an RDMA NIC of its own")
    } else {
        Finding::could_be_better(
            name,
            &[Target],
            found,
            "no NIC of its own outlives its kernel",
            "on the machine below run `backdoors-nic --ram FILE`, and here `--provider attached` (docs/virtual-machines.md)",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::facts::tests::good_machine;
    use crate::doctor::report::State;

    fn only(facts: &Facts) -> Finding {
        let mut findings = findings(facts);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.remove(0)
    }

    #[test]
    fn a_machine_without_a_device_is_told_how_to_make_one_as_far_as_its_kernel_goes() {
        for (soft, begins) in
            [(Soft::Loaded, "rdma link"), (Soft::Loadable, "modprobe"), (Soft::Absent, "install")]
        {
            let mut facts = good_machine();
            facts.rdma.devices.clear();
            facts.rdma.problem =
                Some("no RDMA device (libibverbs lists none): install everything".to_owned());
            facts.rdma.soft = soft;
            let found = only(&facts);
            assert!(found.remedy.as_ref().unwrap().starts_with(begins), "{found:?}");
            assert_eq!(found.found, "no RDMA device (libibverbs lists none)");
        }
    }

    #[test]
    fn a_device_of_software_or_without_a_port_is_not_as_good() {
        let mut facts = good_machine();
        assert_eq!(only(&facts).state, State::Good);
        facts.rdma.devices[0].soft = true;
        assert!(only(&facts).means.contains("not through a hung kernel"));
        facts.rdma.devices[0].usable = Err("it has no usable port".to_owned());
        assert!(only(&facts).found.contains("no usable port"));
    }

    #[test]
    fn a_guest_is_told_of_the_nic_outside_unless_it_has_its_own() {
        let mut facts = good_machine();
        facts.guest = Some("QEMU".to_owned());
        assert!(findings(&facts).iter().all(|finding| finding.state == State::Good));
        facts.rdma.devices.clear();
        assert!(findings(&facts).iter().any(|it| it.remedy.as_ref().unwrap().contains("--ram")));
    }
}
