//! How long a client's stream stands still when its node dies and its session goes on elsewhere, against the client's own
//! retransmission timeout at that moment. The order to recover, given right after the fault, stands for the verdict.

use crate::statistics::{median, row};
use anyhow::{Context, Result, ensure};
use backdoors_tests::host::Host;
use backdoors_tests::machine::Machine;
use backdoors_tests::sessions::scene::PORT;
use backdoors_tests::sessions::stream::bytes;
use backdoors_tests::sessions::{Machines, Node, Scene, SceneConfig};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SESSIONS: [usize; 3] = [1, 20, 200];
/// Before the fault, and after the recovery.
const WHILE: Duration = Duration::from_secs(1);
/// The kernel's own are larger, and a client would read from them and write into them for a while without noticing anything.
const BUFFER: usize = 16 << 10;
const PIECE: usize = 4 << 10;
const PATIENCE: Duration = Duration::from_secs(20);

/// Clients are under way, then their stalls count, then they leave.
const UNDER_WAY: u8 = 0;
const COUNTED: u8 = 1;
const OVER: u8 = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Download,
    Upload,
}

/// What became of one client.
struct Seen {
    timeout: Duration,
    stall: Duration,
}

impl Seen {
    fn ratio(&self) -> f64 {
        self.stall.as_secs_f64() / self.timeout.as_secs_f64()
    }
}

pub fn run(rounds: usize) -> Result<()> {
    println!(
        "direction  sessions  round  RTO, median ms  stall, median ms  worst  of its own RTO: median  worst"
    );
    for (direction, name) in [(Direction::Download, "download"), (Direction::Upload, "upload")] {
        for sessions in SESSIONS {
            let mut worst = 0.0_f64;
            for round in 1..=rounds {
                let seen = direction.happen(sessions)?;
                let [mut timeouts, mut stalls] = [|seen: &Seen| seen.timeout, |seen: &Seen| seen.stall]
                    .map(|value| seen.iter().map(value).collect::<Vec<_>>());
                let mut ratios: Vec<f64> = seen.iter().map(Seen::ratio).collect();
                let middle = |times: &mut [Duration]| {
                    Ok::<_, anyhow::Error>(milliseconds(median(times).context("no clients")?))
                };
                let ratio = crate::statistics::median_of(&mut ratios).context("no clients")?;
                let last = ratios.last().copied().unwrap_or_default();
                println!(
                    "{name:9} {sessions:9} {round:6} {:15.0} {:17.0} {:6.0} {ratio:23.2} {last:6.2}",
                    middle(&mut timeouts)?,
                    middle(&mut stalls)?,
                    stalls.last().copied().map(milliseconds).unwrap_or_default(),
                );
                worst = worst.max(last);
            }
            row(
                &format!("stall of {sessions} {name}s, the worst of its own RTO"),
                &format!("{worst:.2} RTO"),
                "1 RTO",
                worst,
            );
        }
    }
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Direction {
    fn happen(self, sessions: usize) -> Result<Vec<Seen>> {
        let machines = Machines::hosts()?;
        let room = sessions.next_power_of_two().max(16);
        let config = SceneConfig {
            lines: format!("sessions = {room}\nring = \"128KiB\"\n"),
            ..SceneConfig::default()
        };
        let scene = Scene::install(&machines, &config)?;
        let server = machines.node.program("backdoors-echo")?;
        let first = scene.serve(Node::First, &server, &PORT.to_string())?;
        scene.serve(Node::Standby, &server, &PORT.to_string())?;

        let phase = Arc::new(AtomicU8::new(UNDER_WAY));
        let clients = self.clients(&machines, sessions, &phase)?;
        thread::sleep(WHILE);
        let timeouts = timeouts(&machines.client)?;
        phase.store(COUNTED, Ordering::Relaxed);
        machines.node.signal("STOP", first)?;
        scene.deployment.freeze_agent()?;
        let (code, text) = scene.deployment.try_backdoors("recover target --json")?;
        ensure!(code == 0, "not all were resumed: {text}\n{}", scene.logs());
        thread::sleep(WHILE);
        phase.store(OVER, Ordering::Relaxed);
        let mut seen = Vec::new();
        for (port, client) in clients {
            let stall = client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            let timeout = timeouts
                .iter()
                .find(|(other, _)| *other == port)
                .context("a client that `ss` does not show")?
                .1;
            seen.push(Seen { timeout, stall });
        }
        Ok(seen)
    }

    /// Clients in the client's network, each with its own port.
    #[allow(clippy::type_complexity, reason = "a list of pairs that is taken apart at once")]
    fn clients(
        self,
        machines: &Machines<Host>,
        sessions: usize,
        phase: &Arc<AtomicU8>,
    ) -> Result<Vec<(u16, thread::JoinHandle<Result<Duration>>)>> {
        let server = SocketAddr::new(machines.service, PORT);
        // Whoever enters a network stays there.
        let connected = thread::scope(|scope| {
            let connect = || -> Result<Vec<TcpStream>> {
                machines.client.enter_network()?;
                (0..sessions).map(|_| Ok(TcpStream::connect_timeout(&server, PATIENCE)?)).collect()
            };
            scope.spawn(connect).join().map_err(|_| anyhow::anyhow!("connecting panicked"))?
        })?;
        let start = |mut stream: TcpStream| {
            let (port, phase) = (stream.local_addr()?.port(), Arc::clone(phase));
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let client = move || match self {
                Direction::Download => download(&mut stream, &phase),
                Direction::Upload => upload(&mut stream, &phase),
            };
            Ok((port, thread::Builder::new().stack_size(256 << 10).spawn(client)?))
        };
        connected.into_iter().map(start).collect()
    }
}

/// The longest time without a byte; they are checked.
fn download(stream: &mut TcpStream, phase: &AtomicU8) -> Result<Duration> {
    rustix::net::sockopt::set_socket_recv_buffer_size(&*stream, BUFFER)?;
    stream.write_all(b"download 1000000000000\n")?;
    let (mut got, mut longest, mut last) = (0, Duration::ZERO, Instant::now());
    let mut piece = [0; PIECE];
    while phase.load(Ordering::Relaxed) != OVER {
        let length = stream.read(&mut piece)?;
        ensure!(length > 0 && piece[..length] == bytes(got, length), "wrong bytes behind byte {got}");
        got += length as u64;
        if phase.load(Ordering::Relaxed) != UNDER_WAY {
            longest = longest.max(last.elapsed());
        }
        last = Instant::now();
    }
    Ok(longest)
}

/// The longest time for which no byte could be written.
fn upload(stream: &mut TcpStream, phase: &AtomicU8) -> Result<Duration> {
    rustix::net::sockopt::set_socket_send_buffer_size(&*stream, BUFFER)?;
    stream.write_all(b"sink\n")?;
    let (mut given, mut longest) = (0, Duration::ZERO);
    while phase.load(Ordering::Relaxed) != OVER {
        let begun = Instant::now();
        stream.write_all(&bytes(given, PIECE))?;
        given += PIECE as u64;
        if phase.load(Ordering::Relaxed) != UNDER_WAY {
            longest = longest.max(begun.elapsed());
        }
    }
    Ok(longest)
}

/// Retransmission timeouts of the clients' connections, by their ports.
fn timeouts(client: &Host) -> Result<Vec<(u16, Duration)>> {
    let text = client.shell(&format!("ss -HtinO state established dport = :{PORT}"))?;
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let port = words.nth(2)?.rsplit(':').next()?.parse().ok()?;
        let timeout: f64 = words.find_map(|word| word.strip_prefix("rto:"))?.parse().ok()?;
        Some((port, Duration::from_secs_f64(timeout / 1e3)))
    };
    text.lines().map(|text| line(text).with_context(|| format!("`ss` says: {text}"))).collect()
}
