//! Live sessions, and what would become of them.

use crate::app::App;
use crate::screen::{Style, table};
use crate::units::{bytes, time};
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Text;

pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &mut App, style: &Style) {
    let Some(target) = app.target.as_ref().filter(|target| target.sessions.is_some()) else {
        return super::nothing(
            frame,
            area,
            style,
            "The sessions were not read yet, or this target has no services.",
        );
    };
    let all: Vec<_> = target.sessions.iter().flatten().collect();
    let lost = all.iter().filter(|session| session.lost.is_some()).count();
    let summary = match (all.len(), lost) {
        (0, _) => "No sessions are open.".to_owned(),
        (count, 0) => format!("{count} sessions, all could go on elsewhere"),
        (count, lost) => format!("{count} sessions, {lost} would be lost"),
    };
    let places = (target.position(), target.rows());
    let below = super::headline(frame, area, style, summary);
    let titles = [
        ("CLIENT", Constraint::Length(22)),
        ("SERVICE", Constraint::Length(10)),
        ("STATE", Constraint::Length(12)),
        ("AGE", Constraint::Length(8)),
        ("STILL", Constraint::Length(8)),
        ("SNAPSHOT", Constraint::Length(12)),
        ("HELD", Constraint::Length(9)),
        ("COULD GO ON", Constraint::Fill(1)),
    ];
    table::rows(frame, below, app, style, &titles, places, |app, index| {
        row(app, index, style).unwrap_or_default()
    });
}

fn row<'a>(app: &App, index: usize, style: &Style) -> Option<Vec<Text<'a>>> {
    let all = app.target.as_ref()?.session_rows();
    let session = all.get(index)?;
    let snapshot = match session.snapshot {
        None => "no box".to_owned(),
        Some(0) => "none yet".to_owned(),
        Some(number) => format!("{number}: {}", bytes(session.snapshot_bytes as u64)),
    };
    let (fate, look) = match &session.lost {
        None => ("yes".to_owned(), ratatui::style::Style::new()),
        Some(why) => (format!("no: {why}"), style.warning()),
    };
    let cells: [String; 8] = [
        session.remote.to_string(),
        session.service.clone(),
        session.state.clone(),
        time(session.age_ns),
        time(session.still_ns),
        snapshot,
        bytes(session.received_bytes as u64),
        fate,
    ];
    Some(cells.map(|cell| Text::styled(cell, look)).into())
}
