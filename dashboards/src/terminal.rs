//! The terminal, and the loop.

use crate::app::App;
use crate::feed::{Act, Feed, News};
use crate::hold::Hold;
use crate::screen::{self, Style};
use crate::source::Source;
use ratatui::crossterm::event::{self, DisableMouseCapture, EnableMouseCapture, Event};
use ratatui::crossterm::execute;
use rustix::time::{ClockId, clock_gettime};
use std::io::{self, IsTerminal};
use std::time::Duration;

/// Longest time between two drawings, so that ages move.
const REDRAW: Duration = Duration::from_millis(500);
/// Shortest time between two: 10 a second show all that eyes can follow.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a key is waited for before news are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// How it is run.
pub struct Options {
    /// Where news come from.
    pub source: Box<dyn Source>,
    /// Does what is confirmed.
    pub act: Act,
}

/// Why it ended.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// There is no terminal.
    #[error("this needs a terminal: run it in one, or use `backdoors targets --json`")]
    NoTerminal,
    /// The terminal failed, or the system gave no thread.
    #[error("the terminal failed: {0}")]
    Failed(#[from] io::Error),
}

/// Shows it until `q`.
///
/// # Errors
/// See [`TopError`]. The terminal is put back in order.
pub fn run(options: Options) -> Result<(), TopError> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(TopError::NoTerminal);
    }
    let recording = options.source.recording();
    let (feed, news) = Feed::start(options.source, options.act)?;
    let mut app = App::new(recording.is_some());
    let style = Style::of_environment(|name| std::env::var(name).ok());
    let mut terminal = ratatui::try_init()?;
    let result = execute!(io::stdout(), EnableMouseCapture)
        .and_then(|()| show(&mut terminal, &mut app, &style, &feed, &news, recording.as_ref()));
    // Whatever failed: the shell gets back what it had.
    drop(execute!(io::stdout(), DisableMouseCapture));
    ratatui::try_restore()?;
    Ok(result?)
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    app: &mut App,
    style: &Style,
    feed: &Feed,
    news: &std::sync::mpsc::Receiver<News>,
    recording: Option<&Hold>,
) -> io::Result<()> {
    let mut drawn: Option<Duration> = None;
    // A key is answered at once, news when it is time to draw.
    let (mut is_urgent, mut is_new) = (true, true);
    while !app.is_over {
        let now = monotonic();
        let since = drawn.map(|drawn| now.saturating_sub(drawn));
        if is_urgent || since.is_none_or(|since| since >= REDRAW || (is_new && since >= PAUSE)) {
            feed.wish(app.wishes());
            terminal.draw(|frame| screen::draw(frame, app, style, now))?;
            (drawn, is_urgent, is_new) = (Some(now), false, false);
        }
        if event::poll(LOOK_AGAIN)? {
            is_urgent = true;
            match event::read()? {
                Event::Key(key) => app.on_key(key),
                Event::Mouse(mouse) => app.on_mouse(mouse),
                _ => {}
            }
            if let Some(recording) = recording {
                recording.set(app.is_paused);
            }
        }
        for news in news.try_iter() {
            is_new = true;
            match news {
                News::Told(wish, told) => app.take_in(&wish, told, monotonic()),
                News::Ended(deed, outcome) => app.take_in_outcome(&deed, outcome),
            }
        }
        for deed in app.take_deeds() {
            feed.act(deed);
        }
    }
    Ok(())
}

fn monotonic() -> Duration {
    // It is not before its origin.
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}
