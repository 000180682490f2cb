//! A file server whose downloads survive it: `backdoors-file-server ADDRESS FOLDER [SERVICE]`. Kill it, start it again, and every
//! download goes on. It finds the agent by the variable `BACKDOORS_SERVICES`, and is the service `files` unless told otherwise.
//!
//! What makes it so is little, and marked with (1), (2) and (3):
//!
//! 1. what a session needs to go on is one small value, [`State`]: the answer that is being given, and how far;
//! 2. that value is exported before an answer begins, and from time to time while it is given;
//! 3. a session that another server began goes on from its newest export, by the very code that serves a new one.
//!
//! And what is written must come out the same when it is written again. Hence there is no date in an answer, and all
//! that depends on the file is decided once, and exported, before the first byte of the answer leaves. Should the file have
//! changed when a session goes on the connection is broken off: half of a file is better than two halves of two.

use backdoors_continuation_box::service::{Service, Session};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Longest head of a request, and longest path of a file: both go into a snapshot, which has 4 KiB unless configured otherwise.
const MOST_HEAD: usize = 1500;
const MOST_PATH: usize = 1500;
/// Connections that may wait to be accepted; `net.core.somaxconn` bounds it, too.
const MOST_WAITING: i32 = 4096;
/// Bytes of a file that are sent between two exports.
const PIECE: u64 = 64 << 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: backdoors-file-server ADDRESS FOLDER [SERVICE]".into());
    };
    let service = arguments.next().unwrap_or_else(|| "files".into());
    let root = Arc::new(std::fs::canonicalize(folder)?);
    let socket = TcpListener::bind(address)?;
    // The standard library has room for 128 that are not accepted yet. Who finds none tries again after a second, then after two, ...
    rustix::net::listen(&socket, MOST_WAITING)?;
    let listener = Service::attach(&service)?.listen(socket)?;
    writeln!(io::stdout(), "ready: serves {} at {}", root.display(), listener.local_addr()?)?;
    loop {
        let session = match listener.accept() {
            Ok(session) => session,
            Err(error) => {
                eprintln!("a client could not be let in: {error}");
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        let root = Arc::clone(&root);
        std::thread::spawn(move || {
            let client = session.peer_addr();
            if let Err(error) = serve(session, &root) {
                eprintln!("the connection of {client:?} ended: {error}");
            }
        });
    }
}

fn serve(mut session: Session, root: &Path) -> io::Result<()> {
    session.set_nodelay(true)?;
    // (3) A session that exported nothing yet is at its beginning.
    let mut state = match session.recovered() {
        Some(snapshot) if !snapshot.is_empty() => State::import(snapshot)?,
        _ => State::default(),
    };
    loop {
        if state.answer.is_none() {
            let Some(head) = read_head(&mut session, &mut state.unread)? else { return session.end() };
            state.answer = Some(answer(&head, root));
            // (2) From here on the answer is decided, whatever becomes of the file.
            export(&mut session, &state)?;
        }
        give(&mut session, &mut state)?;
        if state.answer.take().is_some_and(|answer| !answer.stays_open) {
            return session.end();
        }
    }
}

fn export(session: &mut Session, state: &State) -> io::Result<()> {
    session.export(&state.export()).map_err(io::Error::other)
}

/// (1) All that a session needs to go on.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    /// What is being answered; between two requests nothing is.
    answer: Option<Answer>,
    /// What was read of the connection and belongs to the next request.
    unread: Vec<u8>,
}

/// An answer, and how far it was given.
#[derive(Clone, Debug, Default, PartialEq)]
struct Answer {
    status: u16,
    /// Whether the file's bytes follow the head.
    has_body: bool,
    /// Whether another request may follow.
    stays_open: bool,
    has_head_left: bool,
    /// Where the bytes of the file begin that are sent.
    start: u64,
    /// Those that are still to be sent.
    left: Range<u64>,
    file: Identity,
    path: PathBuf,
}

/// Size of a file, and when it was changed, in nanoseconds.
type Identity = (u64, i64);

/// Gives the answer, from where it was left off.
fn give(session: &mut Session, state: &mut State) -> io::Result<()> {
    let Some(mut answer) = state.answer.clone() else { return Ok(()) };
    let file = if answer.has_body { Some(File::open(&answer.path)?) } else { None };
    if let Some(file) = &file
        && identity(file)? != answer.file
    {
        return Err(io::Error::other("the file was changed meanwhile"));
    }
    let mut piece = Vec::new();
    loop {
        piece.clear();
        if answer.has_head_left {
            piece.extend(answer.head().into_bytes());
            answer.has_head_left = false;
        }
        if let Some(file) = &file {
            let (head, length) = (piece.len(), PIECE.min(answer.left.end - answer.left.start));
            piece.resize(head + length as usize, 0);
            file.read_exact_at(&mut piece[head..], answer.left.start)?;
            answer.left.start += length;
        }
        session.write_all(&piece)?;
        if !answer.has_body || answer.left.is_empty() {
            return Ok(());
        }
        // (2) So that not all of it is read from the file again.
        state.answer = Some(answer.clone());
        export(session, state)?;
    }
}

impl Answer {
    fn nothing(status: u16) -> Answer {
        Answer { status, has_head_left: true, ..Answer::default() }
    }

    /// The head. It comes out the same whenever it is made.
    fn head(&self) -> String {
        let (size, end) = (self.file.0, self.left.end);
        let mut lines = vec![format!("HTTP/1.1 {} {}", self.status, reason(self.status))];
        if self.has_file() {
            lines.push(format!("Content-Length: {}", end - self.start));
            lines.push(format!("Content-Type: {}", content_type(&self.path)));
            lines.push("Accept-Ranges: bytes".into());
            lines.push(format!("ETag: {}", tag(self.file)));
        } else {
            lines.push("Content-Length: 0".into());
        }
        match self.status {
            206 => lines.push(format!("Content-Range: bytes {}-{}/{size}", self.start, end - 1)),
            405 => lines.push("Allow: GET, HEAD".into()),
            416 => lines.push(format!("Content-Range: bytes */{size}")),
            _ => {}
        }
        let connection = if self.stays_open { "keep-alive" } else { "close" };
        lines.push(format!("Connection: {connection}\r\n\r\n"));
        lines.join("\r\n")
    }

    fn has_file(&self) -> bool {
        matches!(self.status, 200 | 206)
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Range Not Satisfiable",
    }
}

fn identity(file: &File) -> io::Result<Identity> {
    let metadata = file.metadata()?;
    Ok((metadata.size(), metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec())))
}

fn tag((size, changed): Identity) -> String {
    format!("\"{size:x}-{changed:x}\"")
}

/// Reads up to the end of a request's head, which is taken out of `unread`; `None` if the client has no more requests.
fn read_head(session: &mut Session, unread: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&unread[..end]).into_owned();
            unread.drain(..end + 4);
            return Ok(Some(head));
        }
        if unread.len() >= MOST_HEAD {
            // It is answered as what it is: nothing that makes sense. Nothing after it is.
            unread.clear();
            return Ok(Some(String::new()));
        }
        let mut piece = vec![0; MOST_HEAD - unread.len()];
        let count = session.read(&mut piece)?;
        if count == 0 {
            return Ok(None);
        }
        unread.extend(&piece[..count]);
    }
}

/// Decides how a request is answered.
fn answer(head: &str, root: &Path) -> Answer {
    let mut lines = head.split("\r\n");
    let first: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let &[method, target, version] = first.as_slice() else { return Answer::nothing(400) };
    let headers: Vec<(String, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    let header =
        |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map_or("", |(_, value)| *value);
    // A request with a body would be taken for two.
    let has_body = !header("transfer-encoding").is_empty() || !matches!(header("content-length"), "" | "0");
    if has_body || !version.starts_with("HTTP/1.") {
        return Answer::nothing(400);
    }
    let stays_open = match header("connection").to_ascii_lowercase().as_str() {
        "close" => false,
        "keep-alive" => true,
        _ => version != "HTTP/1.0",
    };
    let nothing = |status| Answer { stays_open, ..Answer::nothing(status) };
    if !matches!(method, "GET" | "HEAD") {
        return nothing(405);
    }
    let found = find(target, root).and_then(|path| {
        let file = identity(&File::open(&path).ok()?).ok()?;
        Some((path, file))
    });
    let Some((path, file)) = found else { return nothing(404) };
    let size = file.0;
    let is_current = header("if-range").is_empty() || header("if-range") == tag(file);
    let (status, left) = match parse_range(header("range"), size).filter(|_| is_current) {
        None => (200, 0..size),
        Some(range) if range.is_empty() => return Answer { file, ..nothing(416) },
        Some(range) => (206, range),
    };
    Answer { has_body: method == "GET", start: left.start, left, file, path, ..nothing(status) }
}

/// The file that a request names, if it is one of those below the root.
fn find(target: &str, root: &Path) -> Option<PathBuf> {
    let mut rest = target.split('?').next()?.strip_prefix('/')?.bytes();
    let mut name = Vec::new();
    while let Some(byte) = rest.next() {
        name.push(if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    // Whatever leads elsewhere, `..` or a link, is followed before it is judged.
    let mut path = std::fs::canonicalize(root.join(String::from_utf8(name).ok()?)).ok()?;
    if path.is_dir() {
        path = std::fs::canonicalize(path.join("index.html")).ok()?;
    }
    // A snapshot holds it as text.
    let is_short = path.to_str()?.len() <= MOST_PATH;
    (is_short && path.starts_with(root) && path.is_file()).then_some(path)
}

/// The bytes that are wanted, none if there are none such; `None` if it is not one range: then it does not count.
fn parse_range(range: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| text.parse::<u64>().ok();
    match (first, last) {
        ("", last) => Some(size.saturating_sub(number(last)?)..size),
        (first, "") => Some(number(first)?.min(size)..size),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| first.min(size)..last.saturating_add(1).min(size))
        }
    }
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html",
        Some("txt") => "text/plain",
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

impl State {
    /// The snapshot: flags, numbers, and what is left to the end are the length of the path, the path, and what is not read.
    fn export(&self) -> Vec<u8> {
        let answer = self.answer.clone().unwrap_or_default();
        let flags = [self.answer.is_some(), answer.has_body, answer.stays_open, answer.has_head_left];
        let mut bytes: Vec<u8> = flags.map(u8::from).into();
        let path = answer.path.to_str().unwrap_or_default();
        let (size, changed) = (answer.file.0, answer.file.1.cast_unsigned());
        let Range { start, end } = answer.left;
        for number in [answer.status.into(), answer.start, start, end, size, changed, path.len() as u64] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(path.as_bytes());
        bytes.extend(&self.unread);
        bytes
    }

    /// What was exported.
    fn import(snapshot: &[u8]) -> io::Result<State> {
        let mut rest = snapshot;
        let mut flags = [0; 4];
        rest.read_exact(&mut flags)?;
        let mut numbers = [0; 7];
        for place in &mut numbers {
            let mut number = [0; 8];
            rest.read_exact(&mut number)?;
            *place = u64::from_le_bytes(number);
        }
        let [status, start, from, to, size, changed, length] = numbers;
        let mut path = vec![0; (length as usize).min(MOST_PATH)];
        rest.read_exact(&mut path)?;
        let [is_answer, has_body, stays_open, has_head_left] = flags.map(|flag| flag == 1);
        let answer = Answer {
            status: status as u16,
            has_body,
            stays_open,
            has_head_left,
            start,
            left: from..to,
            file: (size, changed.cast_signed()),
            path: String::from_utf8_lossy(&path).into_owned().into(),
        };
        Ok(State { answer: is_answer.then_some(answer), unread: rest.to_vec() })
    }
}
