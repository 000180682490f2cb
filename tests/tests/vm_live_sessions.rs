//! Live sessions that outlive their node's kernel: guests, of which the node's memory is read by a NIC outside of it.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use anyhow::{Result, ensure};
use backdoors_tests::machine::Machine;
use backdoors_tests::sessions::scene::PORT;
use backdoors_tests::sessions::{Machines, Node, Scene, SceneConfig};
use backdoors_tests::vm::{Kernel, Vm, VmError, break_kernel};
use std::time::Duration;

fn goes_on(strike: fn(&Vm) -> Result<(), VmError>) {
    let machines = Machines::guests(Kernel::Newest).unwrap();
    let config =
        SceneConfig { lines: "sessions = 8\nring = \"128KiB\"\n".to_owned(), ..SceneConfig::default() };
    let scene = Scene::install(&machines, &config).unwrap();
    let happen = || -> Result<()> {
        let at = PORT.to_string();
        scene.serve(Node::First, "backdoors-echo", &at)?;
        scene.serve(Node::Standby, "backdoors-echo", &at)?;
        let log = "/run/client.log";
        let said = |log: &str| machines.client.shell(format!("cat {log}")).map_err(anyhow::Error::from);
        let service = machines.service;
        let both = "/run/echo.log";
        machines
            .client
            .start(&format!("backdoors-client {service}:{PORT} 'download 3000000' --rate 200000"), log)?;
        machines.client.start(
            &format!("backdoors-client {service}:{PORT} echo --write 200000 --piece 700 --pause 30"),
            both,
        )?;
        for log in [log, both] {
            machines.client.wait_for("a client", Duration::from_secs(60), || {
                Ok(said(log)?.contains("connected").then_some(()))
            })?;
        }
        std::thread::sleep(Duration::from_secs(2));
        strike(&machines.node)?;
        let (code, report) = scene.deployment.try_backdoors("recover target")?;
        println!("{report}");
        ensure!(code == 0, "{report}");
        for log in [log, both] {
            let line = machines.client.wait_for("a client's end", Duration::from_secs(120), || {
                Ok(said(log)?.lines().find(|line| line.contains(' ')).map(str::to_owned))
            })?;
            println!("{line}");
            ensure!(line.ends_with("ok"), "a client says: {line}");
        }
        Ok(())
    };
    happen().unwrap_or_else(|error| panic!("{error:#}\n{}", scene.deployment.first().logs()));
}

/// With `cargo xtask test --full`, as it takes as long as the other one.
#[test]
fn sessions_go_on_when_their_node_panics() {
    if std::env::var_os("BACKDOORS_FULL").is_some() {
        goes_on(break_kernel::panic);
    }
}

#[test]
fn sessions_go_on_when_every_processor_of_their_node_spins_with_interrupts_off() {
    goes_on(break_kernel::hang_all);
}
