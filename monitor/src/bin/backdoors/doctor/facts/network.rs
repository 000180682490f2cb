//! What the recovery of sessions asks of the network.

use super::text;
use backdoors_continuation_box::tcp::{can_rebuild, counts};
use rustix::fs::{Access, access};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

/// Longest wait for a connection to oneself.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the network is like.
#[derive(Debug)]
pub struct Network {
    /// Whether a connection could be rebuilt, or why not; tried.
    pub repair: Result<(), String>,
    /// Whether the kernel tells how far a connection's application has come, or why not; tried.
    pub counts: Result<(), String>,
    /// Whether interfaces can be told which addresses to answer for.
    pub settings_writable: bool,
    /// Whether the packet filter takes up connections whose beginning it has not seen; `None`: it follows none.
    pub loose: Option<bool>,
}

impl Network {
    pub fn gather() -> Network {
        Network {
            repair: can_rebuild().map_err(|error| error.to_string()),
            counts: count(),
            settings_writable: access("/proc/sys/net/ipv4/conf/all/arp_ignore", Access::WRITE_OK).is_ok(),
            loose: text("/proc/sys/net/netfilter/nf_conntrack_tcp_loose").map(|loose| loose != "0"),
        }
    }
}

/// Asks the kernel about a connection of this process with itself.
fn count() -> Result<(), String> {
    let connect = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let stream = TcpStream::connect_timeout(&listener.local_addr()?, PATIENCE)?;
        // The other end goes with the listener.
        Ok((listener, stream))
    };
    let (_listener, stream) = connect()
        .map_err(|error: std::io::Error| format!("no connection on the loopback device: {error}"))?;
    counts(stream.as_fd()).map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
impl Default for Network {
    fn default() -> Network {
        let nothing = || Err("not tried".to_owned());
        Network { repair: nothing(), counts: nothing(), settings_writable: false, loose: Some(false) }
    }
}
