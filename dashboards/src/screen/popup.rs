//! What lies over the rest: keys, questions, answers.

use super::Style;
use crate::app::{App, Popup};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

const KEYS: &[(&str, &str)] = &[
    ("arrows, j k", "move; PgUp PgDn, g G or Home End move further"),
    ("Enter, l", "look at the target from near"),
    ("q, Esc", "go back; in the fleet q quits"),
    ("/", "show only what contains a word; Esc shows all again"),
    ("s, r", "sort by the next column, reverse"),
    ("Tab, 1 to 7", "pages of a target"),
    ("F", "fence: have the target send nothing from its service addresses"),
    ("R", "recover: fence the target and take over its live sessions"),
    ("a, x", "approve or reject the selected proposal (Verdicts)"),
    ("t", "processes as list or as tree"),
    ("K, T, U", "kill the selected process, its tree, all of its user"),
    ("Space", "pause a recording, have it go on"),
    ("mouse", "click selects and opens, the wheel moves"),
    ("Ctrl-C", "quit at once"),
];

const SIGNS: &str = "Signs: + healthy   ! suspect   X failed   ? unknown";

pub fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, style: &Style) {
    let Some(popup) = &app.popup else { return };
    let (title, lines) = match popup {
        Popup::Help => {
            let mut lines: Vec<String> =
                KEYS.iter().map(|(keys, what)| format!("{keys:<13} {what}")).collect();
            lines.extend([
                String::new(),
                SIGNS.to_owned(),
                "Nothing is done without a question first.".to_owned(),
            ]);
            ("Keys".to_owned(), lines)
        }
        Popup::Confirm(action) => {
            let mut lines = action.consequences();
            lines.extend([
                String::new(),
                format!("The same on the command line: {}", action.command_line()),
                String::new(),
            ]);
            let dry = if action.can_be_tried() { "   d try only, do nothing" } else { "" };
            lines.push(format!("y do it{dry}   n do not"));
            ("Sure?".to_owned(), lines)
        }
        Popup::Message { title, lines } => {
            let lines = [lines.clone(), vec![String::new(), "Any key goes on.".to_owned()]].concat();
            (title.clone(), lines)
        }
    };
    let width = area.width.saturating_sub(4).min(76);
    let inner = usize::from(width.saturating_sub(4)).max(1);
    // Lines that are too long are wrapped, which takes more rows.
    let rows: usize = lines.iter().map(|line| line.chars().count().div_ceil(inner).max(1)).sum();
    let height = u16::try_from(rows + 2).unwrap_or(u16::MAX).min(area.height);
    let place =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let text: Vec<Line<'_>> = lines.into_iter().map(Line::from).collect();
    let block = Block::bordered()
        .title(format!(" {title} "))
        .border_style(style.strong())
        .padding(ratatui::widgets::Padding::horizontal(1));
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }).block(block), place);
}
