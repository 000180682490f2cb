//! The process that is a virtual machine.

use std::{
    fs, io,
    net::Ipv4Addr,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    SWAP_DISK, VmConfig, VmError, initramfs,
    kept::Kept,
    outside_nic::{NIC_PORT, OutsideNic, SeenFrom},
    programs::system_program,
    protocol::PORT,
    scratch::Scratch,
    wire::End,
};

/// A running QEMU.
#[derive(Debug)]
pub(super) struct Qemu {
    // Dropped before what it has open.
    process: Kept,
    scratch: Scratch,
    /// With the file that its memory is, if it has a NIC outside.
    nic: Option<(OutsideNic, Scratch, SeenFrom)>,
}

/// The hardware address of a guest's link to this machine.
const HOST_LINK: &str = "52:54:00:78:00:01";
/// Where agents shake hands, in guests that this machine can reach.
const HANDSHAKES: u16 = 7801;

/// Name of the network's back end, as `set_link` wants it.
pub(super) const NETWORK: &str = "wire";

impl Qemu {
    /// Starts a guest and returns its two channels: QEMU's monitor, and the one that the lab's server will answer on.
    pub(super) fn start(
        config: &VmConfig<'_>,
    ) -> Result<(Qemu, Option<Ipv4Addr>, UnixStream, UnixStream), VmError> {
        let not_set_up = |error: anyhow::Error| VmError::NotSetUp(format!("{error:#}"));
        let kernel = config.kernel.cached().map_err(not_set_up)?;
        let kernel = kernel
            .ok_or_else(|| VmError::NotSetUp(format!("kernel '{}' is not cached", config.kernel.name())))?;
        let scratch = Scratch::new().map_err(VmError::host("make a directory for a guest"))?;
        let initramfs = scratch.path("initramfs");
        initramfs::write(&initramfs, &kernel, config)?;
        check_fits(&initramfs, config.memory_mib)?;
        let end = config.network.map(|wire| wire.take_end()).transpose()?;
        let address = end.as_ref().map(|end| end.address);

        let listen =
            |name| UnixListener::bind(scratch.path(name)).map_err(VmError::host("make a socket for QEMU"));
        let (monitor, control) = (listen("monitor")?, listen("control")?);
        let errors =
            fs::File::create(scratch.path("qemu.log")).map_err(VmError::host("make a log for QEMU"))?;

        let mut command = Kept::command(system_program("qemu-system-x86_64")?)?;
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        if !config.reboots {
            command.arg("-no-reboot");
        }
        // No hardware virtualization: it must run, and run alike, where there is none.
        // Without `rep movsb`, which emulation carries out byte by byte: soft-RoCE copies with it where it can, and
        // then a remote reader could see half a word. No real processor does that to an aligned word.
        command.args(["-accel", "tcg,thread=multi", "-cpu", "max,la57=off,erms=off,fsrm=off"]);
        command.args(["-m", &format!("{}M", config.memory_mib), "-smp", &config.cpus.to_string()]);
        command.arg("-kernel").arg(kernel.image()).arg("-initrd").arg(&initramfs);
        command.args(["-append", &kernel_command_line(config, end.as_ref())]);
        let path = |name| scratch.path(name).display().to_string();
        command.args(["-serial", &format!("file:{}", path("console.log"))]);
        command.args(["-chardev", &format!("socket,id=monitor,path={}", path("monitor"))]);
        command.args(["-mon", "chardev=monitor,mode=control"]);
        command.args(["-chardev", &format!("socket,id=control,path={}", path("control"))]);
        command.args(["-device", "virtio-serial-pci"]);
        command.args(["-device", &format!("virtserialport,chardev=control,name={PORT}")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        if let Some(end) = end {
            command.args(["-netdev", &format!("stream,id={NETWORK},addr.type=fd,addr.str=0")]);
            command
                .args(["-device", &format!("virtio-net-pci,netdev={NETWORK},mac={}", end.hardware_address)]);
            command.stdin(Stdio::from(end.socket));
        }
        if config.swap_mib > 0 {
            let swap = scratch.path("swap");
            let size = u64::from(config.swap_mib) << 20;
            let made = fs::File::create(&swap).and_then(|file| file.set_len(size));
            made.map_err(VmError::host("make swap space for a guest"))?;
            // What is on it is worth nothing after the guest's end.
            let drive = format!("file={},if=none,id=swap,format=raw,cache=unsafe", swap.display());
            command.args(["-drive", &drive, "-device", "virtio-blk-pci,drive=swap"]);
        }
        if config.host_link {
            command.args(["-netdev", &format!("user,id=host,hostfwd=tcp:127.0.0.1:0-:{HANDSHAKES}")]);
            command.args(["-device", &format!("virtio-net-pci,netdev=host,mac={HOST_LINK}")]);
        }
        let mut nic = None;
        if let Some(seen_from) = config.outside_nic {
            let ram = Scratch::in_memory().map_err(VmError::host("make a guest's memory"))?;
            let (size, file) = (config.memory_mib, ram.path("ram"));
            let file = file.display();
            command.args([
                "-object",
                &format!("memory-backend-file,id=ram,size={size}M,mem-path={file},share=on"),
            ]);
            command.args(["-machine", "memory-backend=ram"]);
            command.args(["-chardev", &format!("socket,id=nic,path={},server=on,wait=off", path("nic"))]);
            command.args(["-device", &format!("virtserialport,chardev=nic,name={NIC_PORT}")]);
            let resets = format!("socket,id=resets,path={},server=on,wait=off", path("resets"));
            command.args(["-chardev", &resets, "-mon", "chardev=resets,mode=control"]);
            nic = Some((OutsideNic::start(&scratch, &ram, seen_from)?, ram, seen_from));
        }

        let process = Kept::start(command).map_err(VmError::host("start QEMU"))?;
        let mut qemu = Qemu { process, scratch, nic };
        let deadline = Instant::now() + config.boot_deadline;
        let monitor = qemu.accept(&monitor, deadline)?;
        let control = qemu.accept(&control, deadline)?;
        Ok((qemu, address, monitor, control))
    }

    /// Takes QEMU's connection, unless QEMU ends first.
    fn accept(&mut self, listener: &UnixListener, deadline: Instant) -> Result<UnixStream, VmError> {
        const SLICE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        loop {
            if !self.is_running() {
                let errors = fs::read_to_string(self.scratch.path("qemu.log")).unwrap_or_default();
                return Err(VmError::host("start QEMU")(io::Error::other(errors)));
            }
            if Instant::now() > deadline {
                return Err(VmError::host("reach QEMU")(io::ErrorKind::TimedOut.into()));
            }
            let ready = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&SLICE));
            if matches!(ready, Ok(1)) {
                return listener.accept().map(|(stream, _)| stream).map_err(VmError::host("reach QEMU"));
            }
        }
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Of the QEMU process, on this machine.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The NIC outside, if it has one.
    pub(super) fn nic(&self) -> Option<&OutsideNic> {
        self.nic.as_ref().map(|(nic, ..)| nic)
    }

    /// Starts the NIC outside anew, if it has one.
    pub(super) fn restart_nic(&mut self) -> Result<(), VmError> {
        if let Some((nic, ram, seen_from)) = &mut self.nic {
            nic.kill();
            *nic = OutsideNic::start(&self.scratch, ram, *seen_from)?;
        }
        Ok(())
    }

    /// Everything that the NIC outside printed.
    pub(super) fn nic_log(&self) -> String {
        fs::read_to_string(self.scratch.path("nic.log")).unwrap_or_default()
    }

    /// Everything that the guest printed on its console.
    pub(super) fn console(&self) -> String {
        fs::read(self.scratch.path("console.log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// At once, as if the plug were pulled.
    pub(super) fn kill(&mut self) {
        self.process.kill();
    }
}

/// A file system that does not fit would be unpacked in part, and the guest would fail in odd ways.
fn check_fits(initramfs: &Path, memory_mib: u32) -> Result<(), VmError> {
    let size = fs::metadata(initramfs).map_err(VmError::host("look at the file system of a guest"))?.len();
    // Half of what the kernel leaves of the memory, which is about three quarters.
    if size > (u64::from(memory_mib) << 20) * 3 / 8 {
        return Err(VmError::TooLarge { files_mib: size >> 20, memory_mib });
    }
    Ok(())
}

fn kernel_command_line(config: &VmConfig<'_>, end: Option<&End>) -> String {
    // `panic=0`: a guest that panics stays as it is. `tsc=reliable`: when its processors have to wait for a turn here,
    // the guest is not to conclude that its clock is broken and change to a slow one. `maxcpus=1`: a booting kernel
    // rewrites its own code all the time. QEMU discards its translation of that code a moment before the store is
    // done, and a second processor that comes by in between goes on with a translation of the old bytes: with a
    // breakpoint that nobody knows any more. The other processors start when the kernel is up. `no_timer_check`: a
    // kernel that sees too few interrupts of its timer while it counts cycles panics, and here it only lacked a turn.
    let mut line = format!(
        "console=ttyS0 quiet panic=0 tsc=reliable maxcpus=1 no_timer_check backdoors.name={}",
        config.name
    );
    if let Some(end) = end {
        line.push_str(&format!(" backdoors.address={}/24", end.address));
    }
    if config.swap_mib > 0 {
        line.push_str(&format!(" backdoors.swap={SWAP_DISK}"));
    }
    if config.host_link {
        line.push_str(&format!(" backdoors.host_link={HOST_LINK}"));
    }
    if config.systemd {
        line.push_str(" backdoors.systemd");
    }
    // Otherwise the guest finds out by itself, and on a busy machine is wrong, at times many times over.
    if let Some(frequency) = clock_frequency(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()) {
        line.push_str(&format!(" tsc_early_khz={frequency}"));
    }
    line
}

/// Frequency of this machine's time stamp counter, which guests see as it is, in kHz. `None` where what Linux shows may be
/// the processor's momentary frequency instead.
fn clock_frequency(cpuinfo: &str) -> Option<u32> {
    let value = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim())
    };
    let known = value("flags")?.split_whitespace().any(|flag| flag == "tsc_known_freq");
    let frequency: f64 = value("cpu MHz")?.parse().ok()?;
    (known && frequency >= 100.0).then(|| (frequency * 1e3).round() as u32)
}

/// Where consoles of guests go that were up when a test failed.
pub(super) fn kept_logs() -> PathBuf {
    let running = std::env::current_exe().unwrap_or_default();
    let target =
        running.ancestors().find(|directory| directory.file_name().is_some_and(|name| name == "target"));
    target.map_or_else(std::env::temp_dir, PathBuf::from).join("vm-logs")
}

/// How long a guest may take to boot on a machine that is busy with other things.
pub(super) const BOOT_DEADLINE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::clock_frequency;

    #[test]
    fn a_frequency_is_told_to_guests_only_if_it_is_the_counters() {
        let known = "flags\t\t: fpu tsc tsc_known_freq\ncpu MHz\t\t: 2596.122\n";
        assert_eq!(clock_frequency(known), Some(2_596_122));
        assert_eq!(clock_frequency(&known.replace("_known_freq", "")), None);
        assert_eq!(clock_frequency(""), None);
    }
}
