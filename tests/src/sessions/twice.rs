//! Sessions that outlive two machines, one after the other.

use super::clients::Client;
use super::crowd::{self, Crowd};
use super::scene::{Machines, Node, PORT, Scene};
use super::wire::{Wire, end_unbroken};
use crate::host::Host;
use crate::machine::Machine;
use anyhow::{Context, Result, ensure};
use std::time::Duration;

/// Has every process of the node stand still, then every process of the standby, while clients of this kind are served. All
/// must get, byte by byte, what they would have got without, and no connection may be reset. Returns how long each was without a byte at
/// most.
///
/// # Errors
/// What was not so; the message has what everybody printed.
pub fn run(client: Client, sessions: usize) -> Result<Vec<Duration>> {
    let machines = Machines::hosts()?;
    let crowd = Crowd::new(&machines, client, sessions, 0);
    let scene = Scene::install(&machines, &crowd::scene(std::slice::from_ref(&crowd)))?;
    happen(&scene, &crowd).with_context(|| format!("{client:?}\n{}", scene.logs()))
}

fn happen(scene: &Scene<'_, Host>, crowd: &Crowd<'_, Host>) -> Result<Vec<Duration>> {
    let machines = scene.machines();
    let (first, next) = (crowd.serve(scene, Node::First)?, crowd.serve(scene, Node::Standby)?);
    let second = machines.boot_second()?;
    let (server, arguments) = crowd.server()?;
    let watcher = scene.watch_standby(&second, &server, &arguments)?;
    let wire = Wire::watch_ends(&machines.client, PORT..PORT + 1)?;
    crowd.connect()?;
    crowd.begin()?;
    // In the middle of it.
    std::thread::sleep(Duration::from_millis(500));
    crowd.is_served()?;
    machines.node.signal("STOP", first)?;
    scene.deployment.freeze_agent()?;
    let (code, text) = scene.deployment.try_backdoors("recover target --json")?;
    ensure!(code == 0, "not all were resumed at the standby: {text}");
    std::thread::sleep(Duration::from_millis(500));
    crowd.is_served()?;
    for pid in [next, scene.standby_agent, scene.deployment.daemon()] {
        machines.standby.signal("STOP", pid)?;
    }
    let (code, text) = watcher.try_backdoors("recover standby --json")?;
    ensure!(code == 0, "not all were resumed at the second standby: {text}\n{}", watcher.logs());
    let stalls = crowd.end()?;
    end_unbroken(wire, machines.service)?;
    Ok(stalls)
}
