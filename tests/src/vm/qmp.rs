//! QEMU's own control channel: pausing a guest, pulling its cable.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};

use super::VmError;

/// QEMU answers at once, but under emulation on a busy machine its main loop may have to wait for its turn.
const DEADLINE: Duration = Duration::from_secs(30);

/// A connection to one QEMU.
#[derive(Debug)]
pub(super) struct Monitor {
    stream: Mutex<BufReader<UnixStream>>,
}

impl Monitor {
    pub(super) fn greet(stream: UnixStream) -> Result<Monitor, VmError> {
        stream.set_read_timeout(Some(DEADLINE)).map_err(VmError::host("speak to QEMU"))?;
        let mut stream = BufReader::new(stream);
        read(&mut stream).map_err(VmError::host("read QEMU's greeting"))?;
        let monitor = Monitor { stream: Mutex::new(stream) };
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    pub(super) fn execute(&self, command: &str, arguments: Value) -> Result<(), VmError> {
        self.ask(command, arguments).map(drop)
    }

    /// The answer to a command that only people are meant to give, in QEMU's own words.
    pub(super) fn human(&self, command: &str) -> Result<String, VmError> {
        let text = self.ask("human-monitor-command", json!({ "command-line": command }))?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    fn ask(&self, command: &str, arguments: Value) -> Result<Value, VmError> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = || VmError::host(format!("have QEMU do {command}"));
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        stream.get_mut().write_all(line.as_bytes()).map_err(failed())?;
        loop {
            let answer = read(&mut stream).map_err(failed())?;
            if let Some(error) = answer.get("error") {
                return Err(VmError::Qemu { command: command.to_owned(), reason: error["desc"].to_string() });
            }
            // What is neither an error nor a result is an event.
            if let Some(result) = answer.get("return") {
                return Ok(result.clone());
            }
        }
    }
}

fn read(stream: &mut BufReader<UnixStream>) -> io::Result<Value> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&line)?)
}
