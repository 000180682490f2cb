//! Processes, as a list or as a tree.

use crate::app::App;
use crate::screen::{Style, table};
use crate::target::ProcessOrder;
use crate::units::{bytes, time};
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Text;

pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &mut App, style: &Style) {
    let Some((target, read)) =
        app.target.as_ref().and_then(|target| Some((target, target.processes_in_all()?)))
    else {
        return super::nothing(frame, area, style, "The processes were not read yet.");
    };
    let order = match target.process_order {
        ProcessOrder::Cpu => "CPU",
        ProcessOrder::Memory => "memory",
        ProcessOrder::Pid => "pid",
    };
    let shape = if target.is_tree { "tree" } else { "list" };
    let mut summary = format!("{} processes, {shape} sorted by {order}", read.processes.len());
    if read.lost > 0 {
        summary.push_str(&format!("; {} found no room in the table", read.lost));
    }
    if !target.filter.is_empty() {
        summary.push_str(&format!("; {} contain `{}`", target.processes.len(), target.filter));
    }
    let places = (target.position(), target.rows());
    let below = super::headline(frame, area, style, summary);
    let titles = [
        ("PID", Constraint::Length(8)),
        ("USER", Constraint::Length(10)),
        ("CPU %", Constraint::Length(6)),
        ("CPU TIME", Constraint::Length(9)),
        ("MEMORY", Constraint::Length(10)),
        ("GROUP", Constraint::Length(16)),
        ("COMMAND", Constraint::Fill(1)),
    ];
    table::rows(frame, below, app, style, &titles, places, |app, index| {
        row(app, index, style).unwrap_or_default()
    });
}

fn row<'a>(app: &App, index: usize, style: &Style) -> Option<Vec<Text<'a>>> {
    let process = app.target.as_ref()?.processes.get(index)?;
    let own = &process.row;
    let look = if own.kernel || own.protected { style.faint() } else { ratatui::style::Style::new() };
    let sign = if own.protected { " (of Backdoors)" } else { "" };
    let cells: [String; 7] = [
        own.pid.to_string(),
        own.user_name.clone().unwrap_or_else(|| own.user.to_string()),
        process.cpu.map_or("-".to_owned(), |share| format!("{:.1}", share * 100.0)),
        time(own.cpu_ns),
        bytes(own.rss_bytes),
        own.cgroup_name.clone(),
        format!("{}{}{sign}", "  ".repeat(process.depth), own.command),
    ];
    Some(cells.map(|cell| Text::styled(cell, look)).into())
}
