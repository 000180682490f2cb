//! What the journal has of the target, newest first.

use crate::app::App;
use crate::screen::{Style, table};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Paragraph, Wrap};

/// Rows below for the whole text of the selected entry.
const WHOLE: u16 = 4;

pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &mut App, style: &Style) {
    let Some(target) = app.target.as_ref().filter(|target| !target.events.is_empty()) else {
        return super::nothing(frame, area, style, "The journal has nothing of this target.");
    };
    let places = (target.position(), target.rows());
    let whole = target.event_rows().get(places.0).map(|event| event.text.clone()).unwrap_or_default();
    let [above, below] = Layout::vertical([Constraint::Fill(1), Constraint::Length(WHOLE)]).areas(area);
    let titles =
        [("TIME", Constraint::Length(15)), ("KIND", Constraint::Length(18)), ("WHAT", Constraint::Fill(1))];
    table::rows(frame, above, app, style, &titles, places, |app, index| {
        row(app, index, style).unwrap_or_default()
    });
    frame.render_widget(Paragraph::new(Line::from(whole)).wrap(Wrap { trim: true }), below);
}

fn row<'a>(app: &App, index: usize, style: &Style) -> Option<Vec<Text<'a>>> {
    const ALARMING: [&str; 8] =
        ["lost", "verdict", "event", "refused", "gave-up", "timed-out", "unkillable", "sessions-recovered"];
    let all = app.target.as_ref()?.event_rows();
    let event = all.get(index)?;
    // The day is told by the line below, which has it all.
    let time = event.time.split('T').nth(1).unwrap_or(&event.time).trim_end_matches('Z').to_owned();
    let look =
        if ALARMING.contains(&event.kind.as_str()) { style.strong() } else { ratatui::style::Style::new() };
    let cells: [String; 3] = [time, event.kind.clone(), event.text.clone()];
    Some(cells.map(|cell| Text::styled(cell, look)).into())
}
