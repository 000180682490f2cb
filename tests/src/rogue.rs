//! A monitor that keeps to no rules, as tests send it out: the program `backdoors-rogue`.

use crate::deployment::{Deployment, FOLDER, Watcher};
use crate::host::Host;
use crate::machine::Machine;
use anyhow::{Context, Result, bail};
use backdoors_sensor_box::Opcode;
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// The words that have the rogue give a command.
#[must_use]
pub fn order(opcode: Opcode, subject: u32) -> String {
    format!("command --opcode {} --subject {subject}", opcode as u32)
}

/// Runs the rogue on a monitor's machine, with that one's keys; returns what it printed.
///
/// # Errors
/// If it fails or prints something else than JSON.
pub fn deed_of(deployment: &Deployment<'_, Host>, watcher: &Watcher<'_, Host>, deed: &str) -> Result<Value> {
    let program = watcher.machine.program("backdoors-rogue")?;
    let (address, name) = (deployment.target.address(), watcher.name);
    let (code, printed) = watcher.try_command(&format!(
        "{program} --address {address}:7801 --certificate {FOLDER}/target.crt --identity {FOLDER} --name {name} {deed}"
    ))?;
    if code != 0 {
        bail!("`{deed}`: {printed}");
    }
    serde_json::from_str(&printed).with_context(|| format!("`{deed}`: {printed}"))
}

/// Starts a process of `user` on the target that sleeps; returns its process id.
///
/// # Errors
/// If it does not come up.
pub fn start_as(deployment: &Deployment<'_, Host>, user: u32) -> Result<u32> {
    deployment.target.shell_as(user, "exec sleep 1000")?;
    deployment.target.wait_for("a process", PATIENCE, || {
        let script = format!(
            "for p in /proc/[0-9]*; do awk '/^Name:/ {{ n = $2 }} /^Uid:/ {{ u = $2 }} /^Pid:/ {{ p = $2 }} \
             END {{ if (u == {user} && n == \"sleep\") print p }}' $p/status 2>/dev/null; done; true"
        );
        Ok(deployment.target.shell(&script)?.trim().parse().ok())
    })
}
