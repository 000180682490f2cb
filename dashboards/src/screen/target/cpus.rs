//! Processors: what each does in a second.

use super::curve;
use crate::app::App;
use crate::screen::{Style, table};
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Span, Text};

/// Sensors of a processor, and the titles of their columns.
const COLUMNS: [(&str, &str); 4] = [
    ("cpu.switches", "SWITCHES/s"),
    ("cpu.ticks", "TICKS/s"),
    ("cpu.interrupts", "IRQS/s"),
    ("cpu.softirqs", "SOFTIRQS/s"),
];

pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &mut App, style: &Style) {
    let Some(target) = app.target.as_ref().filter(|target| target.sensors.is_some()) else {
        return super::nothing(frame, area, style, "Nothing was told of this target yet.");
    };
    let places = (target.position(), target.rows());
    let mut titles = vec![("CPU", Constraint::Length(5)), ("BUSY", Constraint::Length(5))];
    titles.extend(COLUMNS.map(|(_, title)| (title, Constraint::Length(11))));
    titles.push(("SWITCHES", Constraint::Fill(1)));
    let width = usize::from(area.width.saturating_sub(60));
    table::rows(frame, area, app, style, &titles, places, |app, cpu| {
        row(app, cpu, width, style).unwrap_or_default()
    });
}

fn row<'a>(app: &App, cpu: usize, width: usize, style: &Style) -> Option<Vec<Text<'a>>> {
    let target = app.target.as_ref()?;
    let told = target.sensors.as_ref()?;
    let named = |kind: &str| told.sensors.iter().find(|sensor| sensor.name == format!("{kind}[{cpu}]"));
    let busy = named("cpu.busy").map_or("-", |sensor| if sensor.value > 0 { "yes" } else { "no" });
    let mut cells = vec![Text::from(cpu.to_string()), busy.into()];
    cells.extend(COLUMNS.map(|(kind, _)| {
        let sensor = named(kind);
        let rate = sensor.and_then(|sensor| target.rate(sensor, told.clock_ns));
        let look = if sensor.is_some_and(|sensor| sensor.exceeded) {
            style.warning()
        } else {
            ratatui::style::Style::new()
        };
        Text::styled(rate.map_or("-".to_owned(), |rate| format!("{rate:.0}")), look)
    }));
    let history = target.history(&format!("{}[{cpu}]", COLUMNS[0].0));
    cells.push(Span::styled(curve(&history, width), style.curve()).into());
    Some(cells)
}
