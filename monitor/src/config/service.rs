//! Services whose live sessions this machine takes over.

use backdoors_continuation_box::tcp::Prefixed;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use std::net::IpAddr;
use std::path::PathBuf;

/// A service of a target.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// Its name, as the agents of both machines know it.
    pub name: String,
    /// Its addresses, which move to this machine, as in `10.0.0.80/24`.
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<ServiceAddress>,
    /// The interface of this machine that leads to the clients.
    pub interface: String,
    /// Where this machine's agent serves applications that keep boxes: its `service_socket`.
    pub local: PathBuf,
    /// A command that has the network send the addresses' packets here, where announcements do not reach: clouds.
    #[serde(default)]
    pub announce: Vec<String>,
}

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceAddress(pub Prefixed);

impl<'de> Deserialize<'de> for ServiceAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ServiceAddress, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map(ServiceAddress).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "{text:?} is no address with the length of its prefix: write it as in 10.0.0.80/24 or fd00::80/64"
            ))
        })
    }
}

fn parse(text: &str) -> Option<Prefixed> {
    let (address, prefix) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let prefix = prefix.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let is_one_host = !(address.is_unspecified() || address.is_multicast() || address.is_loopback());
    ((1..=bits).contains(&prefix) && is_one_host).then_some(Prefixed { address, prefix })
}
