//! The last recovery: when its phases ended, and what became of the sessions.

use crate::app::App;
use crate::screen::{Style, table};
use backdoors_monitor_api::recovery::{Fate, Report};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Paragraph, Wrap};

pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &mut App, style: &Style) {
    let Some((target, report)) = app.target.as_ref().and_then(|target| Some((target, target.recovery()?)))
    else {
        return super::nothing(
            frame,
            area,
            style,
            "The journal knows of no recovery of this target's sessions. R begins one.",
        );
    };
    let places = (target.position(), target.rows());
    let mut lines = vec![Line::styled(report.text(), style.strong())];
    lines.extend(timeline(report, usize::from(area.width), style));
    lines.extend(report.notes.iter().map(|note| Line::styled(format!("note: {note}"), style.warning())));
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX).min(area.height.saturating_sub(4));
    let [above, below] = Layout::vertical([Constraint::Length(height), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), above);
    let titles = [
        ("CLIENT", Constraint::Length(24)),
        ("SERVICE", Constraint::Length(24)),
        ("FATE", Constraint::Fill(1)),
    ];
    table::rows(frame, below, app, style, &titles, places, |app, index| {
        let report = app.target.as_ref().and_then(|target| target.recovery());
        let Some(session) = report.and_then(|report| report.sessions.get(index)) else { return Vec::new() };
        let (fate, look) = match &session.fate {
            Fate::Resumed { after } => {
                (format!("speaks since {:.1} ms", after.as_secs_f64() * 1e3), style.faint())
            }
            Fate::Recoverable => ("can go on".to_owned(), style.faint()),
            Fate::Earlier => ("goes on since an earlier recovery".to_owned(), style.faint()),
            Fate::Lost(why) => (format!("lost: {why}"), style.warning()),
        };
        let cells: [String; 3] = [session.remote.to_string(), session.local.to_string(), fate];
        cells.map(|cell| Text::styled(cell, look)).into()
    });
}

/// A bar for each phase, from the end of the one before to its own.
fn timeline<'a>(report: &Report, width: usize, style: &Style) -> Vec<Line<'a>> {
    const LABEL: usize = 28;
    let room = width.saturating_sub(LABEL).max(10);
    let whole = report.marks.iter().map(|mark| mark.after.as_secs_f64()).fold(0.0, f64::max).max(1e-9);
    let column = |seconds: f64| ((seconds / whole) * room as f64).round() as usize;
    let mut before = 0.0;
    let mut lines = Vec::new();
    for mark in &report.marks {
        let after = mark.after.as_secs_f64();
        let (from, to) = (column(before), column(after));
        let bar = format!("{}{}", " ".repeat(from), "█".repeat(to.saturating_sub(from).max(1)));
        lines.push(Line::from(vec![
            Span::raw(format!("{:<14} {:>8.1} ms ", mark.phase, after * 1e3)),
            Span::styled(bar, style.curve()),
        ]));
        before = after;
    }
    lines
}
