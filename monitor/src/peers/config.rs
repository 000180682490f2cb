//! The peers in the configuration.
//!
//! ```toml
//! listen = "10.0.0.2:7803"                          # where peers ask this monitor
//!
//! [[peer]]
//! name = "monitor2"
//! address = "10.0.0.3:7803"                         # where that monitor listens
//! certificate = "/etc/backdoors/monitor2.crt"
//! ```

use crate::config::is_name;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Most peers of a monitor. Each has threads of its own.
pub const MOST_PEERS: usize = 64;

/// Another monitor that looks after some of the same targets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// Name for screens, journals and evidence.
    pub name: String,
    /// Host and port where it listens for its peers. Resolved anew for every connection.
    pub address: String,
    /// Its certificate, PEM. Who shows another is not the peer.
    pub certificate: PathBuf,
}

/// Why peers cannot serve. Nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerConfigError {
    /// A name cannot serve.
    #[error("peer `{0}`: a name is 1 to 64 letters, digits, dots, dashes or underscores")]
    BadName(String),
    /// Two peers share a name.
    #[error("two peers are called `{0}`: give each its own name")]
    SameName(String),
    /// A peer has the monitor's own name.
    #[error(
        "peer `{0}` has this monitor's own name: a monitor is no second view of its own; name the other one"
    )]
    OwnName(String),
    /// An address cannot be resolved.
    #[error("peer `{peer}`: `{address}` is no address: it must be HOST:PORT, with a port from 1 to 65535")]
    BadAddress {
        /// The peer.
        peer: String,
        /// What stands there.
        address: String,
    },
    /// There are too many.
    #[error(
        "there are {0} peers, {MOST_PEERS} at most: a few that see the targets by other paths are enough"
    )]
    TooMany(usize),
}

/// Checks the peers of the monitor `own`. Whether a host's name can be resolved is not checked: name servers may be down
/// when the monitor starts, and addresses change.
///
/// # Errors
/// See [`PeerConfigError`].
pub fn check(own: &str, peers: &[PeerConfig]) -> Result<(), PeerConfigError> {
    if peers.len() > MOST_PEERS {
        return Err(PeerConfigError::TooMany(peers.len()));
    }
    let mut names = BTreeSet::new();
    for peer in peers {
        if !is_name(&peer.name) {
            return Err(PeerConfigError::BadName(peer.name.clone()));
        }
        if peer.name == own {
            return Err(PeerConfigError::OwnName(peer.name.clone()));
        }
        if !names.insert(&peer.name) {
            return Err(PeerConfigError::SameName(peer.name.clone()));
        }
        if !is_address(&peer.address) {
            let (peer, address) = (peer.name.clone(), peer.address.clone());
            return Err(PeerConfigError::BadAddress { peer, address });
        }
    }
    Ok(())
}

/// Whether it is something that a resolver can be asked for.
fn is_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good_host = match bracketed {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
            !host.is_empty() && host.len() <= 253 && host.chars().all(plain)
        }
    };
    good_host && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, address: &str) -> PeerConfig {
        PeerConfig { name: name.into(), address: address.into(), certificate: "peer.crt".into() }
    }

    fn checked(peers: &[PeerConfig]) -> Result<(), PeerConfigError> {
        check("monitor1", peers)
    }

    #[test]
    fn peers_have_names_and_addresses() {
        checked(&[peer("monitor2", "10.0.0.3:7811"), peer("monitor3", "[fe80::1]:7811")]).unwrap();
        checked(&[peer("monitor2", "monitor-2.example.org:7811")]).unwrap();
    }

    #[test]
    fn names_that_would_mix_up_monitors_are_refused() {
        let good = peer("monitor2", "host:1");
        assert_eq!(checked(&[good.clone(), good.clone()]), Err(PeerConfigError::SameName("monitor2".into())));
        assert_eq!(checked(&[peer("monitor1", "host:1")]), Err(PeerConfigError::OwnName("monitor1".into())));
        for name in ["", "a b", "a/b", &"a".repeat(65)] {
            assert_eq!(checked(&[peer(name, "host:1")]), Err(PeerConfigError::BadName(name.into())));
        }
    }

    #[test]
    fn what_no_resolver_can_resolve_is_refused() {
        for address in
            ["", "host", "host:", ":7811", "host:0", "host:65536", "ho st:1", "[::1:7811", "::1:7811"]
        {
            let refused = checked(&[peer("monitor2", address)]);
            assert!(matches!(refused, Err(PeerConfigError::BadAddress { .. })), "{address}: {refused:?}");
        }
    }

    #[test]
    fn a_crowd_of_peers_is_refused() {
        let crowd: Vec<_> = (0..65).map(|number| peer(&format!("peer{number}"), "host:1")).collect();
        assert_eq!(checked(&crowd), Err(PeerConfigError::TooMany(65)));
        checked(&crowd[..64]).unwrap();
    }
}
