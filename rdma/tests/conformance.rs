//! The emulated provider holds what every provider must.

use backdoors_rdma::conformance::fixtures::{InProcess, Process};
use backdoors_rdma::conformance::{self, Fixture};

fn conforms(fixture: &mut dyn Fixture) {
    let mut report = String::new();
    let failed = conformance::run(fixture, "", |name, result| match result {
        Ok(()) => report += &format!("ok      {name}\n"),
        Err(failure) => report += &format!("FAILED  {name}: {failure}\n"),
    });
    println!("{report}");
    assert_eq!(failed, 0, "{}:\n{report}", fixture.name());
}

#[test]
fn the_emulated_nic_conforms_in_process() {
    conforms(&mut InProcess);
}

#[test]
fn the_emulated_nic_conforms_in_a_process_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_backdoors-nic").into();
    conforms(&mut Process::emulated(program, folder.path().join("nic.sock")));
}
