//! The thread that writes the journal and tells those who follow it.

use super::entry::Entry;
use super::file::JournalFile;
use super::tally::Tally;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Entries that wait for the disk before new ones are dropped.
const WAITING_ENTRIES: usize = 4096;
/// Lines that wait for a follower before it is given up.
const WAITING_LINES: usize = 1024;

/// The journal. Clones share it.
#[derive(Clone, Debug)]
pub struct Journal {
    path: PathBuf,
    entries: SyncSender<Job>,
    followers: Arc<Mutex<Vec<SyncSender<Arc<str>>>>>,
    tally: Tally,
}

#[derive(Debug)]
enum Job {
    Write(Box<Entry>),
    /// Tell that everything before is written.
    Tell(SyncSender<()>),
}

/// Lines as they are written.
pub type Subscription = Receiver<Arc<str>>;

/// Why the journal cannot be kept. The daemon does not start without one.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot open the journal {path}: {source}; make its folder for this user, or name another file as `journal`"
)]
pub struct OpenError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

impl Journal {
    /// Opens the journal and starts its thread, which ends with the last clone.
    ///
    /// # Errors
    /// If the file cannot be opened or no thread be started.
    pub fn open(path: &Path, most_bytes: u64) -> Result<Journal, OpenError> {
        let failed = |source| OpenError { path: path.to_owned(), source };
        let file = JournalFile::open(path, most_bytes).map_err(failed)?;
        let (entries, receiver) = sync_channel(WAITING_ENTRIES);
        let followers = Arc::new(Mutex::new(Vec::new()));
        let to_tell = Arc::clone(&followers);
        std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || write(file, &receiver, &to_tell))
            .map_err(failed)?;
        Ok(Journal { path: path.to_owned(), entries, followers, tally: Tally::default() })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it told so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Adds an entry. Never waits: if the disk is far behind, the entry goes to the log alone.
    pub fn add(&self, entry: Entry) {
        self.tally.take_in(&entry);
        tracing::info!(target: "journal", of = %entry.target, "{}", entry.text);
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) =
            self.entries.try_send(Job::Write(Box::new(entry)))
            && let Job::Write(entry) = job
        {
            tracing::error!("the journal is not keeping up, entry dropped: {}", entry.text);
        }
    }

    /// Waits until all that was added is written, but not for longer than `patience`.
    pub fn flush(&self, patience: Duration) {
        let (sender, written) = sync_channel(1);
        if self.entries.try_send(Job::Tell(sender)).is_ok() {
            // Whatever comes of it: who waits for this is about to end.
            let _ = written.recv_timeout(patience);
        }
    }

    /// Follows the journal from now on. A follower that does not read is given up: its subscription ends.
    #[must_use]
    pub fn follow(&self) -> Subscription {
        let (sender, receiver) = sync_channel(WAITING_LINES);
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }
}

fn write(mut file: JournalFile, jobs: &Receiver<Job>, followers: &Mutex<Vec<SyncSender<Arc<str>>>>) {
    let mut failing = false;
    while let Ok(job) = jobs.recv() {
        let entry = match job {
            Job::Write(entry) => entry,
            Job::Tell(written) => {
                let _ = written.try_send(());
                continue;
            }
        };
        let line = match serde_json::to_string(&entry) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!("an entry cannot be written as JSON: {error}");
                continue;
            }
        };
        match file.append(&line) {
            Ok(()) => failing = false,
            // Told once: a full disk must not fill the log too.
            Err(error) if !failing => {
                failing = true;
                tracing::error!("the journal cannot be written, entries are lost until it can: {error}");
            }
            Err(_) => {}
        }
        let line: Arc<str> = line.into();
        followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|follower| follower.try_send(Arc::clone(&line)).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::What;
    use super::super::file::tail;
    use super::*;

    fn entry(gap_ns: u64) -> Entry {
        Entry::new(Duration::from_secs(1), Duration::from_millis(2), "web1", What::Late { gap_ns })
    }

    #[test]
    fn an_entry_is_one_json_line_in_the_file_and_for_followers() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("journal.jsonl"), 1 << 20).unwrap();
        let following = journal.follow();
        journal.add(entry(1_000_000));
        let line = following.recv().unwrap();
        assert_eq!(
            &*line,
            "{\"time_ns\":1000000000,\"time\":\"1970-01-01T00:00:01.000000Z\",\"monotonic_ns\":2000000,\
             \"target\":\"web1\",\"kind\":\"late\",\"gap_ns\":1000000,\
             \"text\":\"no sample for 1.0 ms: nothing is said about progress meanwhile\"}"
        );
        assert_eq!(tail(journal.path(), 5, |_| true).unwrap(), [&*line]);
    }

    #[test]
    fn a_follower_that_does_not_read_is_given_up_and_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("journal.jsonl"), 1 << 30).unwrap();
        let idle = journal.follow();
        let diligent = journal.follow();
        for number in 0..=WAITING_LINES as u64 {
            journal.add(entry(number));
            diligent.recv().unwrap();
        }
        assert_eq!(idle.iter().count(), WAITING_LINES);
    }
}
