//! What is said of the layers, why, and what healers propose.

use crate::app::App;
use crate::screen::{Style, table};
use crate::units::time;
use backdoors_monitor_api::{ProposalState, VerdictRow};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Paragraph, Wrap};

pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &mut App, style: &Style) {
    let Some(verdicts) = app.target.as_ref().and_then(|target| target.verdicts.as_ref()) else {
        return super::nothing(frame, area, style, "Nothing was told of this target yet.");
    };
    let mut lines: Vec<Line<'_>> = verdicts.layers.iter().flat_map(|row| of_layer(row, style)).collect();
    let lateness = verdicts.lateness;
    if lateness.multiplier > 1.0 {
        lines.push(Line::styled(
            format!(
                "The monitor itself is late: its deadlines are {:.1} times as long.",
                lateness.multiplier
            ),
            style.warning(),
        ));
    }
    let proposals = app.target.as_ref().map_or(0, |target| target.proposals.len());
    let below = u16::try_from(proposals + 2).unwrap_or(u16::MAX).min(area.height / 2);
    let [above, below] = Layout::vertical([Constraint::Fill(1), Constraint::Length(below)]).areas(area);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), above);
    if proposals == 0 {
        return super::nothing(frame, below, style, "No healer proposes anything.");
    }
    let titles = [
        ("PROPOSAL", Constraint::Length(10)),
        ("STATE", Constraint::Length(10)),
        ("HEALER", Constraint::Length(12)),
        ("CULPRIT", Constraint::Length(18)),
        ("STRIKES", Constraint::Length(8)),
        ("ORDERS", Constraint::Fill(1)),
    ];
    let position = app.target.as_ref().map_or(0, crate::target::Target::position);
    table::rows(frame, below, app, style, &titles, (position, proposals), |app, index| {
        let Some(proposal) = app.target.as_ref().and_then(|target| target.proposals.get(index)) else {
            return Vec::new();
        };
        let look = if proposal.state == ProposalState::Open { style.warning() } else { style.faint() };
        let cells: [String; 6] = [
            proposal.id.to_string(),
            proposal.state.name().to_owned(),
            proposal.healer.clone(),
            proposal.user_name.clone().unwrap_or_else(|| proposal.culprit.clone()),
            proposal.victims.to_string(),
            proposal.orders.join(" && "),
        ];
        cells.map(|cell| Text::styled(cell, look)).into()
    });
}

fn of_layer<'a>(row: &'a VerdictRow, style: &Style) -> Vec<Line<'a>> {
    let name = row.subject.as_deref().unwrap_or(row.layer.name());
    let since = if row.since_ms == 0 {
        String::new()
    } else {
        format!("for {}", time(row.since_ms.saturating_mul(1_000_000)))
    };
    let sure = format!("{:.0} % sure", row.confidence * 100.0);
    let first = Line::from(vec![
        Span::styled(format!("{name:<17} "), style.strong()),
        Span::styled(
            format!("{} {:<8}", Style::sign(row.state), row.state.name()),
            style.of_state(row.state),
        ),
        Span::styled(format!("  {sure:<11} {since}"), style.faint()),
    ]);
    let evidence = row.evidence.iter().map(|text| Line::from(format!("    {text}")));
    std::iter::once(first).chain(evidence).collect()
}
