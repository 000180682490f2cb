//! What the virtual-machine lab promises to the scenarios that use it.

use std::time::Duration;

use backdoors_tests::vm::{Kernel, Vm, VmConfig, Wire};

#[test]
fn each_kernel_boots_with_what_ebpf_needs() {
    for kernel in Kernel::ALL {
        let vm = Vm::boot(VmConfig { kernel, ..VmConfig::default() }).unwrap();
        assert_eq!(vm.shell("uname -r").unwrap(), vm.release());
        vm.shell("test -s /sys/kernel/btf/vmlinux").unwrap();
        let mounts = vm.shell("cat /proc/mounts").unwrap();
        for mount in [
            "bpf /sys/fs/bpf bpf ",
            "cgroup2 /sys/fs/cgroup cgroup2 ",
            "tracefs /sys/kernel/tracing tracefs ",
        ] {
            assert!(mounts.contains(mount), "{mount} is not among {mounts}");
        }
        println!("{kernel:?} is {}", vm.release());
    }
}

#[test]
fn two_guests_on_a_wire_reach_each_other_through_soft_roce() {
    let wire = Wire::new().unwrap();
    let [target, monitor] = Vm::boot_all([
        VmConfig { name: "target", network: Some(&wire), ..VmConfig::default() },
        VmConfig { name: "monitor", kernel: Kernel::Stable61, network: Some(&wire), ..VmConfig::default() },
    ])
    .unwrap();
    monitor.shell("ping -c 3 -w 20 10.77.0.1").unwrap();
    for guest in [&target, &monitor] {
        let links = guest.shell("rdma link").unwrap();
        assert!(links.contains("link rxe0/1 state ACTIVE"), "{links}");
    }
    let gid =
        r"grep -l '^0000:0000:0000:0000:0000:ffff:' /sys/class/infiniband/rxe0/ports/1/gids/* 2>/dev/null";
    let perftest = format!("ib_read_lat -d rxe0 -x $(basename $({gid} | head -1)) -s 64 -n 200");
    let server = target.spawn(&perftest).unwrap();
    target.wait_until(Duration::from_secs(20), "ss -ltn | grep :18515").unwrap();
    println!("{}", monitor.shell(format!("{perftest} 10.77.0.1")).unwrap());
    assert!(server.wait(Duration::from_secs(20)).unwrap().succeeded());
}
