//! Which daemon is asked.

use anyhow::{Context, bail};
use backdoors_monitor::config::DEFAULT_SOCKET;
use backdoors_monitor_api::{Endpoint, Remote};
use backdoors_rdma::handshake::{Certificate, Identity, client_config};
use std::path::PathBuf;

/// Which daemon is asked.
#[derive(clap::Args)]
pub struct Daemon {
    /// Socket of the running monitor.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Ask the monitor of another machine instead, where its `[api]` listens.
    #[arg(long, global = true, value_name = "HOST:PORT", env = "BACKDOORS_REMOTE", hide_env_values = true)]
    remote: Option<String>,
    /// Certificate of that monitor; who shows another is not asked.
    #[arg(long, global = true, value_name = "FILE", env = "BACKDOORS_TRUST", hide_env_values = true)]
    trust: Option<PathBuf>,
    /// Who you are there: PATH.key and PATH.crt, as `backdoors keys new` made them.
    #[arg(long, global = true, value_name = "PATH", env = "BACKDOORS_IDENTITY", hide_env_values = true)]
    identity: Option<PathBuf>,
}

impl Daemon {
    /// Where it is asked, and as whom.
    pub fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let Some(address) = &self.remote else { return Ok(self.socket.as_path().into()) };
        let (Some(trust), Some(identity)) = (&self.trust, &self.identity) else {
            bail!(
                "--remote wants --trust, the monitor's certificate, and --identity, your own key and certificate"
            );
        };
        let certificate = Certificate::load(trust).context("--trust")?;
        let (folder, name) = (identity.parent(), identity.file_name().and_then(|name| name.to_str()));
        let (Some(folder), Some(name)) = (folder, name) else {
            bail!("--identity {}: name the key's file without .key", identity.display());
        };
        let own = Identity::load(folder, name).context("--identity")?;
        let tls = client_config(&own, &certificate).context("--identity")?;
        Ok(Endpoint::Remote(Remote { address: address.clone(), tls }))
    }
}
