//! What is above and below: where one is, how old it is, and the keys.

use super::Style;
use crate::app::App;
use crate::target::Tab;
use crate::units::time;
use backdoors_monitor_api::State;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use std::time::Duration;

pub fn head(frame: &mut Frame<'_>, area: Rect, app: &App, style: &Style, now: Duration) {
    let mut first = vec![Span::styled("backdoors ", style.strong())];
    let mut second = Vec::new();
    match &app.target {
        None => {
            let states = [State::Failed, State::Suspect, State::Unknown, State::Healthy];
            let count = |state| app.fleet.all().iter().filter(|target| target.state == state).count();
            let all = app.fleet.all().len();
            first.push(Span::raw(format!("{all} target{}: ", if all == 1 { "" } else { "s" })));
            for state in states {
                let count = count(state);
                let look = if count > 0 { style.of_state(state) } else { style.faint() };
                first.push(Span::styled(format!("{count} {state}"), look));
                first.push(Span::raw("  "));
            }
            let (order, is_reversed) = app.fleet.order();
            let turn = if is_reversed { ", reversed" } else { "" };
            second.push(Span::styled(format!("sorted by {}{turn}", order.name()), style.faint()));
            if !app.fleet.filter().is_empty() {
                second.push(Span::styled(
                    format!("   only what contains `{}`: {} rows", app.fleet.filter(), app.fleet.len()),
                    style.warning(),
                ));
            }
        }
        Some(target) => {
            first.push(Span::styled(target.name.clone(), style.strong()));
            let told = target
                .sensors
                .as_ref()
                .map(|sensors| &sensors.target)
                .or_else(|| app.fleet.named(&target.name));
            match told {
                Some(summary) => {
                    first.push(Span::raw("  "));
                    first.push(Span::styled(
                        format!("{} {}", Style::sign(summary.state), summary.verdict),
                        style.of_state(summary.state),
                    ));
                    let age = summary
                        .age_ns
                        .map_or("never read".to_owned(), |age| format!("read {} ago", time(age)));
                    first.push(Span::raw(format!(
                        "  {}  {age}, every {}",
                        summary.reach.name(),
                        time(summary.period_ns)
                    )));
                    if app.told_at.is_some() && app.fleet.named(&target.name).is_none() {
                        first.push(Span::styled("  no longer a target", style.warning()));
                    }
                }
                None => first.push(Span::styled("  no such target", style.warning())),
            }
            for (index, tab) in Tab::ALL.into_iter().enumerate() {
                let look = if tab == target.tab { style.selected() } else { style.faint() };
                second.push(Span::styled(format!(" {} {} ", index + 1, tab.title()), look));
            }
        }
    }
    if app.is_recorded {
        let paused = if app.is_paused { ", PAUSED" } else { "" };
        first.push(Span::styled(format!("  RECORDING{paused}"), style.warning()));
    }
    if let Some((why, since)) = &app.gone {
        let text = format!(
            "NO MONITOR for {:.0} s: what is shown is of before. {why}",
            now.saturating_sub(*since).as_secs_f64()
        );
        second = vec![Span::styled(text, style.of_state(State::Failed))];
    } else if let Some(told) = app.told_at.filter(|_| app.is_stale(now)) {
        let text =
            format!("OLD: the monitor told nothing for {:.0} s", now.saturating_sub(told).as_secs_f64());
        second = vec![Span::styled(text, style.warning())];
    }
    frame.render_widget(Paragraph::new(vec![Line::from(first), Line::from(second)]), area);
}

pub fn foot(frame: &mut Frame<'_>, area: Rect, app: &App, style: &Style) {
    let line = if let Some(typed) = &app.typing {
        Line::from(vec![Span::styled("filter: ", style.strong()), Span::raw(format!("{typed}_"))])
    } else if let Some(line) = app.under_way.first() {
        Line::from(Span::styled(format!("under way: {line}"), style.warning()))
    } else {
        let keys = match app.target.as_ref().map(|target| target.tab) {
            None if app.is_recorded => "Enter open  Space pause  ? help  q quit",
            Some(_) if app.is_recorded => "Space pause  Tab next page  / filter  ? help  q back",
            None => "Enter open  / filter  s sort  r reverse  R recover  ? help  q quit",
            Some(Tab::Verdicts) => "a approve  x reject  R recover  Tab next page  / filter  ? help  q back",
            Some(Tab::Processes) => {
                "t tree  s sort  K kill  T kill tree  U kill user  / filter  ? help  q back"
            }
            Some(_) => "R recover  Tab next page  / filter  ? help  q back",
        };
        Line::from(Span::styled(keys, style.faint()))
    };
    frame.render_widget(Paragraph::new(line), area);
}
