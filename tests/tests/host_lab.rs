//! The lab of hosts keeps its own promises.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_tests::host::{Host, HostLimits, Network};
use backdoors_tests::machine::Machine;
use std::net::Ipv4Addr;
use std::path::Path;

const LEFT: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 2);

#[test]
fn two_hosts_reach_each_other_and_each_sees_only_its_own_processes() {
    let network = Network::new().unwrap();
    let left = Host::boot(&network, "left", LEFT, HostLimits::default()).unwrap();
    let right = Host::boot(&network, "right", RIGHT, HostLimits::default()).unwrap();
    assert!(left.shell(&format!("ping -c 1 -W 5 {}", right.address())).unwrap().contains("1 received"));
    assert_eq!(right.shell("hostname").unwrap().trim(), "right");
    left.shell_as(60123, "sleep 1000; true").unwrap();
    while left.processes_of(60123).unwrap() < 2 {}
    assert_eq!(right.processes_of(60123).unwrap(), 0);
}

#[test]
fn labs_run_side_by_side_with_the_same_addresses() {
    let networks = [Network::new().unwrap(), Network::new().unwrap()];
    let hosts =
        networks.each_ref().map(|network| Host::boot(network, "same", LEFT, HostLimits::default()).unwrap());
    assert!(
        hosts.iter().all(|host| host.shell("ip -br address show eth0").unwrap().contains("10.88.0.1/24"))
    );
}

#[test]
fn a_host_bounds_its_processes_and_leaves_nothing_when_its_test_panics() {
    let limits = HostLimits { processes: 50, ..HostLimits::default() };
    let mut groups = String::new();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let network = Network::new().unwrap();
        let host = Host::boot(&network, "bounded", LEFT, limits).unwrap();
        host.shell("chmod 1777 /run").unwrap();
        let bomb = "for i in $(seq 200); do sleep 1000 & done; wait";
        host.shell_as(60124, &format!("cat /proc/self/cgroup > /run/group; {bomb}")).unwrap();
        while host.processes_of(60124).unwrap() < 45 {}
        assert!(host.processes_of(60124).unwrap() <= 50);
        groups = host.shell("cat /run/group").unwrap();
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    let group = groups.lines().find_map(|line| line.rsplit_once("/backdoors-lab-")).unwrap().1.to_owned();
    for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory"] {
        assert!(!Path::new(root).join(format!("backdoors-lab-{group}")).exists());
    }
}
