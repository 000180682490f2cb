//! Rows with a selection.

use super::Style;
use crate::app::App;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Text;
use ratatui::widgets::{Cell, Row, Table};

/// Draws rows below their titles, so that `position` of `rows` is among them, and notes where. `row` makes the cells of a row.
pub fn rows<'a>(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &mut App,
    style: &Style,
    titles: &[(&'static str, Constraint)],
    (position, count): (usize, usize),
    row: impl Fn(&App, usize) -> Vec<Text<'a>>,
) {
    let room = usize::from(area.height.saturating_sub(1));
    let first = first_row(app.first_row.1, position, count, room);
    (app.room, app.first_row) = (room, (area.y + 1, first));
    let shown: Vec<Row<'_>> = (first..count.min(first + room))
        .map(|index| {
            let cells = row(app, index).into_iter().map(Cell::from);
            let look = if index == position { style.selected() } else { ratatui::style::Style::new() };
            Row::new(cells).style(look)
        })
        .collect();
    let header = Row::new(titles.iter().map(|(title, _)| Cell::from(*title))).style(style.title());
    let widths = titles.iter().map(|(_, width)| *width);
    frame.render_widget(Table::new(shown, widths).header(header).column_spacing(1), area);
}

/// The first row to draw: the same as before as long as the selection is seen.
fn first_row(before: usize, position: usize, count: usize, room: usize) -> usize {
    let room = room.max(1);
    let most = count.saturating_sub(room);
    let lowest = (position + 1).saturating_sub(room);
    before.clamp(lowest.min(position), position).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_move_only_as_far_as_the_selection_needs() {
        assert_eq!(first_row(0, 0, 100, 10), 0);
        assert_eq!(first_row(0, 9, 100, 10), 0);
        assert_eq!(first_row(0, 10, 100, 10), 1);
        assert_eq!(first_row(50, 55, 100, 10), 50);
        assert_eq!(first_row(50, 49, 100, 10), 49);
        // The list became short.
        assert_eq!(first_row(50, 3, 4, 10), 0);
        assert_eq!(first_row(95, 99, 100, 10), 90);
        assert_eq!(first_row(5, 0, 0, 0), 0);
    }
}
