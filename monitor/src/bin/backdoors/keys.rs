//! `backdoors keys`.

use crate::ask::print;
use backdoors_rdma::handshake::Identity;
use std::path::PathBuf;
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a key and a certificate for a target or a monitor.
    New {
        /// Name of the node.
        #[arg(long)]
        name: String,
        /// Folder for NAME.key, which stays on the node, and NAME.crt, which its peers need.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Command::New { name, dir } = &arguments.command;
    std::fs::create_dir_all(dir)?;
    Identity::generate(name)?.save(dir)?;
    print(&format!(
        "{}: the key; keep it on this node\n{}: the certificate; give it to the peers\n",
        dir.join(format!("{name}.key")).display(),
        dir.join(format!("{name}.crt")).display()
    ))?;
    Ok(ExitCode::SUCCESS)
}
