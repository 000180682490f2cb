use super::*;
use crate::source::{Refused, Told, Wish};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

fn drawn(app: &mut App, (width, height): (u16, u16), now: u64) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let style = Style::of_environment(|_| None);
    terminal.draw(|frame| draw(frame, app, &style, Duration::from_secs(now))).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = (0..height).map(|y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>());
    rows.map(|row| row.trim_end().to_owned() + "\n").collect()
}

#[test]
fn a_terminal_that_is_too_small_is_told_how_large_it_must_be() {
    for size in [(79, 24), (80, 23), (20, 5), (1, 1)] {
        let text = drawn(&mut App::default(), size, 1);
        assert!(size.0 < 20 || text.contains("The terminal has"), "{text}");
    }
}

#[test]
fn before_anything_is_told_and_without_targets_the_screen_says_so() {
    let mut app = App::default();
    assert!(drawn(&mut app, LEAST, 1).contains("Nothing was told yet."));
    app.take_in(&Wish::Fleet, Ok(Told::Fleet(Vec::new())), Duration::from_secs(1));
    assert!(drawn(&mut app, LEAST, 1).contains("The monitor has no targets"));
}

#[test]
fn a_monitor_that_is_gone_is_told_as_gone_and_an_old_answer_as_old() {
    let mut app = App::default();
    app.take_in(&Wish::Fleet, Ok(Told::Fleet(Vec::new())), Duration::from_secs(1));
    assert!(drawn(&mut app, LEAST, 6).contains("OLD: the monitor told nothing for 5 s"));
    app.take_in(&Wish::Fleet, Err(Refused::Gone("nobody listens".to_owned())), Duration::from_secs(7));
    let text = drawn(&mut app, LEAST, 10);
    assert!(text.contains("NO MONITOR for 3 s") && text.contains("nobody listens"), "{text}");
}
