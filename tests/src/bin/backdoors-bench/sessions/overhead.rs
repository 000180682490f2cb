//! What it costs a server that its sessions could go on elsewhere, as long as nothing fails: the example file server under `wrk`,
//! alone and protected in turn, and figures 3.9 and 3.10 of the thesis.

use crate::picture::publish;
use crate::statistics::{median_of, row};
use anyhow::{Context, Result};
use backdoors_tests::machine::Machine;
use backdoors_tests::sessions::scene::{NAME, PORT};
use backdoors_tests::sessions::{Machines, Node, Scene, SceneConfig};
use std::path::Path;

/// Connections at once.
const CLIENTS: [usize; 4] = [1, 10, 50, 200];
/// Where the server serves that knows of no agent.
const ALONE: u16 = 9090;
/// Bytes of the file that is asked for.
const SIZE: usize = 4096;
/// Seconds of a measurement.
const SECONDS: usize = 4;

/// What wrk saw.
#[derive(Clone, Copy)]
struct Seen {
    /// Requests a second.
    rate: f64,
    /// Median of the time to an answer, milliseconds.
    latency: f64,
}

pub fn run(rounds: usize, folder: &Path) -> Result<()> {
    let machines = Machines::hosts()?;
    let lines = "sessions = 256\nring = \"128KiB\"\n".to_owned();
    let scene = Scene::install(&machines, &SceneConfig { lines, ..SceneConfig::default() })?;
    machines.node.shell(&format!("mkdir /run/served && head -c {SIZE} /dev/urandom > /run/served/page"))?;
    let server = machines.node.program("backdoors-file-server")?;
    scene.serve(Node::First, &server, &format!("0.0.0.0:{PORT} /run/served {NAME}"))?;
    // Outside of the group that is captured, and without the agent's socket.
    let alone = format!("{server} 0.0.0.0:{ALONE} /run/served");
    machines.node.start(&alone, "/run/backdoors/alone.log")?;
    println!("clients  alone: requests/s, median ms   protected: requests/s, median ms   ratio");
    let mut csv = "clients,alone,protected,alone ms,protected ms\n".to_owned();
    let mut ratios = Vec::new();
    for clients in CLIENTS {
        let mut seen = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            for (port, seen) in [ALONE, PORT].into_iter().zip(&mut seen) {
                seen.push(wrk(&machines, clients, port)?);
            }
        }
        let [alone, protected] = seen.map(|seen| median(&seen));
        let (alone, protected) = (alone?, protected?);
        let ratio = protected.rate / alone.rate;
        println!(
            "{clients:7} {:18.0} {:10.3} {:22.0} {:10.3} {ratio:12.3}",
            alone.rate, alone.latency, protected.rate, protected.latency
        );
        csv.push_str(&format!(
            "{clients},{},{},{},{}\n",
            alone.rate, protected.rate, alone.latency, protected.latency
        ));
        ratios.push(ratio);
    }
    let worst = ratios.iter().fold(f64::MAX, |worst, ratio| worst.min(*ratio));
    let loss = (1.0 - worst) * 100.0;
    row(
        "throughput lost by protection, of the worst number of clients",
        &format!("{loss:.1} %"),
        "3.5 %",
        loss / 3.5,
    );
    let bars = "set style data histograms\nset style fill solid 0.6\nset yrange [0:*]\nset key left top\nset xlabel 'clients'\n";
    publish(
        folder,
        "sessions-throughput",
        &csv,
        &format!(
            "{bars}set ylabel 'requests a second'\nplot DATA using 2:xtic(1) title 'alone', '' using 3 title 'protected'"
        ),
    )?;
    publish(
        folder,
        "sessions-latency",
        &csv,
        &format!(
            "{bars}set ylabel 'median time to an answer, ms'\nplot DATA using 4:xtic(1) title 'alone', '' using 5 title 'protected'"
        ),
    )
}

fn median(seen: &[Seen]) -> Result<Seen> {
    let of = |value: fn(&Seen) -> f64| {
        median_of(&mut seen.iter().map(value).collect::<Vec<_>>()).context("no measurements")
    };
    Ok(Seen { rate: of(|seen| seen.rate)?, latency: of(|seen| seen.latency)? })
}

fn wrk(machines: &Machines<backdoors_tests::host::Host>, clients: usize, port: u16) -> Result<Seen> {
    let command = format!(
        "wrk --threads 1 --connections {clients} --duration {SECONDS}s --latency http://{}:{port}/page",
        machines.service
    );
    let text = machines.client.shell(&command)?;
    let word = |beginning: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(beginning));
        line.map(str::trim).with_context(|| format!("wrk does not tell `{beginning}`: {text}"))
    };
    anyhow::ensure!(!text.contains("Socket errors"), "wrk met errors: {text}");
    let rate = word("Requests/sec:")?.parse().context("a rate")?;
    let median = word("50%")?;
    let units = [("us", 1e-3), ("ms", 1.0), ("s", 1e3)];
    let latency =
        units.iter().find_map(|(unit, scale)| Some(median.strip_suffix(unit)?.parse::<f64>().ok()? * scale));
    Ok(Seen { rate, latency: latency.with_context(|| format!("wrk says `{median}`"))? })
}
