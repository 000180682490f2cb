//! Sensors, their limits and how they moved.

use super::curve;
use crate::app::App;
use crate::screen::{Style, table};
use crate::units::{time, value};
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Span, Text};

pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &mut App, style: &Style) {
    let Some(target) = app.target.as_ref().filter(|target| target.sensors.is_some()) else {
        return super::nothing(frame, area, style, "Nothing was told of this target yet.");
    };
    let places = (target.position(), target.rows());
    let width = usize::from(area.width.saturating_sub(26 + 12 + 12 + 12 + 4));
    let titles = [
        ("SENSOR", Constraint::Length(26)),
        ("VALUE", Constraint::Length(12)),
        ("PER SECOND", Constraint::Length(12)),
        ("LIMIT", Constraint::Length(12)),
        ("HISTORY", Constraint::Fill(1)),
    ];
    table::rows(frame, area, app, style, &titles, places, |app, index| {
        row(app, index, width, style).unwrap_or_default()
    });
}

fn row<'a>(app: &App, index: usize, width: usize, style: &Style) -> Option<Vec<Text<'a>>> {
    let target = app.target.as_ref()?;
    let all = target.sensor_rows();
    let sensor = all.get(index)?;
    let clock = target.sensors.as_ref()?.clock_ns;
    let name = match &sensor.user_name {
        Some(user) => format!("{} {user}", sensor.name),
        None => sensor.name.clone(),
    };
    let look = if sensor.exceeded { style.warning() } else { ratatui::style::Style::new() };
    let limit = match (sensor.limit, sensor.class.as_str()) {
        (None, _) => "-".to_owned(),
        (Some(limit), "progress") => format!("in {}", time(limit)),
        (Some(limit), "floor") => format!(">= {}", value(limit, &sensor.unit)),
        (Some(limit), _) => format!("<= {}", value(limit, &sensor.unit)),
    };
    let rate = target.rate(sensor, clock).map_or(String::new(), |rate| format!("{rate:.0}"));
    Some(vec![
        Span::styled(name, look).into(),
        Span::styled(value(sensor.value, &sensor.unit), look).into(),
        rate.into(),
        limit.into(),
        Span::styled(curve(&target.history(&sensor.name), width), style.curve()).into(),
    ])
}
