//! Sessions that outlive two machines, one after the other.

use super::rows::{Client, Clients};
use super::scene::{Machines, Node, PORT, Scene, SceneConfig};
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
    let config = SceneConfig {
        lines: format!("sessions = {}\nring = \"128KiB\"\n", sessions.next_power_of_two().max(16)),
        ..SceneConfig::default()
    };
    let scene = Scene::install(&machines, &config)?;
    happen(&machines, &scene, client, sessions).with_context(|| format!("{client:?}\n{}", scene.logs()))
}

fn happen(
    machines: &Machines<Host>,
    scene: &Scene<'_, Host>,
    client: Client,
    sessions: usize,
) -> Result<Vec<Duration>> {
    let script = client.script(machines, sessions)?;
    let (server, at) = (machines.node.program("backdoors-echo")?, PORT.to_string());
    let first = scene.serve(Node::First, &server, &at)?;
    let next = scene.serve(Node::Standby, &server, &at)?;
    let second = machines.boot_second()?;
    let watcher = scene.watch_standby(&second, &server, &at)?;
    let clients = Clients::connect(machines, client, sessions, &script)?;
    Client::begin(&machines.client)?;
    // In the middle of it.
    std::thread::sleep(Duration::from_millis(500));
    clients.are_served()?;
    machines.node.signal("STOP", first)?;
    scene.deployment.freeze_agent()?;
    let (code, text) = scene.deployment.try_backdoors("recover target --json")?;
    ensure!(code == 0, "not all were resumed at the standby: {text}");
    std::thread::sleep(Duration::from_millis(500));
    clients.are_served()?;
    for pid in [next, scene.standby_agent, scene.deployment.daemon()] {
        machines.standby.signal("STOP", pid)?;
    }
    let (code, text) = watcher.try_backdoors("recover standby --json")?;
    ensure!(code == 0, "not all were resumed at the second standby: {text}\n{}", watcher.logs());
    clients.end()
}
