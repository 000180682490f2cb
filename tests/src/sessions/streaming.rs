//! The example of a server in C, as a program, and its client.

use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What it is called among the programs of this workspace, once it was [built](build).
pub const PROGRAM: &str = "backdoors-streaming-server";

/// Builds it beside the other programs of this workspace, where labs find them.
///
/// # Errors
/// What the compiler says.
pub fn build() -> Result<PathBuf> {
    let program = libraries()?.parent().context("finding the target directory")?.join(PROGRAM);
    // Somebody else may be about to start it.
    let made = program.with_extension(std::process::id().to_string());
    compile(&made, &[])?;
    std::fs::rename(&made, &program).with_context(|| format!("putting {} in place", program.display()))?;
    Ok(program)
}

/// Compiles it into this file, with more options. It needs no library of this workspace to run.
///
/// # Errors
/// What the compiler says.
pub fn compile(program: &Path, options: &[&str]) -> Result<()> {
    let library = libraries()?.join("libbackdoors_sessions.a");
    let box_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../continuation-box");
    let compiled = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-o"])
        .arg(program)
        .arg("-I")
        .arg(box_folder.join("c/include"))
        .args(options)
        .arg(box_folder.join("examples/streaming-server.c"))
        .arg(library)
        .args(["-lgcc_s", "-lpthread", "-lm", "-ldl"])
        .output()
        .context("running cc")?;
    ensure!(compiled.status.success(), "cc: {}", String::from_utf8_lossy(&compiled.stderr));
    Ok(())
}

/// Where the libraries are that were built along with this program.
fn libraries() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding the target directory")?;
    let folder = own.parent().context("finding the target directory")?;
    Ok(if folder.ends_with("deps") { folder.into() } else { folder.join("deps") })
}

/// A client, which checks every line.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    lines: BufReader<TcpStream>,
    /// The last line's number.
    pub line: u64,
    /// How often it was told the time, and what.
    pub times: u64,
    told: u64,
}

/// What was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The next line.
    Line,
    /// The time.
    Time,
    /// The end.
    End,
}

impl Client {
    /// Connects. Nothing it waits for may take longer than `patience`.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(server: SocketAddr, patience: Duration) -> Result<Client> {
        let socket = TcpStream::connect(server)?;
        socket.set_read_timeout(Some(patience))?;
        let lines = BufReader::new(socket.try_clone()?);
        Ok(Client { socket, lines, line: 0, times: 0, told: 0 })
    }

    /// Says a line.
    ///
    /// # Errors
    /// What the system says.
    pub fn say(&mut self, line: &str) -> Result<()> {
        Ok(self.socket.write_all(format!("{line}\n").as_bytes())?)
    }

    /// Receives what comes next.
    ///
    /// # Errors
    /// If it is not what must come next.
    pub fn receive(&mut self) -> Result<Received> {
        let mut line = String::new();
        let after = || format!("after line {} and {} times", self.line, self.times);
        self.lines.read_line(&mut line).with_context(after)?;
        if line.is_empty() {
            return Ok(Received::End);
        }
        let (text, sum) = line.trim_end().rsplit_once(' ').with_context(|| format!("no line: {line:?}"))?;
        let expected =
            text.bytes().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        ensure!(sum == format!("{expected:08x}"), "{line:?} has not the sum {expected:08x}, {}", after());
        if let Some(time) = text.strip_prefix("time ") {
            let time = time.parse()?;
            ensure!(time > self.told, "{line:?} is not after {}", self.told);
            self.told = time;
            self.times += 1;
            return Ok(Received::Time);
        }
        let (next, told) = (self.line + 1, self.told);
        if text != format!("line {next} after {told}") {
            bail!("{line:?} instead of line {next} after {told}");
        }
        self.line = next;
        Ok(Received::Line)
    }

    /// Receives lines up to this one, and the times between them.
    ///
    /// # Errors
    /// As [`Client::receive`], or if the end comes first.
    pub fn receive_up_to(&mut self, line: u64) -> Result<()> {
        while self.line < line {
            ensure!(self.receive()? != Received::End, "the end after line {}", self.line);
        }
        Ok(())
    }
}
