//! Clients for labs, that check every byte: see `backdoors_tests::sessions::stream` for what they say. At the end each prints a line:
//! how many bytes it got, the longest time without any (ms), and `ok` or what was wrong.

use anyhow::{Context, Result, bail, ensure};
use backdoors_tests::sessions::stream::{Hash, Wish, bytes, echoed};
use clap::Parser;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A client that checks every byte.
#[derive(Clone, Parser)]
struct Arguments {
    /// The server.
    server: SocketAddr,
    /// What is wanted: `download N`, `echo` or `sink`.
    #[arg(value_parser = |text: &str| text.parse::<Wish>())]
    wish: Wish,
    /// Bytes that are written, for `echo` and `sink`.
    #[arg(long, default_value_t = 0)]
    write: u64,
    /// Bytes that are written at once.
    #[arg(long, default_value_t = 16 << 10)]
    piece: usize,
    /// Pause after each of them, milliseconds.
    #[arg(long, default_value_t = 0)]
    pause: u64,
    /// Bytes a second that are read at most; 0: as many as come.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Read nothing for so many milliseconds after a quarter of what comes.
    #[arg(long, default_value_t = 0)]
    stall: u64,
    /// Close the own direction before anything is read, as far as it can be.
    #[arg(long)]
    half_close: bool,
    /// Connect, and say nothing until this file is there: who looks whether all are connected is not kept waiting by their traffic.
    #[arg(long)]
    begin_when: Option<PathBuf>,
    /// Close it as soon as this file is there, whatever was read by then.
    #[arg(long)]
    close_when: Option<PathBuf>,
    /// Stay until this file is there after the end has come, before closing.
    #[arg(long)]
    stay_until: Option<PathBuf>,
    /// So many of it at once.
    #[arg(long, default_value_t = 1)]
    sessions: usize,
    /// Longest time without a byte before it gives up, seconds.
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Where to write, every 50 ms, the time (nanoseconds since 1970) and how many bytes all sessions together have got.
    #[arg(long)]
    tally: Option<PathBuf>,
}

impl Arguments {
    /// Whether its end comes right behind its wish.
    fn has_nothing_more_to_say(&self) -> bool {
        self.half_close && self.write == 0
    }
}

/// Held by the one that says its wish and its end.
static CLOSING: Mutex<()> = Mutex::new(());
/// Bytes that all sessions together have got.
static GOT: AtomicU64 = AtomicU64::new(0);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(path) = &arguments.tally {
        let mut file = File::create(path).with_context(|| path.display().to_string())?;
        thread::spawn(move || {
            loop {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                if writeln!(file, "{} {}", now.as_nanos(), GOT.load(Ordering::Relaxed)).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
    }
    let connected = Arc::new(Barrier::new(arguments.sessions));
    let clients: Vec<_> = (0..arguments.sessions)
        .map(|_| {
            let (arguments, connected) = (arguments.clone(), Arc::clone(&connected));
            thread::Builder::new().stack_size(256 << 10).spawn(move || client(&arguments, &connected))
        })
        .collect::<Result<_, _>>()?;
    let mut all_good = true;
    for client in clients {
        let Ok((got, longest, outcome)) = client.join() else { bail!("a client panicked") };
        let said = outcome.as_ref().map_or_else(|error| format!("{error:#}"), |()| "ok".to_owned());
        all_good &= outcome.is_ok();
        println!("{got} {} {said}", longest.as_millis());
    }
    ensure!(all_good, "not all got what they wanted");
    Ok(())
}

/// What came, in order, and how long the longest wait was.
struct Incoming {
    got: u64,
    longest: Duration,
    last: Instant,
}

fn client(arguments: &Arguments, connected: &Barrier) -> (u64, Duration, Result<()>) {
    let stream = connect(arguments);
    if stream.is_ok() {
        println!("connected");
    }
    // Or else the first ones of many are done when the last ones begin.
    if connected.wait().is_leader()
        && let Some(file) = &arguments.begin_when
    {
        wait_until_there(file);
    }
    connected.wait();
    let mut incoming = Incoming { got: 0, longest: Duration::ZERO, last: Instant::now() };
    let outcome = stream.and_then(|stream| converse(arguments, stream, &mut incoming));
    (incoming.got, incoming.longest, outcome)
}

fn converse(arguments: &Arguments, mut stream: TcpStream, incoming: &mut Incoming) -> Result<()> {
    if arguments.rate > 0 {
        // Or else the kernel would read ahead of it.
        rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 32 << 10)?;
    }
    stream.set_read_timeout(Some(Duration::from_secs(arguments.patience)))?;
    if arguments.has_nothing_more_to_say() {
        // The wish and the end go in one segment: whoever fulfils the wish at once has not closed before this end has. The kernel
        // waits for the end no longer than 200 ms, and a thousand threads are not done with it in that time.
        let _turn = CLOSING.lock().unwrap_or_else(PoisonError::into_inner);
        rustix::net::sockopt::set_tcp_cork(&stream, true)?;
        say_wish(arguments, &mut stream)?;
        stream.shutdown(Shutdown::Write).context("closing the own direction")?;
    } else {
        say_wish(arguments, &mut stream)?;
    }
    let writing = {
        let (arguments, stream) = (arguments.clone(), stream.try_clone()?);
        let writer = thread::Builder::new().stack_size(128 << 10);
        writer.spawn(move || write(&arguments, stream))?
    };
    let outcome = if arguments.half_close {
        // What is read comes after the end was said.
        wait_for(writing)?;
        read(arguments, &mut stream, incoming)
    } else {
        read(arguments, &mut stream, incoming).and(wait_for(writing))
    };
    if let Some(file) = &arguments.stay_until {
        wait_until_there(file);
        // Nothing comes behind the end, and no reset either.
        ensure!(stream.read(&mut [0]).context("after the end")? == 0, "bytes behind the end");
    }
    outcome
}

fn say_wish(arguments: &Arguments, stream: &mut TcpStream) -> Result<()> {
    stream.write_all(format!("{}\n", arguments.wish).as_bytes()).context("saying what is wanted")
}

fn wait_for(writing: thread::JoinHandle<Result<()>>) -> Result<()> {
    match writing.join() {
        Ok(outcome) => outcome,
        Err(_) => bail!("the writer panicked"),
    }
}

/// Whoever wrote the script ends this program if it never is.
fn wait_until_there(file: &Path) {
    while !file.exists() {
        thread::sleep(Duration::from_millis(20));
    }
}

fn connect(arguments: &Arguments) -> Result<TcpStream> {
    let begun = Instant::now();
    loop {
        match TcpStream::connect_timeout(&arguments.server, Duration::from_secs(10)) {
            // A thousand at once do not fit a listener's queue.
            Err(_) if begun.elapsed() < Duration::from_secs(20) => thread::sleep(Duration::from_millis(20)),
            other => return other.context("connecting"),
        }
    }
}

fn write(arguments: &Arguments, mut stream: TcpStream) -> Result<()> {
    let mut at = 0;
    while at < arguments.write {
        let length = usize::try_from(arguments.write - at).unwrap_or(usize::MAX).min(arguments.piece);
        stream.write_all(&bytes(at, length)).with_context(|| format!("writing at byte {at}"))?;
        at += length as u64;
        thread::sleep(Duration::from_millis(arguments.pause));
    }
    if let Some(file) = &arguments.close_when {
        wait_until_there(file);
    }
    let closes_early = arguments.half_close || arguments.close_when.is_some();
    let has_closed = arguments.has_nothing_more_to_say();
    if !has_closed && (!matches!(arguments.wish, Wish::Download(_)) || closes_early) {
        stream.shutdown(Shutdown::Write).context("closing the own direction")?;
    }
    Ok(())
}

fn read(arguments: &Arguments, stream: &mut TcpStream, incoming: &mut Incoming) -> Result<()> {
    let expected = match arguments.wish {
        Wish::Download(count) => count,
        Wish::Echo => arguments.write,
        Wish::Sink => return hear_of_it(arguments, stream, incoming),
    };
    let mut buffer = vec![0; 64 << 10];
    let begun = Instant::now();
    let mut has_stalled = arguments.stall == 0;
    loop {
        if !has_stalled && incoming.got > expected / 4 {
            has_stalled = true;
            thread::sleep(Duration::from_millis(arguments.stall));
            incoming.last = Instant::now();
        }
        let length = some(stream, &mut buffer, incoming)
            .with_context(|| format!("reading at byte {}", incoming.got))?;
        if length == 0 {
            break;
        }
        let mut right = bytes(incoming.got - length as u64, length);
        if arguments.wish == Wish::Echo {
            right.iter_mut().for_each(|byte| *byte = echoed(*byte));
        }
        ensure!(buffer[..length] == right, "wrong bytes before byte {}", incoming.got);
        if arguments.rate > 0 {
            let due = Duration::from_secs_f64(incoming.got as f64 / arguments.rate as f64);
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
    }
    ensure!(incoming.got == expected, "{} bytes of {expected}", incoming.got);
    Ok(())
}

fn hear_of_it(arguments: &Arguments, stream: &mut TcpStream, incoming: &mut Incoming) -> Result<()> {
    let mut hash = Hash::default();
    hash.add(&bytes(0, usize::try_from(arguments.write)?));
    let mut text = Vec::new();
    let mut buffer = [0; 256];
    loop {
        let length = some(stream, &mut buffer, incoming).context("reading what came of it")?;
        if length == 0 {
            break;
        }
        text.extend_from_slice(&buffer[..length]);
    }
    let right = format!("{} {:016x}\n", arguments.write, hash.0);
    ensure!(text == right.as_bytes(), "the server got {:?}, not {right:?}", String::from_utf8_lossy(&text));
    Ok(())
}

fn some(stream: &mut TcpStream, buffer: &mut [u8], incoming: &mut Incoming) -> Result<usize> {
    let length = loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    incoming.longest = incoming.longest.max(incoming.last.elapsed());
    incoming.last = Instant::now();
    incoming.got += length as u64;
    GOT.fetch_add(length as u64, Ordering::Relaxed);
    Ok(length)
}
