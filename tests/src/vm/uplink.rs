//! Where guests meet hosts: an end of a wire that is plugged into a network of hosts.

use std::{net::Ipv4Addr, process::Stdio};

use super::{VmError, Wire, kept::Kept, programs::system_program};
use crate::host::Network;

/// The tap device's name in its network.
const TAP: &str = "uplink";

/// Carries frames between a wire and a network until it is dropped. It is a QEMU without a machine, which knows both.
#[derive(Debug)]
pub struct Uplink {
    #[expect(dead_code, reason = "it runs as long as it is there")]
    qemu: Kept,
    address: Ipv4Addr,
    hardware_address: String,
}

impl Uplink {
    /// Plugs the wire's next end into a network. One host there should have this end's addresses, as the others would guests.
    ///
    /// # Errors
    /// If not root, without tap devices, when every end is taken or the network has an uplink, or if QEMU cannot be started.
    pub fn plug(wire: &Wire, network: &Network) -> Result<Uplink, VmError> {
        let failed = || VmError::host("plug guests into a network of hosts");
        let end = wire.take_end()?;
        network.add_tap(TAP).map_err(|error| failed()(std::io::Error::other(format!("{error:#}"))))?;
        let [program, options @ ..] = network.entering();
        let mut command = Kept::command(program)?;
        command.args(options).arg(system_program("qemu-system-x86_64")?);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-machine", "none"]);
        command.args(["-netdev", "stream,id=wire,addr.type=fd,addr.str=0"]);
        command.args(["-netdev", &format!("tap,id=tap,ifname={TAP},script=no,downscript=no")]);
        for (port, device) in ["wire", "tap"].into_iter().enumerate() {
            command.args(["-netdev", &format!("hubport,id=port{port},hubid=0,netdev={device}")]);
        }
        command.stdin(Stdio::from(end.socket)).stdout(Stdio::null());
        let qemu = Kept::start(command).map_err(failed())?;
        Ok(Uplink { qemu, address: end.address, hardware_address: end.hardware_address })
    }

    /// The address that its end would give a guest.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// And the hardware address, by which the wire's switch knows where its frames go.
    pub fn hardware_address(&self) -> &str {
        &self.hardware_address
    }
}
