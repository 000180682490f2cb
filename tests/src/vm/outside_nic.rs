//! A guest's NIC outside of it: it serves the guest's memory whatever the guest's kernel does.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::Stdio,
};

use super::{Vm, VmError, kept::Kept, programs::built_program, scratch::Scratch};

/// Name of the virtio-serial port behind which a guest finds its NIC.
pub const NIC_PORT: &str = "backdoors.nic";
/// Where a guest with a link to this machine finds it.
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// From where the monitors of a guest with such a NIC come to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenFrom {
    /// They run on this machine.
    Host,
    /// They run in guests that have a link to this machine.
    Guests,
}

impl Vm {
    /// Where this machine reaches port 7801 of a guest with a link to it.
    ///
    /// # Errors
    /// When there is no such link, or QEMU does not say.
    pub fn handshakes(&self) -> Result<SocketAddr, VmError> {
        let table = self.monitor.human("info usernet")?;
        let forward = table.lines().find(|line| line.contains("HOST_FORWARD"));
        // Protocol and state, a descriptor, address and port here, address and port there, two queues.
        let port = forward.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
        let port: u16 = port.ok_or_else(|| VmError::Refused("it has no link to this machine".into()))?;
        Ok((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Where this machine reaches the NIC outside.
    pub fn outside_nic(&self) -> Option<SocketAddr> {
        self.qemu().nic().map(OutsideNic::address)
    }

    /// Kills the NIC outside and starts another one in its place, elsewhere.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart_outside_nic(&self) -> Result<(), VmError> {
        self.qemu().restart_nic()
    }

    /// The process that is the NIC outside.
    pub fn outside_nic_pid(&self) -> Option<u32> {
        self.qemu().nic().map(OutsideNic::pid)
    }

    /// Everything that the NIC outside has printed.
    pub fn outside_nic_log(&self) -> String {
        self.qemu().nic_log()
    }
}

/// The process that is the NIC.
#[derive(Debug)]
pub(super) struct OutsideNic {
    process: Kept,
    address: SocketAddr,
}

impl OutsideNic {
    /// Starts the NIC of the guest whose files these are. It waits for QEMU by itself.
    pub(super) fn start(scratch: &Scratch, ram: &Scratch, seen_from: SeenFrom) -> Result<Self, VmError> {
        let failed = || VmError::host("start a guest's NIC");
        let mut command = Kept::command(built_program("backdoors-nic")?)?;
        command.arg("--ram").arg(ram.path("ram")).arg("--device").arg(scratch.path("nic"));
        command.arg("--qmp").arg(scratch.path("resets")).args(["--listen", "127.0.0.1:0"]);
        if seen_from == SeenFrom::Guests {
            command.args(["--advertise", &format!("{HOST}:0")]);
        }
        let log = File::options().create(true).append(true).open(scratch.path("nic.log")).map_err(failed())?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let process = Kept::start(command).map_err(failed())?;
        let mut nic = OutsideNic { process, address: SocketAddr::from((HOST, 0)) };
        let mut line = String::new();
        if let Some(output) = nic.process.take_stdout() {
            BufReader::new(output).read_line(&mut line).map_err(failed())?;
        }
        // `ready: emulated NIC at ADDRESS:PORT, RAM …`
        let address = line.split(" at ").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
        match address {
            Some(address) => {
                nic.address = address;
                Ok(nic)
            }
            None => {
                let said = std::fs::read_to_string(scratch.path("nic.log")).unwrap_or_default();
                Err(failed()(std::io::Error::other(format!("it said `{}` and {said}", line.trim()))))
            }
        }
    }

    /// Where it serves monitors, as this machine sees it.
    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.address.port())
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// At once.
    pub(super) fn kill(&mut self) {
        self.process.kill();
    }
}
