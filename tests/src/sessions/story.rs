//! A node that dies in the middle of its work: a large file on its way to curl, a stream of lines to another client, and
//! nobody who orders anything. The monitor finds the verdict, and has both go on.

use super::files;
use super::scene::{Machines, Node, Scene, SceneConfig, Served};
use super::streaming;
use super::wire::Wire;
use crate::deployment::FOLDER;
use crate::host::Host;
use crate::machine::Machine;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::borrow::Cow;
use std::path::Path;
use std::time::{Duration, Instant};

const FILES: Served = Served { name: Cow::Borrowed("files"), port: 8080, lines: String::new() };
const LINES: Served = Served { name: Cow::Borrowed("lines"), port: 7070, lines: String::new() };
/// Bytes of the file, and how many of them a second curl takes.
const SIZE: usize = 48 << 20;
const RATE: usize = 12 << 20;
/// Lines of the stream, and how many a second.
const COUNT: usize = 5000;
const A_SECOND: usize = 1000;

/// What was seen.
#[derive(Debug)]
pub struct Told {
    /// The journal from the fault on.
    pub journal: Vec<Value>,
    /// When the node stood still, nanoseconds since 1970.
    pub struck_at: u64,
    /// SHA-256 of the file, at the node and as curl got it.
    pub sums: [String; 2],
    /// Lines that came, each one once and in order.
    pub lines: usize,
    /// The longest time that no line came.
    pub stall: Duration,
}

/// Lets it happen.
///
/// # Errors
/// What did not go on, or not exactly; the message has what everybody printed.
pub fn tell(say: &mut dyn FnMut(&str)) -> Result<Told> {
    let machines = Machines::hosts()?;
    let config = SceneConfig {
        services: vec![FILES, LINES],
        limits: "\"agent.heartbeat\" = 400000000\n".to_owned(),
        rules: "[[target.rule]]\nlayer = \"user-space\"\nrecover = true\n".to_owned(),
        ..SceneConfig::default()
    };
    let scene = Scene::install(&machines, &config)?;
    happen(&machines, &scene, say).with_context(|| scene.logs())
}

fn happen(machines: &Machines<Host>, scene: &Scene<'_, Host>, say: &mut dyn FnMut(&str)) -> Result<Told> {
    let address = machines.service;
    say(&format!(
        "three hosts: a client, the node that serves it at {address}, and a standby that reads the node's memory"
    ));
    let streaming = streaming::build()?;
    let (servers, sum) = serve(machines, scene, &streaming)?;
    let resets = Wire::watch(&machines.client, "tcp[tcpflags] & tcp-rst != 0")?;

    let curl = format!(
        "curl --silent --show-error --limit-rate {RATE} --output {FOLDER}/got http://{}/large",
        machines.service_at(FILES.port)
    );
    let curl = machines.client.start(&curl, &format!("{FOLDER}/curl.log"))?;
    // It says all that it has to say and waits; nc closes when the other end does.
    let listen = format!(
        "sh -c '{{ echo \"STREAM {A_SECOND} {COUNT}\"; sleep 60; }} | nc -q 0 {address} {} > {FOLDER}/lines'",
        LINES.port
    );
    machines.client.start(&listen, &format!("{FOLDER}/nc.log"))?;
    let came = || {
        Ok::<_, anyhow::Error>(
            machines
                .client
                .shell(&format!("cat {FOLDER}/lines 2>/dev/null | wc -l"))?
                .trim()
                .parse::<usize>()?,
        )
    };
    machines
        .client
        .wait_for("a stream that flows", Duration::from_secs(20), || Ok((came()? > 500).then_some(())))?;
    say(
        "curl downloads a large file, and another client reads a stream of lines; the sessions, as the standby sees them:\n",
    );
    say(&scene.deployment.backdoors("boxes target")?);

    let known = scene.deployment.journal()?.len();
    say("now no process of the node runs any more: servers and agent stand still (SIGSTOP)");
    for server in servers {
        machines.node.signal("STOP", server)?;
    }
    scene.deployment.freeze_agent()?;
    let struck_at = crate::healing::now();
    let stall = longest_without(machines, &came)?;
    machines.client.wait_for("curl's end", Duration::from_secs(60), || {
        Ok(machines.client.shell(&format!("test -d /proc/{curl}")).is_err().then_some(()))
    })?;
    let sums = [sum, files::sum_of(&machines.client, &format!("{FOLDER}/got"))?];
    let complaint = machines.client.shell(&format!("cat {FOLDER}/curl.log"))?;
    ensure!(sums[0] == sums[1], "curl got another file: {complaint}");
    let lines = check_lines(&machines.client.shell(&format!("cat {FOLDER}/lines"))?)?;
    let seen = resets.end()?;
    ensure!(seen.is_empty(), "connections were reset: {seen:?}");
    let journal = scene.deployment.journal()?.into_iter().skip(known).collect();
    Ok(Told { journal, struck_at, sums, lines, stall })
}

/// Starts both servers on both nodes, with the same file; returns the node's, and the file's sum.
fn serve(machines: &Machines<Host>, scene: &Scene<'_, Host>, streaming: &Path) -> Result<([u32; 2], String)> {
    files::put(&machines.node, SIZE)?;
    files::put(&machines.standby, SIZE)?;
    let sum = files::sum(&machines.node)?;
    let server = machines.node.program("backdoors-file-server")?;
    let start = |node| -> Result<[u32; 2]> {
        let at = format!("0.0.0.0:{} {} {}", FILES.port, files::FOLDER, FILES.name);
        let files = scene.serve(node, &server, &at)?;
        let lines =
            scene.serve(node, &streaming.display().to_string(), &format!("{} {}", LINES.name, LINES.port))?;
        Ok([files, lines])
    };
    let first = start(Node::First)?;
    start(Node::Standby)?;
    Ok((first, sum))
}

/// Watches the lines come until there are all of them; returns the longest time without a new one.
fn longest_without(machines: &Machines<Host>, came: &dyn Fn() -> Result<usize>) -> Result<Duration> {
    let (mut longest, mut last) = (Duration::ZERO, (came()?, Instant::now()));
    machines.client.wait_for("all lines", Duration::from_secs(60), || {
        let count = came()?;
        if count > last.0 {
            longest = longest.max(last.1.elapsed());
            last = (count, Instant::now());
        }
        Ok((count == COUNT).then_some(()))
    })?;
    Ok(longest)
}

fn check_lines(text: &str) -> Result<usize> {
    for (number, line) in (1..).zip(text.lines()) {
        let told = line.strip_prefix("line ").and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
        ensure!(told == Some(number), "where line {number} should be is `{line}`");
    }
    Ok(text.lines().count())
}

impl Told {
    /// The timeline, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for entry in &self.journal {
            let at = entry["time_ns"].as_u64().unwrap_or_default().saturating_sub(self.struck_at);
            let what = entry["text"].as_str().unwrap_or_default();
            text.push_str(&format!("{:>8.1} ms  {what}\n", at as f64 / 1e6));
        }
        text.push_str(&format!(
            "\nthe file at the node  {}\nthe file that curl got {}\n{} lines came, each once and in order; the longest time without one was {} ms\n",
            self.sums[0],
            self.sums[1],
            self.lines,
            self.stall.as_millis()
        ));
        text
    }
}
