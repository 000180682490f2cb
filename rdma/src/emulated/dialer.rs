//! Connecting to emulated NICs.

use crate::access::Connection;
use crate::dial::{self, DialError};
use crate::emulated::client;
use crate::emulated::line::Line;
use crate::emulated::wire::Greeting;
use crate::owner::{Endpoint, MAX_ENDPOINTS};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// Longest time to connect to the NIC and to be greeted by it.
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// Connects to emulated NICs.
#[derive(Debug)]
pub struct Dialer {
    deadline: Duration,
    host: Option<IpAddr>,
    prepared: usize,
}

impl Dialer {
    /// Makes connections that give up a batch after `deadline`. `host` is where to go if the NIC does not say.
    #[must_use]
    pub fn new(deadline: Duration, host: Option<IpAddr>) -> Dialer {
        Dialer { deadline, host, prepared: 0 }
    }

    fn open(&self, endpoint: &Endpoint) -> Result<Box<dyn Connection>, DialError> {
        let Endpoint::Emulated { address, token } = endpoint else {
            return Err(DialError::Mismatch("they are no emulated NIC's"));
        };
        let mut address = address.ok_or(DialError::Mismatch("they have no address"))?;
        if address.ip().is_unspecified() {
            address.set_ip(self.host.ok_or(DialError::Mismatch("they have no address"))?);
        }
        let stream = greeted(address, *token)?;
        Ok(Box::new(Line::new(stream, self.deadline).map_err(DialError::Device)?))
    }
}

impl dial::Dialer for Dialer {
    fn prepare(&mut self, count: usize) -> Result<Vec<Endpoint>, DialError> {
        if count == 0 || count > MAX_ENDPOINTS {
            return Err(DialError::Mismatch("a monitor has at least one and not so many connections"));
        }
        self.prepared = count;
        Ok(vec![Endpoint::Emulated { address: None, token: [0; 16] }; count])
    }

    fn connect(&mut self, remote: &[Endpoint]) -> Result<Vec<Box<dyn Connection>>, DialError> {
        if remote.len() != std::mem::take(&mut self.prepared) {
            return Err(DialError::Mismatch("there are not as many as were prepared here"));
        }
        remote.iter().map(|endpoint| self.open(endpoint)).collect()
    }
}

fn greeted(address: SocketAddr, token: [u8; 16]) -> Result<TcpStream, DialError> {
    let shake = || {
        let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIME)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CONNECT_TIME))?;
        stream.set_write_timeout(Some(CONNECT_TIME))?;
        stream.write_all(&client::hello(token))?;
        let mut greeting = [0; size_of::<Greeting>()];
        stream.read_exact(&mut greeting)?;
        Ok((stream, client::is_welcome(&greeting)))
    };
    match shake().map_err(DialError::Unreachable)? {
        (stream, Some(true)) => Ok(stream),
        (_, Some(false)) => Err(DialError::Refused),
        (_, None) => Err(DialError::Mismatch("what listens there is no emulated NIC of this version")),
    }
}
