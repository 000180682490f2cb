//! Threads that ask, so that the screen never waits.

use crate::action::{Action, Outcome};
use crate::app::Deed;
use crate::source::{Refused, Source, Told, Wish};
use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often wishes are asked again.
pub const EVERY: Duration = Duration::from_millis(500);
/// Processes and sessions cost the target's NIC, and the journal a disk: they are asked less often.
const EVERY_DEAR: Duration = Duration::from_secs(1);

/// Something for the screen.
#[derive(Debug)]
pub enum News {
    /// The answer to a wish.
    Told(Wish, Result<Told, Refused>),
    /// What came of a deed.
    Ended(Deed, Outcome),
}

/// Does what was confirmed, and waits for its end.
pub type Act = Arc<dyn Fn(&Action, bool) -> Outcome + Send + Sync>;

/// Asks, and has done what is to be done.
pub struct Feed {
    wishes: Arc<Mutex<BTreeSet<Wish>>>,
    hurry: Sender<()>,
    news: Sender<News>,
    act: Act,
}

impl Feed {
    /// Begins to ask `source`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(mut source: Box<dyn Source>, act: Act) -> std::io::Result<(Feed, Receiver<News>)> {
        let wishes: Arc<Mutex<BTreeSet<Wish>>> = Arc::default();
        let (news, receiver) = channel();
        let (hurry, hurried) = channel();
        let (asked, teller) = (Arc::clone(&wishes), news.clone());
        std::thread::Builder::new().name("feed".into()).spawn(move || {
            let mut last_dear: Option<Instant> = None;
            let mut answered = BTreeSet::new();
            loop {
                let current = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let dear_is_due = last_dear.is_none_or(|last| last.elapsed() >= EVERY_DEAR);
                if dear_is_due {
                    last_dear = Some(Instant::now());
                }
                for wish in &current {
                    let is_new = !answered.contains(wish);
                    if is_dear(wish) && !dear_is_due && !is_new {
                        continue;
                    }
                    let told = source.ask(wish);
                    // There is nobody who could answer the others.
                    let is_gone = matches!(told, Err(Refused::Gone(_)));
                    if teller.send(News::Told(wish.clone(), told)).is_err() {
                        return;
                    }
                    if is_gone {
                        break;
                    }
                }
                answered = current;
                match hurried.recv_timeout(EVERY) {
                    Ok(()) | Err(RecvTimeoutError::Timeout) => while hurried.try_recv().is_ok() {},
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok((Feed { wishes, hurry, news, act }, receiver))
    }

    /// Asks for these from now on, at once if there are new ones.
    pub fn wish(&self, wishes: Vec<Wish>) {
        let wishes: BTreeSet<Wish> = wishes.into_iter().collect();
        let mut current = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        let has_new = wishes.difference(&current).next().is_some();
        *current = wishes;
        if has_new {
            // Nobody hears it only when all is over.
            let _ = self.hurry.send(());
        }
    }

    /// Has it done, and tells when it has ended.
    pub fn act(&self, deed: Deed) {
        let (act, news, lost) = (Arc::clone(&self.act), self.news.clone(), self.news.clone());
        let doing = deed.clone();
        let spawned = std::thread::Builder::new().name("deed".into()).spawn(move || {
            let outcome = act(&doing.action, doing.dry_run);
            drop(news.send(News::Ended(doing, outcome)));
        });
        if let Err(error) = spawned {
            drop(lost.send(News::Ended(
                deed,
                Outcome::Failed(format!("not begun: this machine gives no thread: {error}")),
            )));
        }
    }
}

fn is_dear(wish: &Wish) -> bool {
    matches!(wish, Wish::Processes(_) | Wish::Sessions(_) | Wish::History(_))
}
