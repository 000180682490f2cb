//! One target from near, a page each.

mod cpus;
mod events;
mod processes;
mod recovery;
mod sensors;
mod sessions;
mod verdicts;

use super::Style;
use crate::app::App;
use crate::source::Wish;
use crate::target::Tab;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};

pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &mut App, style: &Style) {
    let Some(target) = &app.target else { return };
    let (tab, problem) = (target.tab, problem(app));
    let body = match problem {
        Some(problem) => {
            let [above, body] = Layout::vertical([Constraint::Length(2), Constraint::Fill(1)]).areas(area);
            frame.render_widget(
                Paragraph::new(Line::styled(problem, style.warning())).wrap(Wrap { trim: true }),
                above,
            );
            body
        }
        None => area,
    };
    match tab {
        Tab::Verdicts => verdicts::draw(frame, body, app, style),
        Tab::Sensors => sensors::draw(frame, body, app, style),
        Tab::Cpus => cpus::draw(frame, body, app, style),
        Tab::Processes => processes::draw(frame, body, app, style),
        Tab::Sessions => sessions::draw(frame, body, app, style),
        Tab::Events => events::draw(frame, body, app, style),
        Tab::Recovery => recovery::draw(frame, body, app, style),
    }
}

/// Why something of this page is not told, or the target not read.
fn problem(app: &App) -> Option<String> {
    let target = app.target.as_ref()?;
    let of_page = target.wishes().iter().find_map(|wish: &Wish| target.problems.get(wish)).cloned();
    of_page.or_else(|| {
        let summary = &target.sensors.as_ref()?.target;
        summary.problem.as_ref().map(|problem| format!("{}: {problem}", summary.reach.name()))
    })
}

/// A page that has nothing to show, and why.
fn nothing(frame: &mut Frame<'_>, area: Rect, style: &Style, text: &'static str) {
    frame.render_widget(Paragraph::new(Line::styled(text, style.faint())).wrap(Wrap { trim: true }), area);
}

/// Says in a line what is below, and leaves that place.
fn headline(frame: &mut Frame<'_>, area: Rect, style: &Style, text: String) -> Rect {
    let [above, below] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Paragraph::new(Line::styled(text, style.faint())), above);
    below
}

/// A curve of one row, of the newest values that fit.
fn curve(values: &[f64], width: usize) -> String {
    const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &values[values.len().saturating_sub(width)..];
    let (least, most) =
        shown.iter().fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(*value), most.max(*value)));
    let step = |value: &f64| {
        let share = if most > least { (value - least) / (most - least) } else { 0.0 };
        // A share is from 0 to 1.
        STEPS[((share * 7.0).round() as usize).min(7)]
    };
    shown.iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_the_newest_values_between_the_least_and_the_most() {
        assert_eq!(curve(&[9.0, 0.0, 3.5, 7.0], 3), "▁▅█");
        assert_eq!(curve(&[5.0, 5.0], 10), "▁▁");
        assert_eq!(curve(&[], 10), "");
    }
}
