//! A recording on a terminal, as if it were live.

use super::Show;
use super::lines::describe;
use super::scene::Scene;
use super::summary::differences_text;
use crate::ask::print;
use crate::events::show;
use backdoors_monitor::recorder::{Moment, Recording};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Shortest time between two screens.
const BETWEEN: Duration = Duration::from_millis(100);
/// The last events that are shown below the tables.
const EVENTS: usize = 8;

/// Redraws the tables in place.
#[derive(Default)]
pub struct Screen {
    events: VecDeque<String>,
    drawn: Option<Instant>,
}

impl Screen {
    fn text(&self, scene: &Scene) -> String {
        let rows =
            rustix::termios::tcgetwinsize(std::io::stdout()).map_or(24, |size| usize::from(size.ws_row));
        let events: String = self.events.iter().map(String::as_str).collect();
        let tables = scene.tables();
        // The tables give way to the events: a machine may have more sensors than a screen has rows.
        let room = rows.saturating_sub(self.events.len() + 3);
        let mut text = String::from("\x1b[H");
        for line in tables.lines().take(room).chain([""]).chain(events.lines()) {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        text
    }
}

impl Show for Screen {
    fn begin(&mut self, recording: &Recording, scene: &Scene) -> anyhow::Result<()> {
        self.events.extend(recording.gaps().iter().map(|gap| format!("{}: {gap}\n", scene.target)));
        print("\x1b[2J")
    }

    fn pause(&mut self, scene: &Scene, remaining: &mut dyn FnMut() -> Duration) -> anyhow::Result<()> {
        loop {
            let left = remaining();
            if left.is_zero() {
                return Ok(());
            }
            if self.drawn.is_none_or(|drawn| drawn.elapsed() >= BETWEEN) {
                self.draw(scene)?;
            }
            std::thread::sleep(left.min(BETWEEN));
        }
    }

    fn moment(&mut self, moment: &Moment, scene: &Scene) -> anyhow::Result<()> {
        if let Some(event) = describe(moment, &scene.target) {
            self.events.push_back(show(&event));
            while self.events.len() > EVENTS {
                self.events.pop_front();
            }
        }
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= BETWEEN) {
            self.draw(scene)?;
        }
        Ok(())
    }

    fn draw(&mut self, scene: &Scene) -> anyhow::Result<()> {
        self.drawn = Some(Instant::now());
        print(&self.text(scene))
    }

    fn end(&mut self, scene: Scene) -> anyhow::Result<()> {
        self.draw(&scene)?;
        print(&differences_text(&scene.rerun.differences()))
    }
}
