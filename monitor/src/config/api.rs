//! Who may ask the daemon from other machines.
//!
//! ```toml
//! [api]
//! listen = "10.0.0.2:7804"
//!
//! [[api.client]]
//! name = "prometheus"
//! certificate = "/etc/backdoors/prometheus.crt"     # may only look
//!
//! [[api.client]]
//! name = "anna"
//! certificate = "/etc/backdoors/anna.crt"
//! may = "act"
//! ```

use crate::api::Role;
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Most clients.
pub const MOST_CLIENTS: usize = 256;

/// How the daemon is asked from other machines.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Who may ask.
    #[serde(default, rename = "client")]
    pub clients: Vec<ApiClientConfig>,
}

/// Somebody who may ask from another machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiClientConfig {
    /// Name for the journal.
    pub name: String,
    /// Its certificate, PEM. Who shows another is not this client.
    pub certificate: PathBuf,
    /// What it may do.
    #[serde(default)]
    pub may: Role,
}

/// Why clients cannot serve. Nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiConfigError {
    /// A name cannot serve.
    #[error(
        "client `{0}`: a name is 1 to 64 letters, digits, dots, dashes or underscores, and no two clients share one"
    )]
    BadName(String),
    /// There are too many.
    #[error(
        "there are {0} clients, {MOST_CLIENTS} at most: have programs that only look share a certificate"
    )]
    TooMany(usize),
}

impl ApiConfig {
    /// Checks the clients. On an error also returns which one is wrong.
    pub(super) fn check(&self) -> Result<(), (ApiConfigError, Option<usize>)> {
        if self.clients.len() > MOST_CLIENTS {
            return Err((ApiConfigError::TooMany(self.clients.len()), None));
        }
        for (index, client) in self.clients.iter().enumerate() {
            let is_taken = self.clients.iter().take(index).any(|other| other.name == client.name);
            if is_taken || !super::is_name(&client.name) {
                return Err((ApiConfigError::BadName(client.name.clone()), Some(index)));
            }
        }
        Ok(())
    }
}
