//! Runs the conformance suite against a provider, one line for each check. Ends with 1 if one failed.

use anyhow::Context;
use backdoors_rdma::conformance::fixtures::{Attached, InProcess, Process};
use backdoors_rdma::conformance::{self, Fixture};
use backdoors_rdma::verbs::{Device, VerbsFixture};
use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

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
    /// The RDMA device, as `rdma link` shows it; the first one if none is given.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// The virtio-serial port behind which the NIC of this virtual machine is.
    #[arg(long, value_name = "NAME", required_if_eq("provider", "attached"), requires = "nic")]
    port: Option<String>,
    /// Run only checks with this in their names.
    #[arg(default_value = "")]
    filter: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Provider {
    /// A NIC in software, over TCP.
    Emulated,
    /// An RDMA NIC, or soft-RoCE.
    Verbs,
    /// The NIC outside this virtual machine.
    Attached,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match check(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let socket = std::env::temp_dir().join(format!("backdoors-conformance-{}.sock", std::process::id()));
    let mut fixture: Box<dyn Fixture> = match (arguments.provider, arguments.nic) {
        (Provider::Emulated, None) => Box::new(InProcess),
        (Provider::Emulated, Some(program)) => Box::new(Process::emulated(program, socket.clone())),
        (Provider::Attached, nic) => {
            let program = nic.context("an attached provider needs --nic")?;
            let port = arguments.port.context("an attached provider needs --port")?;
            Box::new(Attached::new(program, &port, socket.clone()))
        }
        (Provider::Verbs, nic) => {
            let device = Arc::new(Device::open(arguments.device.as_deref())?);
            match nic {
                None => Box::new(VerbsFixture::new(device)),
                Some(program) => Box::new(VerbsFixture::process(device, program, socket.clone())),
            }
        }
    };
    let chosen = conformance::chosen(fixture.as_ref(), &arguments.filter).len();
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
    Ok(if failed == 0 && chosen > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
