//! What it costs a server that its sessions could go on elsewhere, as long as nothing fails: the example file server under `wrk`,
//! alone, with either part of protection and with both in turn, and figures 3.9 and 3.10 of the thesis.

use crate::picture::publish;
use crate::programs::{Statistics, of_links, statistics};
use crate::statistics::{median_of, row};
use anyhow::{Context, Result};
use backdoors_tests::deployment::FOLDER;
use backdoors_tests::host::Host;
use backdoors_tests::machine::Machine;
use backdoors_tests::sessions::scene::{NAME, PORT, Served};
use backdoors_tests::sessions::{Machines, Scene, SceneConfig};
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// Connections at once.
const CLIENTS: [usize; 4] = [1, 10, 50, 200];
/// Bytes of the file that is asked for.
const SIZE: usize = 4096;
/// Seconds of a measurement. Short ones in turn tell more than long ones: what else runs on the machine changes meanwhile.
const SECONDS: usize = 1;
/// Between two, until the sessions of the one are forgotten.
const PAUSE: Duration = Duration::from_millis(200);
const UP: Duration = Duration::from_secs(10);

/// A way to run the server.
struct Way {
    name: &'static str,
    service: &'static str,
    port: u16,
    /// In the group whose connections the kernel half captures.
    is_captured: bool,
    /// Attached to the agent, with boxes.
    is_attached: bool,
}

/// All of them; what the others are compared with comes first, and what is promised last. The second is as the first: by what
/// it differs, the others may differ for nothing.
const WAYS: [Way; 5] = [
    Way { name: "alone", service: "alone", port: 9090, is_captured: false, is_attached: false },
    Way { name: "alone again", service: "again", port: 9091, is_captured: false, is_attached: false },
    Way { name: "kernel half", service: "captured", port: 8081, is_captured: true, is_attached: false },
    Way { name: "library", service: "attached", port: 8082, is_captured: false, is_attached: true },
    Way { name: "protected", service: NAME, port: PORT, is_captured: true, is_attached: true },
];

/// What wrk saw.
#[derive(Clone, Copy)]
struct Seen {
    /// Requests a second.
    rate: f64,
    /// Median of the time to an answer, milliseconds.
    latency: f64,
    /// CPU time of client and server for a request, microseconds. What else runs on the machine changes it less than the rest.
    cpu: f64,
}

/// A server that runs.
struct Server<'m> {
    machines: &'m Machines<Host>,
    port: u16,
    pid: u32,
}

pub fn run(rounds: usize, folder: &Path) -> Result<()> {
    let machines = Machines::hosts()?;
    let services = WAYS.iter().filter(|way| way.is_captured || way.is_attached);
    let config = SceneConfig {
        services: services
            .map(|way| Served { name: way.service.into(), port: way.port, lines: String::new() })
            .collect(),
        lines: "sessions = 256\nring = \"128KiB\"\n".to_owned(),
        ..SceneConfig::default()
    };
    let _scene = Scene::install(&machines, &config)?;
    machines.node.shell(&format!("mkdir /run/served && head -c {SIZE} /dev/urandom > /run/served/page"))?;
    let servers = WAYS.iter().map(|way| way.serve(&machines)).collect::<Result<Vec<_>>>()?;
    if let Some(server) = servers.last() {
        tell_programs(server)?;
    }
    println!(
        "clients  way            requests/s  median ms  CPU, us a request   of alone: requests  1 / CPU"
    );
    let mut csv = "clients,alone,protected,alone ms,protected ms\n".to_owned();
    let mut losses = [[0.0_f64; 2]; WAYS.len()];
    for clients in CLIENTS {
        let mut seen = WAYS.each_ref().map(|_| Vec::new());
        for round in 0..rounds {
            // Nobody always comes first.
            for turn in 0..WAYS.len() {
                let index = (round + turn) % WAYS.len();
                std::thread::sleep(PAUSE);
                seen[index].push(servers[index].wrk(clients)?);
            }
        }
        let mut middles = Vec::new();
        for ((way, ways), losses) in WAYS.iter().zip(&seen).zip(&mut losses) {
            let middle = median(ways)?;
            let rates = ratio(ways, &seen[0], |seen| seen.rate)?;
            let work = ratio(&seen[0], ways, |seen| seen.cpu)?;
            for (loss, ratio) in losses.iter_mut().zip([rates, work]) {
                *loss = loss.max((1.0 - ratio) * 100.0);
            }
            println!(
                "{clients:7}  {:13} {:11.0} {:10.3} {:18.1} {rates:21.3} {work:8.3}",
                way.name, middle.rate, middle.latency, middle.cpu
            );
            middles.push(middle);
        }
        if let [alone, .., protected] = middles.as_slice() {
            csv.push_str(&format!(
                "{clients},{},{},{},{}\n",
                alone.rate, protected.rate, alone.latency, protected.latency
            ));
        }
    }
    for (way, [rate, work]) in WAYS.iter().zip(losses).skip(1) {
        println!("{}: at most {rate:.1} % of throughput lost, by CPU time {work:.1} %", way.name);
    }
    let [.., [loss, work]] = losses;
    row(
        "throughput lost by protection, of the worst number of clients",
        &format!("{loss:.1} %"),
        "3.5 %",
        loss / 3.5,
    );
    row("the same by CPU time of client and server", &format!("{work:.1} %"), "3.5 %", work / 3.5);
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

impl Way {
    fn serve<'m>(&self, machines: &'m Machines<Host>) -> Result<Server<'m>> {
        let Way { service, port, .. } = self;
        let server = machines.node.program("backdoors-file-server")?;
        let socket = if self.is_attached {
            format!("env BACKDOORS_SERVICES={FOLDER}/services.sock ")
        } else {
            String::new()
        };
        let enter = if self.is_captured { format!("sh {FOLDER}/enter ") } else { String::new() };
        let log = format!("{FOLDER}/backdoors-file-server-{service}.log");
        let command = format!("{socket}{enter}{server} 0.0.0.0:{port} /run/served {service}");
        let pid = machines.node.start(&command, &log)?;
        machines.node.wait_for("a server", UP, || {
            Ok(machines.node.shell(&format!("cat {log}"))?.contains("ready").then_some(()))
        })?;
        Ok(Server { machines, port: *port, pid })
    }
}

/// What the kernel half's programs take for a request, by the kernel's own statistics, which cost something themselves.
fn tell_programs(server: &Server<'_>) -> Result<()> {
    const CLIENTS: usize = 10;
    let programs = of_links(&server.machines.node)?;
    let _statistics = Statistics::enable()?;
    let before = statistics(&programs);
    let requests = server.wrk(CLIENTS)?.rate * SECONDS as f64;
    for (name, (time, runs)) in statistics(&programs) {
        let (time_before, runs_before) = before.get(&name).copied().unwrap_or_default();
        let (time, runs) = ((time - time_before) as f64, (runs - runs_before) as f64);
        if ["on_arrival", "on_departure", "on_read"].contains(&name.as_str()) {
            println!(
                "{name:<12} {:6.2} runs a request, {:5.0} ns a run, {CLIENTS} clients",
                runs / requests,
                time / runs.max(1.0)
            );
        }
    }
    Ok(())
}

/// Median of the ratios of neighbours.
fn ratio(seen: &[Seen], others: &[Seen], of: fn(&Seen) -> f64) -> Result<f64> {
    let mut ratios: Vec<f64> = seen.iter().zip(others).map(|(seen, other)| of(seen) / of(other)).collect();
    median_of(&mut ratios).context("no measurements")
}

fn median(seen: &[Seen]) -> Result<Seen> {
    let of = |value: fn(&Seen) -> f64| {
        median_of(&mut seen.iter().map(value).collect::<Vec<_>>()).context("no measurements")
    };
    Ok(Seen { rate: of(|seen| seen.rate)?, latency: of(|seen| seen.latency)?, cpu: of(|seen| seen.cpu)? })
}

impl Server<'_> {
    fn wrk(&self, clients: usize) -> Result<Seen> {
        let command = format!(
            "wrk --threads 1 --connections {clients} --duration {SECONDS}s --latency http://{}:{}/page",
            self.machines.service, self.port
        );
        let before = self.cpu()?;
        let text = self.machines.client.shell(&command)?;
        let cpu = self.cpu()? - before;
        let word = |beginning: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(beginning));
            line.map(str::trim).with_context(|| format!("wrk does not tell `{beginning}`: {text}"))
        };
        anyhow::ensure!(!text.contains("Socket errors"), "wrk met errors: {text}");
        let rate: f64 = word("Requests/sec:")?.parse().context("a rate")?;
        let median = word("50%")?;
        let units = [("us", 1e-3), ("ms", 1.0), ("s", 1e3)];
        let latency = units
            .iter()
            .find_map(|(unit, scale)| Some(median.strip_suffix(unit)?.parse::<f64>().ok()? * scale));
        let latency = latency.with_context(|| format!("wrk says `{median}`"))?;
        Ok(Seen { rate, latency, cpu: cpu * 1e6 / (rate * SECONDS as f64) })
    }

    /// CPU time, seconds, of this server and of all that was started here and has ended.
    fn cpu(&self) -> Result<f64> {
        let own = fs::read_to_string("/proc/self/stat")?;
        let server = fs::read_to_string(self.machines.node.path(&format!("/proc/{}/stat", self.pid)))?;
        // Behind the name, which may have spaces: user and system time, and that of children that were waited for.
        let ticks = |text: &str, fields: Range<usize>| {
            let fields = text.rsplit(')').next()?.split_whitespace().skip(fields.start).take(fields.len());
            fields.map(|field| field.parse::<f64>().ok()).sum::<Option<f64>>()
        };
        let sum = ticks(&own, 13..15).zip(ticks(&server, 11..13)).context("no CPU times")?;
        Ok((sum.0 + sum.1) / rustix::param::clock_ticks_per_second() as f64)
    }
}
