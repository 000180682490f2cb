//! `cargo xtask demo`: what a peer can do for a machine, on hosts of this one, told as timelines: a fork bomb is eradicated, and live
//! sessions go on elsewhere.

use anyhow::{Context, Result};
use backdoors_tests::deployment::{Deployment, FOLDER};
use backdoors_tests::healing::{BOMB, Healing, plan};
use backdoors_tests::host::{Host, HostLimits, Network};
use backdoors_tests::machine::Machine;
use backdoors_tests::sessions::story;
use std::net::Ipv4Addr;
use std::process::{Child, Stdio};
use std::time::Duration;

const USER: u32 = 60_666;

/// With a dashboard there is somebody who wants to see how it was before.
const CALM_IN_DASHBOARD: Duration = Duration::from_secs(8);

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        None => healing(false).and_then(|()| live_sessions()),
        Some("healing") => healing(false),
        Some("top") => healing(true),
        Some("sessions") => live_sessions(),
        Some(other) => anyhow::bail!("there is no demonstration `{other}`: say healing, top or sessions"),
    }
}

fn live_sessions() -> Result<()> {
    println!("\n--- live sessions ---");
    let told = story::tell(&mut |line| println!("{line}"))?;
    println!("{}", told.text());
    println!("both clients went on, byte by byte, and saw no reset");
    Ok(())
}

fn healing(in_dashboard: bool) -> Result<()> {
    println!("--- healing ---");
    let healing = Healing {
        user: USER,
        processes: 400,
        calm: if in_dashboard { CALM_IN_DASHBOARD } else { Duration::from_secs(3) },
        patience: Duration::from_secs(30),
    };
    let limits = HostLimits { processes: u64::from(healing.processes), ..HostLimits::default() };
    let network = Network::new()?;
    let target = Host::boot(&network, "target", Ipv4Addr::new(10, 88, 0, 1), limits)?;
    let monitor = Host::boot(&network, "monitor", Ipv4Addr::new(10, 88, 0, 2), limits)?;
    println!("two hosts: target {}, monitor {}", target.address(), monitor.address());

    let mut plan = plan("emulated", "chrt --rr 10");
    // High enough for the bomb to hurt before it is noticed.
    plan.agent =
        "scope = \"pid-namespace\"\n[limits]\n\"user.processes\" = 300\n\"user.fork_rate\" = 100000\n"
            .to_owned();
    let mut deployment = Deployment::install(&target, &monitor, plan)?;
    deployment.start_daemon()?;
    println!("the monitor reads the target's memory through an emulated NIC:\n");
    println!("{}", deployment.backdoors("sensors target")?);
    println!(
        "now the agent on the target is frozen (SIGSTOP), and user {USER} types {BOMB}\nwithin a limit of {} processes\n",
        healing.processes
    );
    let dashboard = in_dashboard.then(|| show(&monitor)).transpose()?;
    let report = healing.watch(&deployment);
    if let Some(mut dashboard) = dashboard {
        // It stays until whoever looks at it has seen enough.
        dashboard.wait().context("the dashboard")?;
    }
    let report = report?;
    println!("{}", report.text());
    println!("the bomb is gone; the agent was frozen all the time");
    Ok(())
}

/// `backdoors top` on this terminal.
fn show(monitor: &Host) -> Result<Child> {
    let program = monitor.program("backdoors")?;
    let socket = format!("{FOLDER}/monitor.sock");
    let mut command = monitor.command(program);
    command
        .args(["top", "--socket", &socket])
        .stdin(Stdio::inherit())
        .spawn()
        .context("starting the dashboard")
}
