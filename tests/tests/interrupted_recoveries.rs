//! Recoveries whose monitor dies half-way: the next one does what nobody has heard of, and tells what became of the rest.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use anyhow::{Context, Result, ensure};
use backdoors_tests::host::Host;
use backdoors_tests::machine::Machine;
use backdoors_tests::sessions::scene::PORT;
use backdoors_tests::sessions::wire::{Wire, breaks, card};
use backdoors_tests::sessions::{Machines, Node, Scene, SceneConfig};
use serde_json::Value;
use std::time::Duration;

const SESSIONS: usize = 200;
const LOG: &str = "/run/backdoors/client.log";
const PATIENCE: Duration = Duration::from_secs(30);
/// The announcing command of the first recovery ends who runs it.
const DIES_ANNOUNCING: &str = "announce = [\"sh\", \"-c\", \"test -e /run/backdoors/died || { touch /run/backdoors/died; kill -KILL $PPID; }\"]\n";

/// Clients in the middle of their downloads, and the network's record of ends.
struct Served<'m> {
    machines: &'m Machines<Host>,
    wire: Wire,
}

impl<'m> Served<'m> {
    fn begin(machines: &'m Machines<Host>, scene: &Scene<'_, Host>) -> Result<(Served<'m>, u32)> {
        let (program, at) = (machines.node.program("backdoors-echo")?, format!("0.0.0.0:{PORT}"));
        let server = scene.serve(Node::First, &program, &at)?;
        scene.serve(Node::Standby, &program, &at)?;
        let wire = Wire::watch_ends(&machines.client, PORT..PORT + 1)?;
        let client = machines.client.program("backdoors-client")?;
        // They say something all the time: who says nothing hears nothing of its session's end.
        let arguments = format!("echo --write {} --piece 777 --pause 25 --sessions {SESSIONS}", 777 * 500);
        machines.client.start(&format!("{client} {} {arguments}", machines.service_at(PORT)), LOG)?;
        machines.client.wait_for("clients", PATIENCE, || {
            let said = machines.client.shell(&format!("cat {LOG}"))?;
            Ok((said.matches("connected").count() == SESSIONS).then_some(()))
        })?;
        Ok((Served { machines, wire }, server))
    }

    /// How many get all that they wanted, in the end. If that is everybody no connection was reset.
    fn end(self) -> Result<usize> {
        let host = &self.machines.client;
        let ends = host.wait_for("the clients' end", PATIENCE * 3, || {
            let said = host.shell(&format!("cat {LOG}"))?;
            let ends: Vec<String> = said
                .lines()
                .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()))
                .map(str::to_owned)
                .collect();
            Ok((ends.len() == SESSIONS).then_some(ends))
        })?;
        let served = ends.iter().filter(|end| end.ends_with(" ok")).count();
        let broken = breaks(&self.wire.end()?, self.machines.service);
        ensure!(served < SESSIONS || broken.is_empty(), "connections were reset: {broken:?}");
        Ok(served)
    }
}

/// How many sessions were resumed, went on already, and are lost.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    resumed: usize,
    earlier: usize,
    lost: usize,
}

fn read_report(text: &str) -> Result<Told> {
    let report: Value = serde_json::from_str(text).with_context(|| text.to_owned())?;
    ensure!(report["outcome"] == "done", "{text}");
    let sessions = report["sessions"].as_array().context("no sessions")?;
    let count = |is: fn(&Value) -> bool| sessions.iter().filter(|session| is(&session["fate"])).count();
    Ok(Told {
        resumed: count(|fate| fate.get("resumed").is_some()),
        earlier: count(|fate| fate == "earlier"),
        lost: count(|fate| fate.get("lost").is_some()) + report["unreadable"].as_array().map_or(0, Vec::len),
    })
}

fn has_address(host: &Host, interface: &str) -> Result<bool> {
    Ok(host.shell(&format!("ip -o address show {interface}"))?.contains("10.99.0.80"))
}

fn wait_for_death(scene: &Scene<'_, Host>) -> Result<()> {
    let (host, pid) = (&scene.machines().standby, scene.deployment.daemon());
    let gone = format!("test -d /proc/{pid} && grep -q '^State:.[^ZX]' /proc/{pid}/status || echo gone");
    host.wait_for("the monitor's death", PATIENCE, || Ok(host.shell(&gone)?.contains("gone").then_some(())))
}

fn config(rules: &str) -> SceneConfig {
    SceneConfig {
        lines: format!("sessions = {}\nring = \"128KiB\"\n", SESSIONS.next_power_of_two()),
        rules: rules.to_owned(),
        ..SceneConfig::default()
    }
}

/// What the standby says to anybody on the service's behalf, be it to ask for a client's card.
fn watch_standby(machines: &Machines<Host>) -> Result<Wire> {
    let card = card(&machines.standby, "eth1")?;
    Wire::watch(&machines.client, &format!("ether src {card} and (tcp port {PORT} or arp)"))
}

/// The same monitor is started again after it died by `rules`, or by what `kill` starts on the standby, which is told its process
/// id.
fn is_finished_or_told(rules: &str, kill: impl FnOnce(&Host, u32) -> Result<()>) {
    let machines = Machines::hosts().unwrap();
    let mut scene = Scene::install(&machines, &config(rules)).unwrap();
    let happen = |scene: &mut Scene<'_, Host>| -> Result<()> {
        let (served, server) = Served::begin(&machines, scene)?;
        machines.node.signal("STOP", server)?;
        kill(&machines.standby, scene.deployment.daemon())?;
        let said = watch_standby(&machines)?;
        let (code, _) = scene.deployment.try_backdoors("recover target --json")?;
        wait_for_death(scene)?;
        let was_announced = has_address(&machines.standby, "eth1")?;
        ensure!(code != 0 || was_announced, "the monitor says that it is done, and it is not");
        let said = said.end()?;
        ensure!(was_announced || said.is_empty(), "the standby was not silent: {said:?}");
        scene.deployment.start_daemon()?;
        let (_, text) = scene.deployment.try_backdoors("recover target --json")?;
        let told = read_report(&text)?;
        if was_announced {
            ensure!(told.resumed == 0 && told.earlier + told.lost == SESSIONS, "{told:?}");
        } else {
            ensure!(told == Told { resumed: SESSIONS, earlier: 0, lost: 0 }, "{told:?}: {text}");
        }
        ensure!(has_address(&machines.standby, "eth1")? && !has_address(&machines.standby, "lo")?);
        // Once more changes nothing.
        let (_, text) = scene.deployment.try_backdoors("recover target --json")?;
        let again = read_report(&text)?;
        let all = Told { resumed: 0, earlier: told.resumed + told.earlier, lost: told.lost };
        ensure!(again == all, "first {told:?}, then {again:?}");
        let served = served.end()?;
        ensure!(served == all.earlier, "{served} clients got everything: {told:?}");
        Ok(())
    };
    happen(&mut scene).unwrap_or_else(|error| panic!("{error:#}\n{}", scene.logs()));
}

/// Ends a monitor so long after an interface of its machine has got the service's address: the loopback device when the recovery
/// begins, the card when it announces. Whoever waits for that goes before the recovery, which goes before all ordinary processes.
fn ends_after(interface: &str, delay: &str) -> impl FnOnce(&Host, u32) -> Result<()> {
    let look = format!("until ip -o address show {interface} | grep -q 10.99.0.80; do :; done");
    let wait = format!("sleep {delay}");
    move |host, pid| {
        let command = format!("chrt -f 10 sh -c '{look}; {wait}; kill -KILL {pid}'");
        host.start(&command, "/run/backdoors/kill.log").map(drop)
    }
}

#[test]
fn what_a_monitor_that_dies_before_it_tells_anybody_leaves_is_finished_when_it_is_started_again() {
    is_finished_or_told(DIES_ANNOUNCING, |_, _| Ok(()));
}

#[test]
fn whatever_a_monitor_has_done_when_it_dies_the_next_order_finishes() {
    for delay in ["0", "0.01"] {
        is_finished_or_told("", ends_after("lo", delay));
    }
}

#[test]
fn whoever_speaks_when_a_monitor_dies_the_next_order_tells_who_goes_on() {
    for delay in ["0", "0.004", "0.01"] {
        is_finished_or_told("", ends_after("eth1", delay));
    }
}

/// The node stands still, so nobody can connect to it any more: who finishes is a monitor that had.
#[test]
fn another_machine_finishes_what_a_monitor_began_and_told_nobody_if_that_is_ordered() {
    let machines = Machines::hosts().unwrap();
    let scene = Scene::install(&machines, &config(DIES_ANNOUNCING)).unwrap();
    let happen = || -> Result<()> {
        let second = machines.boot_second()?;
        let program = machines.node.program("backdoors-echo")?;
        let watcher = scene.watch_node(&second, &program, &format!("0.0.0.0:{PORT}"))?;
        let (served, server) = Served::begin(&machines, &scene)?;
        machines.node.signal("STOP", server)?;
        scene.deployment.freeze_agent()?;
        let (code, text) = scene.deployment.try_backdoors("recover target --json")?;
        ensure!(code != 0, "the monitor outlived it: {text}");
        wait_for_death(&scene)?;
        let refused = machines.client.wait_for("the dead monitor's lease to run out", PATIENCE, || {
            let (code, text) = watcher.try_backdoors("recover target")?;
            ensure!(code != 0, "{text}");
            Ok((!text.contains("lease")).then_some(text))
        })?;
        ensure!(refused.contains("another monitor has fenced the target"), "{refused}");
        let (code, text) = watcher.try_backdoors("recover target --after-another --json")?;
        ensure!(code == 0, "{text}");
        ensure!(read_report(&text)? == Told { resumed: SESSIONS, earlier: 0, lost: 0 }, "{text}");
        ensure!(served.end()? == SESSIONS);
        Ok(())
    };
    happen().unwrap_or_else(|error| panic!("{error:#}\n{}", scene.logs()));
}
