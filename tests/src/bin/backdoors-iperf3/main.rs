//! A server of iperf3's protocol whose tests outlive it: `backdoors-iperf3 ADDRESS:PORT [SERVICE]`, for clients that say how much they want
//! transferred (`-n`), in either direction (`-R`), over any number of streams (`-P`).
//!
//! A test is one connection of control and one for each stream. Each begins with the cookie of the test: who brings a new one
//! controls it. All of them are sessions, and go on by themselves; what they tell each other ([`tests`]) is made anew from what
//! each of them had exported.

mod tests;

use anyhow::{Context, Result, bail, ensure};
use backdoors_continuation_box::service::{Service, Session};
use backdoors_tests::sessions::listen_at;
use backdoors_tests::sessions::scene::NAME;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tests::{Role, Tests};

/// What either end says in one byte.
mod word {
    pub const TEST_START: u8 = 1;
    pub const TEST_RUNNING: u8 = 2;
    pub const TEST_END: u8 = 4;
    pub const PARAM_EXCHANGE: u8 = 9;
    pub const CREATE_STREAMS: u8 = 10;
    pub const EXCHANGE_RESULTS: u8 = 13;
    pub const DISPLAY_RESULTS: u8 = 14;
    pub const IPERF_DONE: u8 = 16;
}

/// Bytes of a cookie, the last of which is 0.
const COOKIE: usize = 37;
/// Most bytes of what a client says at once.
const MOST_SAID: usize = 1 << 20;

/// What a client wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Parameters {
    /// Bytes that all streams together transfer.
    #[serde(default)]
    num: u64,
    parallel: usize,
    /// Whether the server sends.
    #[serde(default)]
    reverse: bool,
    /// Bytes that are written at once.
    len: usize,
    /// Bits a second that each stream sends at most; 0: as many as it can.
    #[serde(default)]
    bandwidth: u64,
}

/// All that a session needs to go on: its snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum State {
    Control { cookie: String, parameters: Option<Parameters>, step: Step },
    Stream { cookie: String, number: usize, parameters: Parameters, count: u64 },
}

/// What is to be said next at a connection of control, or heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Step {
    Parameters,
    Streams,
    End,
    Results,
    Goodbye,
}

fn main() -> Result<()> {
    let place =
        std::env::args().nth(1).context("say where: ADDRESS:PORT, and the service, if it is not `pages`")?;
    let service = std::env::args().nth(2).unwrap_or_else(|| NAME.to_owned());
    let listener = Service::attach(&service)?.listen(listen_at(&place)?)?;
    let tests = Arc::new(Tests::default());
    println!("ready");
    loop {
        let session = listener.accept()?;
        let tests = Arc::clone(&tests);
        thread::Builder::new().stack_size(256 << 10).spawn(move || {
            let peer = session.peer_addr();
            if let Err(error) = serve(session, &tests) {
                eprintln!("{peer:?}: {error:#}");
            }
        })?;
    }
}

fn serve(mut session: Session, tests: &Tests) -> Result<()> {
    let state = match session.recovered() {
        Some(snapshot) if !snapshot.is_empty() => {
            let state = serde_json::from_slice(snapshot).context("the snapshot of another program")?;
            tests.go_on(&state);
            state
        }
        _ => {
            let mut cookie = [0; COOKIE];
            session.read_exact(&mut cookie).context("reading the cookie")?;
            let cookie = String::from_utf8_lossy(&cookie).into_owned();
            match tests.enter(&cookie)? {
                Role::Control => State::Control { cookie, parameters: None, step: Step::Parameters },
                Role::Stream(number, parameters) => State::Stream { cookie, number, parameters, count: 0 },
            }
        }
    };
    export(&mut session, &state)?;
    match state {
        State::Control { cookie, parameters, step } => {
            tests.is_open(&cookie, parameters.as_ref(), step);
            let outcome = control(&mut session, tests, &cookie, parameters, step);
            tests.leave(&cookie);
            outcome?;
        }
        State::Stream { cookie, number, parameters, count } => {
            tests.counted(&cookie, number, count);
            let stream = Stream { session: &mut session, tests, cookie: &cookie, number, parameters, count };
            if stream.parameters.reverse { stream.send() } else { stream.receive() }?;
        }
    }
    Ok(session.end()?)
}

fn export(session: &mut Session, state: &State) -> Result<()> {
    Ok(session.export(&serde_json::to_vec(state)?)?)
}

/// Each step ends with an export. One that was cut off is done again: what it says follows from what was exported and heard.
fn control(
    session: &mut Session,
    tests: &Tests,
    cookie: &str,
    mut parameters: Option<Parameters>,
    mut step: Step,
) -> Result<()> {
    loop {
        step = match (step, &parameters) {
            (Step::Parameters, _) => {
                session.write_all(&[word::PARAM_EXCHANGE])?;
                let wanted: Parameters = serde_json::from_value(hear(session)?)?;
                ensure!(wanted.num > 0, "how much is to be transferred was not said: use -n");
                ensure!(wanted.parallel > 0 && wanted.len > 0, "no streams, or empty pieces");
                parameters = Some(wanted);
                Step::Streams
            }
            (Step::Streams, Some(wanted)) => {
                session.write_all(&[word::CREATE_STREAMS])?;
                tests.wait_for_streams(cookie, wanted.parallel)?;
                session.write_all(&[word::TEST_START, word::TEST_RUNNING])?;
                Step::End
            }
            (Step::End, Some(_)) => {
                let mut said = [0];
                session.read_exact(&mut said).context("waiting for the end of the test")?;
                ensure!(said == [word::TEST_END], "{said:?} is not the end of the test");
                Step::Results
            }
            (Step::Results, Some(wanted)) => {
                session.write_all(&[word::EXCHANGE_RESULTS])?;
                let theirs = hear(session)?;
                let expected = if wanted.reverse { None } else { Some(counts(&theirs)?) };
                let ours = tests.wait_for_counts(cookie, wanted, expected)?;
                say(session, &results(&ours))?;
                session.write_all(&[word::DISPLAY_RESULTS])?;
                Step::Goodbye
            }
            (Step::Goodbye, Some(_)) => {
                let mut said = [0];
                session.read_exact(&mut said).context("waiting for the client's goodbye")?;
                ensure!(said == [word::IPERF_DONE], "{said:?} is no goodbye");
                return Ok(());
            }
            (_, None) => bail!("a test without parameters"),
        };
        export(session, &State::Control { cookie: cookie.to_owned(), parameters: parameters.clone(), step })?;
        tests.is_open(cookie, parameters.as_ref(), step);
    }
}

fn hear(session: &mut Session) -> Result<Value> {
    let mut length = [0; 4];
    session.read_exact(&mut length).context("waiting for what the client says")?;
    let length = u32::from_be_bytes(length) as usize;
    ensure!(length <= MOST_SAID, "the client wants to say {length} bytes");
    let mut text = vec![0; length];
    session.read_exact(&mut text)?;
    serde_json::from_slice(&text).context("what the client says")
}

fn say(session: &mut Session, what: &Value) -> Result<()> {
    let text = what.to_string();
    session.write_all(&u32::try_from(text.len())?.to_be_bytes())?;
    Ok(session.write_all(text.as_bytes())?)
}

/// Number 2 is left out, and always was.
fn id(number: usize) -> usize {
    if number == 0 { 1 } else { number + 2 }
}

/// Bytes of each stream, of what a client says.
fn counts(results: &Value) -> Result<Vec<u64>> {
    let streams = results["streams"].as_array().context("no streams among the results")?;
    let of = |number| streams.iter().find(|stream| stream["id"] == id(number))?["bytes"].as_u64();
    (0..streams.len()).map(|number| of(number).context("a stream is missing among the results")).collect()
}

fn results(counts: &[u64]) -> Value {
    let stream = |(number, bytes)| {
        json!({
            "id": id(number), "bytes": bytes, "retransmits": 0, "jitter": 0, "errors": 0, "packets": 0,
            "start_time": 0, "end_time": 1
        })
    };
    let streams: Vec<Value> = counts.iter().enumerate().map(stream).collect();
    json!({
        "cpu_util_total": 0, "cpu_util_user": 0, "cpu_util_system": 0, "sender_has_retransmits": 0,
        "streams": streams
    })
}

struct Stream<'a> {
    session: &'a mut Session,
    tests: &'a Tests,
    cookie: &'a str,
    number: usize,
    parameters: Parameters,
    count: u64,
}

impl Stream<'_> {
    fn counted(&mut self, more: usize) -> Result<()> {
        self.count += more as u64;
        let (cookie, number, parameters) = (self.cookie.to_owned(), self.number, self.parameters.clone());
        export(self.session, &State::Stream { cookie, number, parameters, count: self.count })?;
        self.tests.counted(self.cookie, self.number, self.count);
        Ok(())
    }

    /// Sends its share: as much as every other stream does, so that none has to know of another.
    fn send(mut self) -> Result<()> {
        self.tests.wait_until_running(self.cookie)?;
        let share = self.parameters.num / self.parameters.parallel as u64;
        let piece = vec![0x5a; self.parameters.len];
        let (begun, before) = (Instant::now(), self.count);
        while self.count < share {
            let left = usize::try_from(share - self.count).unwrap_or(usize::MAX);
            let piece = &piece[..left.min(piece.len())];
            self.session.write_all(piece)?;
            self.counted(piece.len())?;
            if self.parameters.bandwidth > 0 {
                let due = (self.count - before) as f64 * 8.0 / self.parameters.bandwidth as f64;
                thread::sleep(Duration::from_secs_f64(due).saturating_sub(begun.elapsed()));
            }
        }
        // The client ends it.
        self.receive()
    }

    /// Reads until the client has closed.
    fn receive(mut self) -> Result<()> {
        let mut piece = vec![0; self.parameters.len.min(MOST_SAID)];
        loop {
            let length = self.session.read(&mut piece)?;
            if length == 0 {
                return Ok(());
            }
            self.counted(length)?;
        }
    }
}
