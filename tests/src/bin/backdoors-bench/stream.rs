//! A synthetic streaming server and its clients: so many sessions, each of so many bytes a second.

use anyhow::{Context, Result};
use backdoors_tests::host::Host;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const PORT: u16 = 8554;
/// A session sends a chunk of so many bytes, then pauses: 4 Mbit/s.
const CHUNK: usize = 10_000;
const PAUSE: Duration = Duration::from_millis(20);

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(clap::Subcommand)]
enum Role {
    /// Stream to whoever connects
    Server,
    /// Take so many streams from a server
    Clients {
        /// Its address
        server: String,
        /// How many
        sessions: u32,
    },
}

pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.role {
        Role::Server => {
            let listener = TcpListener::bind(("0.0.0.0", PORT))?;
            for client in listener.incoming() {
                let client = client?;
                std::thread::spawn(move || stream(client));
            }
            Ok(())
        }
        Role::Clients { server, sessions } => {
            let takers: Vec<_> = (0..*sessions)
                .map(|_| {
                    let stream = connect(server)?;
                    Ok(std::thread::spawn(move || take(stream)))
                })
                .collect::<Result<_>>()?;
            for taker in takers {
                // It only panics if the program is broken, and that was printed.
                let _ = taker.join();
            }
            Ok(())
        }
    }
}

fn connect(server: &str) -> Result<TcpStream> {
    let begun = Instant::now();
    loop {
        match TcpStream::connect((server, PORT)) {
            Ok(stream) => return Ok(stream),
            Err(error) if begun.elapsed() > Duration::from_secs(10) => {
                return Err(error).context("no server");
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn stream(mut client: TcpStream) {
    let chunk = [0x5a; CHUNK];
    let mut next = Instant::now();
    while client.write_all(&chunk).is_ok() {
        next += PAUSE;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn take(mut stream: TcpStream) {
    let mut bytes = [0; 65536];
    while matches!(stream.read(&mut bytes), Ok(1..)) {}
}

/// Programs that end with this value.
pub struct Programs(Vec<Child>);

impl Drop for Programs {
    fn drop(&mut self) {
        for program in &mut self.0 {
            // They may have ended by themselves.
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

/// Starts a server on one host and so many sessions from the other.
pub fn sessions(server: &Host, clients: &Host, count: u32) -> Result<Programs> {
    let start = |host: &Host, arguments: &[&str]| -> Result<Child> {
        let mut command = host.command(std::env::current_exe()?);
        Ok(command.arg("stream").args(arguments).stdin(Stdio::null()).spawn()?)
    };
    let address = server.address().to_string();
    let count = count.to_string();
    let server = start(server, &["server"])?;
    Ok(Programs(vec![server, start(clients, &["clients", &address, &count])?]))
}
