//! What the dashboard looks like.

mod fleet;
mod frame;
mod popup;
mod style;
mod table;
mod target;

pub use style::Style;

use crate::app::App;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};
use std::time::Duration;

/// The least that a screen needs.
pub const LEAST: (u16, u16) = (80, 24);

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, app: &mut App, style: &Style, now: Duration) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!(
            "The terminal has {} columns and {} rows; {} and {} are needed. Enlarge it, or press q.",
            area.width, area.height, LEAST.0, LEAST.1
        );
        frame.render_widget(Paragraph::new(Line::from(text)).wrap(Wrap { trim: true }), area);
        return;
    }
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    frame::head(frame, head, app, style, now);
    if app.target.is_some() {
        target::draw(frame, body, app, style);
    } else {
        fleet::draw(frame, body, app, style);
    }
    frame::foot(frame, foot, app, style);
    popup::draw(frame, area, app, style);
}

#[cfg(test)]
mod tests;
