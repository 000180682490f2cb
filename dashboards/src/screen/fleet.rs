//! The fleet: a row for each target.

use super::{Style, table};
use crate::app::App;
use crate::units::time;
use backdoors_monitor_api::{Reach, TargetSummary};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Paragraph, Wrap};

/// Rows below for the selected target.
const DETAIL: u16 = 2;

pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &mut App, style: &Style) {
    if app.fleet.len() == 0 {
        let text = match (app.told_at, app.fleet.all().is_empty()) {
            (None, _) => "Nothing was told yet.",
            (Some(_), true) => "The monitor has no targets: add them to its configuration.",
            (Some(_), false) => "No target contains that; press / and Esc to see all.",
        };
        frame.render_widget(Paragraph::new(Line::styled(text, style.faint())), area);
        return;
    }
    let is_wide = area.width >= 100;
    let width = |wide, narrow| Constraint::Length(if is_wide { wide } else { narrow });
    let titles = [
        ("TARGET", width(16, 12)),
        ("VERDICT", width(20, 18)),
        ("SINCE", width(8, 8)),
        ("EVERY", width(8, 0)),
        ("NEAREST LIMIT", width(if area.width >= 120 { 28 } else { 20 }, 18)),
        ("SESSIONS", width(8, 5)),
        ("LAST EVENT", Constraint::Fill(1)),
    ];
    let [area, below] = Layout::vertical([Constraint::Fill(1), Constraint::Length(DETAIL)]).areas(area);
    let places = (app.fleet.position(), app.fleet.len());
    table::rows(frame, area, app, style, &titles, places, |app, index| {
        app.fleet.rows(index, 1).next().map(|target| row(target, style)).unwrap_or_default()
    });
    if let Some(target) = app.fleet.selected() {
        frame.render_widget(Paragraph::new(Line::from(whole(target))).wrap(Wrap { trim: true }), below);
    }
}

/// What of the selected target does not fit into its row.
fn whole(target: &TargetSummary) -> String {
    let nearest = target.nearest.as_ref().map(|nearest| nearest.name.clone());
    let event = target.last_event.as_ref().map(|event| event.text.clone());
    let every = format!("every {}", time(target.period_ns));
    let parts = [Some(every), nearest, target.running.clone(), target.problem.clone(), event];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{} {}: {}", target.name, target.verdict, parts.join("; "))
}

fn row<'a>(target: &TargetSummary, style: &Style) -> Vec<Text<'a>> {
    let is_readable = target.reach == Reach::Reachable;
    let verdict = match target.reach {
        Reach::Reachable | Reach::Failing => target.verdict.clone(),
        reach if target.verdict == "unknown" => reach.name().to_owned(),
        _ => target.verdict.clone(),
    };
    let verdict =
        Span::styled(format!("{} {verdict}", Style::sign(target.state)), style.of_state(target.state));
    let nearest = target.nearest.as_ref().map(|nearest| {
        let text = match nearest.share {
            share if share >= 1.0 => format!("{} OVER", nearest.name),
            share => format!("{} {:.0} %", nearest.name, share * 100.0),
        };
        Span::styled(text, if nearest.share >= 1.0 { style.warning() } else { style.faint() })
    });
    let sessions = target.sessions.map(|sessions| match sessions.unprotected {
        0 => Span::raw(sessions.open.to_string()),
        unprotected => Span::styled(format!("{} -{unprotected}", sessions.open), style.warning()),
    });
    let event = match (&target.running, &target.last_event) {
        (Some(running), _) => Span::styled(running.clone(), style.warning()),
        (None, _) if target.open_proposals > 0 => {
            Span::styled(format!("{} proposals wait for approval", target.open_proposals), style.warning())
        }
        (None, Some(event)) => Span::raw(event.text.clone()),
        (None, None) => Span::raw(target.problem.clone().unwrap_or_default()),
    };
    let name = Span::styled(target.name.clone(), if is_readable { style.strong() } else { style.faint() });
    let since =
        if target.since_ms == 0 { "-".to_owned() } else { time(target.since_ms.saturating_mul(1_000_000)) };
    vec![
        name.into(),
        verdict.into(),
        since.into(),
        time(target.period_ns).into(),
        nearest.unwrap_or_default().into(),
        sessions.unwrap_or_default().into(),
        event.into(),
    ]
}
