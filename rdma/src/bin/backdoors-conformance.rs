//! Runs the conformance suite against a provider, one line for each check. Ends with 1 if one failed.

use backdoors_rdma::conformance::fixtures::{InProcess, Process};
use backdoors_rdma::conformance::{self, CHECKS, Fixture};
use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// Checks what every provider must do alike.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Which provider.
    #[arg(long, value_enum)]
    provider: Provider,
    /// The program `backdoors-nic`, to have it own the memory; without it, this process does.
    #[arg(long, value_name = "PATH")]
    nic: Option<PathBuf>,
    /// Run only checks with this in their names.
    #[arg(default_value = "")]
    filter: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Provider {
    /// A NIC in software, over TCP.
    Emulated,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let socket = std::env::temp_dir().join(format!("backdoors-conformance-{}.sock", std::process::id()));
    let mut fixture: Box<dyn Fixture> = match (arguments.provider, arguments.nic) {
        (Provider::Emulated, None) => Box::new(InProcess),
        (Provider::Emulated, Some(program)) => Box::new(Process::emulated(program, socket.clone())),
    };
    let chosen = CHECKS.iter().filter(|(name, _)| name.contains(&arguments.filter)).count();
    println!("{}: {chosen} checks", fixture.name());
    let failed = conformance::run(fixture.as_mut(), &arguments.filter, |name, result| match result {
        Ok(()) => println!("ok      {name}"),
        Err(failure) => println!("FAILED  {name}: {failure}"),
    });
    drop(fixture);
    // A killed owner leaves its socket behind.
    let _ = std::fs::remove_file(socket);
    println!("{} passed, {failed} failed", chosen - failed);
    // No check at all is a mistake in the filter, not a success.
    if failed == 0 && chosen > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
