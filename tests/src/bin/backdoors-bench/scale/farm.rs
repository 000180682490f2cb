//! Many made-up targets in one process: emulated NICs, each of which serves as many targets as it takes monitors.

use crate::daemon::{Running, until};
use anyhow::{Context, Result, bail};
use backdoors_rdma::emulated;
use backdoors_rdma::handshake::{Certificate, Identity};
use backdoors_rdma::owner::MemoryOwner;
use backdoors_sensor_box::layout::COMMAND_SLOTS;
use backdoors_tests::made_up_target::{bump, register, shake_hands_as};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(clap::Args)]
pub struct Arguments {
    /// Folder with the keys, in which the addresses are told
    folder: PathBuf,
    /// Targets
    targets: usize,
    /// Sensors of each
    sensors: u32,
}

const ADDRESSES: &str = "addresses";

/// The process with the targets.
pub struct Farm {
    _running: Running,
    addresses: Vec<String>,
}

impl Farm {
    /// Starts it. The folder has the identities `target` and `monitor`.
    pub fn start(folder: &Path, targets: usize, sensors: u32) -> Result<Farm> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("farm").arg(folder).args([targets.to_string(), sensors.to_string()]);
        let running = Running::start(command)?;
        let addresses = until("the made-up targets do not come up", || {
            let text = fs::read_to_string(folder.join(ADDRESSES)).unwrap_or_default();
            let whole = text.ends_with("end\n");
            Ok(whole.then(|| text.lines().map(str::to_owned).filter(|line| line != "end").collect()))
        })?;
        Ok(Farm { _running: running, addresses })
    }

    /// Where the target with this number shakes hands.
    pub fn address_of(&self, number: usize) -> &str {
        &self.addresses[number / COMMAND_SLOTS]
    }
}

/// The process itself.
pub fn run(arguments: &Arguments) -> Result<()> {
    let folder = &arguments.folder;
    let target = Identity::load(folder, "target")?;
    let monitor = Certificate::load(&folder.join("monitor.crt"))?;
    let mut addresses = String::new();
    for _ in 0..arguments.targets.div_ceil(COMMAND_SLOTS) {
        let mut nic = emulated::Nic::new(([127, 0, 0, 1], 0).into(), None)?;
        bump(&register(&mut nic, arguments.sensors)?)?;
        let slots = AtomicU32::new(0);
        let address = shake_hands_as(nic, &target, &monitor, move |nic, _, hello| {
            let slot = slots.fetch_add(1, Ordering::Relaxed) % COMMAND_SLOTS as u32;
            nic.admit(&format!("monitor{slot}"), slot, &hello.endpoints).map_err(|error| error.to_string())
        })?;
        addresses.push_str(&format!("{address}\n"));
    }
    addresses.push_str("end\n");
    fs::write(folder.join(ADDRESSES), addresses).context("telling the addresses")?;
    loop {
        std::thread::park();
        if !folder.exists() {
            bail!("nobody needs these targets any more");
        }
    }
}
