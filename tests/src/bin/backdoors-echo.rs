//! A server for labs whose sessions outlive it: see `backdoors_tests::sessions::stream` for what it is told.

use anyhow::{Context, Result};
use backdoors_continuation_box::service::{Service, Session};
use backdoors_tests::sessions::listen_at;
use backdoors_tests::sessions::scene::NAME;
use backdoors_tests::sessions::stream::{Hash, Wish, bytes, echoed};
use std::io::{Read, Write};

const PIECE: usize = 16 << 10;

/// Where a session is: all that another server needs to go on.
#[derive(Default)]
struct Progress {
    line: Vec<u8>,
    count: u64,
    hash: Hash,
}

impl Progress {
    fn export(&self) -> Vec<u8> {
        [&self.count.to_le_bytes(), &self.hash.0.to_le_bytes(), self.line.as_slice()].concat()
    }

    fn import(snapshot: &[u8]) -> Progress {
        let word = |at: usize| {
            snapshot.get(at..at + 8).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes)
        };
        match (word(0), word(8)) {
            (Some(count), Some(hash)) => {
                Progress { line: snapshot.get(16..).unwrap_or_default().to_vec(), count, hash: Hash(hash) }
            }
            _ => Progress::default(),
        }
    }
}

fn main() -> Result<()> {
    let place = std::env::args()
        .nth(1)
        .context("say where: PORT, or ADDRESS:PORT; and the service, if it is not `pages`")?;
    let place = if place.contains(':') { place } else { format!("0.0.0.0:{place}") };
    let service = Service::attach(&std::env::args().nth(2).unwrap_or_else(|| NAME.to_owned()))?;
    let listener = service.listen(listen_at(&place)?)?;
    println!("ready");
    loop {
        let session = listener.accept()?;
        std::thread::Builder::new().stack_size(128 << 10).spawn(move || {
            let peer = session.peer_addr();
            if let Err(error) = serve(session) {
                eprintln!("{peer:?}: {error:#}");
            }
        })?;
    }
}

fn serve(mut session: Session) -> Result<()> {
    let mut progress = session.recovered().map(Progress::import).unwrap_or_default();
    let wish = loop {
        if let Some(line) = progress.line.strip_suffix(b"\n") {
            break String::from_utf8_lossy(line).parse::<Wish>().map_err(anyhow::Error::msg)?;
        }
        let mut byte = [0];
        anyhow::ensure!(session.read(&mut byte)? == 1, "the client left");
        progress.line.extend(byte);
        // In the middle of the line, too: a server may end anywhere.
        session.export(&progress.export())?;
    };
    match wish {
        Wish::Download(count) => {
            while progress.count < count {
                let length = usize::try_from(count - progress.count).unwrap_or(PIECE).min(PIECE);
                session.write_all(&bytes(progress.count, length))?;
                progress.count += length as u64;
                session.export(&progress.export())?;
            }
        }
        Wish::Echo | Wish::Sink => {
            let mut buffer = vec![0; PIECE];
            loop {
                let length = session.read(&mut buffer)?;
                if length == 0 {
                    break;
                }
                let piece = &mut buffer[..length];
                progress.hash.add(piece);
                progress.count += length as u64;
                if wish == Wish::Echo {
                    piece.iter_mut().for_each(|byte| *byte = echoed(*byte));
                    session.write_all(piece)?;
                }
                session.export(&progress.export())?;
            }
            if wish == Wish::Sink {
                session.write_all(format!("{} {:016x}\n", progress.count, progress.hash.0).as_bytes())?;
            }
        }
    }
    Ok(session.end()?)
}
