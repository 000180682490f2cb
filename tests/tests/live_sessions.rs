//! Live sessions that outlive their node, on hosts of this machine's kernel.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use anyhow::Result;
use backdoors_tests::machine::Machine;
use backdoors_tests::sessions::scene::PORT;
use backdoors_tests::sessions::wire::Wire;
use backdoors_tests::sessions::{Machines, Node, Scene, SceneConfig};
use std::time::Duration;

#[test]
fn a_download_goes_on_at_the_standby() {
    let machines = Machines::hosts().unwrap();
    let scene = Scene::install(&machines, &SceneConfig::default()).unwrap();
    download_goes_on(&machines, &scene).unwrap_or_else(|error| panic!("{error:#}\n{}", scene.logs()));
}

fn download_goes_on(
    machines: &Machines<backdoors_tests::host::Host>,
    scene: &Scene<'_, backdoors_tests::host::Host>,
) -> Result<()> {
    let first = scene.serve(Node::First, "backdoors-echo", &PORT.to_string())?;
    scene.serve(Node::Standby, "backdoors-echo", &PORT.to_string())?;
    let resets = Wire::watch_resets(&machines.client, PORT)?;
    let client = machines.client.program("backdoors-client")?;
    let at = machines.service;
    let log = "/run/backdoors/client.log";
    machines.client.start(&format!("{client} {at}:{PORT} 'download 20000000' --rate 5000000"), log)?;
    std::thread::sleep(Duration::from_secs(1));
    println!("{}", scene.deployment.backdoors("boxes target")?);
    println!("{}", scene.deployment.backdoors("recover target --dry-run")?);
    machines.node.signal("STOP", first)?;
    machines.node.signal("STOP", scene.deployment.agent)?;
    println!("{:?}", scene.deployment.try_backdoors("recover target")?);
    let said = machines.client.wait_for("the client's end", Duration::from_secs(30), || {
        let text = machines.client.shell(&format!("cat {log}"))?;
        Ok(text.lines().find(|line| line.contains(' ')).map(str::to_owned))
    })?;
    println!("{said}");
    anyhow::ensure!(said.ends_with("ok"), "{said}");
    let seen = resets.end()?;
    anyhow::ensure!(seen.is_empty(), "{seen:?}");
    Ok(())
}
