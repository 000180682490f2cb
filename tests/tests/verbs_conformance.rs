//! The provider `verbs` passes the conformance suite over soft-RoCE, on every kernel.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_tests::vm::{Kernel, Vm, VmConfig, Wire};
use std::time::Duration;

/// Longest time for the suite in one guest.
const PATIENCE: Duration = Duration::from_secs(240);

fn passes(vm: &Vm, command: &str) {
    let output = vm.run_within(PATIENCE, command).unwrap();
    assert!(output.succeeded(), "{}: {command}\n{}\n{}", vm.release(), output.stdout, output.stderr);
    assert!(output.stdout.contains("\nok "), "{}", output.stdout);
}

fn passes_over_loopback(kernel: Kernel) {
    let wire = Wire::new().unwrap();
    let programs = vec!["backdoors-conformance".into(), "backdoors-nic".into()];
    let vm = Vm::boot(VmConfig { kernel, cpus: 2, network: Some(&wire), programs, ..VmConfig::default() })
        .unwrap();
    passes(&vm, "backdoors-conformance --provider verbs");
    passes(&vm, "backdoors-conformance --provider verbs --nic /usr/bin/backdoors-nic");
}

#[test]
fn verbs_conforms_over_soft_roce_on_the_newest_kernel() {
    passes_over_loopback(Kernel::Newest);
}

#[test]
fn verbs_conforms_over_soft_roce_on_kernel_6_1() {
    passes_over_loopback(Kernel::Stable61);
}
