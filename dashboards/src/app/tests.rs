use super::*;
use backdoors_monitor_api::{ProcessRow, ProcessesAnswer, TargetSummary};

fn targets(names: &[&str]) -> Vec<TargetSummary> {
    let of = |name: &&str| {
        let text = format!(
            r#"{{"name":"{name}","address":"a","reach":"reachable","problem":null,"age_ns":1,"clock_moved_ns":1,"generation":1,
            "capabilities":[],"slot":0,"connections":3,"period_ns":1,"samples":1,"failures":0,"exceeded":[],"running":null}}"#
        );
        serde_json::from_str(&text).unwrap()
    };
    names.iter().map(of).collect()
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn app() -> App {
    let mut app = App::default();
    app.take_in(&Wish::Fleet, Ok(Told::Fleet(targets(&["web1", "web2", "web3"]))), at(1));
    app
}

fn press(app: &mut App, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\t' => KeyCode::Tab,
            letter => KeyCode::Char(letter),
        };
        app.on_key(KeyEvent::new(code, KeyModifiers::NONE));
    }
}

fn selected(app: &App) -> &str {
    &app.fleet.selected().unwrap().name
}

/// Looking at the processes of web1, `count` of them.
fn at_processes(count: u32) -> App {
    let mut app = app();
    press(&mut app, "\n4");
    let row = |pid| -> ProcessRow {
        serde_json::from_str(&format!(
            r#"{{"pid":{pid},"parent":1,"user":1000,"user_name":"mallory","depth":0,"kernel":false,"protected":false,"start_ns":1,
            "rss_bytes":1,"cpu_ns":1,"command":"bomb"}}"#
        ))
        .unwrap()
    };
    let processes = (0..count).map(|index| row(100 + index)).collect();
    let read = ProcessesAnswer { target: "web1".to_owned(), clock_ns: 1, lost: 0, torn: 0, processes };
    app.take_in(&Wish::Processes("web1".to_owned()), Ok(Told::Processes(read)), at(1));
    app
}

#[test]
fn keys_move_the_selection_as_people_know_them() {
    let mut app = app();
    assert_eq!(selected(&app), "web1");
    press(&mut app, "jj");
    assert_eq!(selected(&app), "web3");
    press(&mut app, "jjj");
    assert_eq!(selected(&app), "web3");
    press(&mut app, "k");
    assert_eq!(selected(&app), "web2");
    press(&mut app, "g");
    assert_eq!(selected(&app), "web1");
    press(&mut app, "G");
    assert_eq!(selected(&app), "web3");
    press(&mut app, "q");
    assert!(app.is_over);
}

#[test]
fn only_what_is_on_the_screen_is_asked_for() {
    let mut app = app();
    assert_eq!(app.wishes(), [Wish::Fleet]);
    press(&mut app, "\n");
    let name = || "web1".to_owned();
    assert_eq!(app.wishes(), [Wish::Fleet, Wish::Sensors(name()), Wish::Proposals(name())]);
    press(&mut app, "5");
    assert_eq!(app.wishes(), [Wish::Fleet, Wish::Sensors(name()), Wish::Sessions(name())]);
    press(&mut app, "q");
    assert_eq!(app.wishes(), [Wish::Fleet]);
    assert!(!app.is_over);
}

#[test]
fn nothing_is_done_that_was_not_confirmed() {
    let mut app = at_processes(2);
    press(&mut app, "K");
    assert!(matches!(app.popup, Some(Popup::Confirm(_))));
    assert!(app.take_deeds().is_empty());
    press(&mut app, "jx\n");
    assert!(app.take_deeds().is_empty());
    press(&mut app, "n");
    assert!(app.popup.is_none() && app.take_deeds().is_empty());
    press(&mut app, "jKy");
    let kill = Action::Kill {
        target: "web1".to_owned(),
        subject: HealSubject::Process(101),
        whom: "process 101 (bomb)".to_owned(),
    };
    assert_eq!(app.take_deeds(), [Deed { action: kill, dry_run: false }]);
    press(&mut app, "Ud");
    let deeds = app.take_deeds();
    assert!(deeds[0].dry_run && deeds[0].action.command_line() == "backdoors heal web1 --uid mallory");
}

#[test]
fn what_came_of_a_deed_is_told_and_no_longer_under_way() {
    let mut app = at_processes(1);
    press(&mut app, "Ky");
    let deed = app.take_deeds().remove(0);
    assert_eq!(app.under_way, ["backdoors heal web1 --pid 100"]);
    app.take_in_outcome(&deed, Outcome::Failed("the guard refused".to_owned()));
    assert!(app.under_way.is_empty());
    assert!(
        matches!(&app.popup, Some(Popup::Message { title, lines }) if title == "Not done" && lines[2] == "the guard refused")
    );
    press(&mut app, "y");
    assert!(app.popup.is_none() && app.take_deeds().is_empty());
}

#[test]
fn nothing_can_be_done_about_a_recording() {
    let mut app = App { is_recorded: true, ..at_processes(1) };
    press(&mut app, "Ky");
    assert!(app.take_deeds().is_empty());
}

#[test]
fn a_recording_is_paused_and_goes_on() {
    let mut app = App { is_recorded: true, ..app() };
    for is_paused in [true, false] {
        press(&mut app, " ");
        assert_eq!(app.is_paused, is_paused);
    }
}

#[test]
fn what_happens_now_cannot_be_paused() {
    let mut app = app();
    press(&mut app, " ");
    assert!(!app.is_paused);
}

#[test]
fn news_of_another_target_than_the_one_that_is_shown_are_left_out() {
    let mut app = at_processes(3);
    let read =
        ProcessesAnswer { target: "web2".to_owned(), clock_ns: 1, lost: 0, torn: 0, processes: Vec::new() };
    app.take_in(&Wish::Processes("web2".to_owned()), Ok(Told::Processes(read)), at(2));
    assert_eq!(app.target.as_ref().unwrap().processes.len(), 3);
}

#[test]
fn what_nobody_tells_any_more_is_old_until_somebody_tells_again() {
    let mut app = app();
    assert!(!app.is_stale(at(2)));
    assert!(app.is_stale(at(9)));
    app.take_in(&Wish::Fleet, Err(Refused::Gone("no monitor".to_owned())), at(10));
    app.take_in(&Wish::Fleet, Err(Refused::Gone("no monitor".to_owned())), at(11));
    assert_eq!(app.gone, Some(("no monitor".to_owned(), at(10))));
    assert_eq!(app.fleet.len(), 3);
    app.take_in(&Wish::Fleet, Ok(Told::Fleet(targets(&["web1"]))), at(12));
    assert!(app.gone.is_none() && !app.is_stale(at(12)));
}

#[test]
fn a_problem_of_a_page_is_shown_until_it_is_told_again() {
    let mut app = at_processes(3);
    let wish = Wish::Processes("web1".to_owned());
    app.take_in(&wish, Err(Refused::Failed("the target cannot be reached".to_owned())), at(2));
    assert_eq!(app.target.as_ref().unwrap().problems.get(&wish).unwrap(), "the target cannot be reached");
    assert!(app.gone.is_none());
    let read =
        ProcessesAnswer { target: "web1".to_owned(), clock_ns: 2, lost: 0, torn: 0, processes: Vec::new() };
    app.take_in(&wish, Ok(Told::Processes(read)), at(3));
    assert!(app.target.as_ref().unwrap().problems.is_empty());
}

#[test]
fn a_filter_is_typed_and_taken_back() {
    let mut app = app();
    press(&mut app, "/B3\n");
    assert_eq!((app.fleet.filter(), app.fleet.len()), ("B3", 1));
    assert!(app.typing.is_none() && !app.is_over);
    press(&mut app, "/\x1b");
    assert_eq!((app.fleet.filter(), app.fleet.len()), ("", 3));
}

#[test]
fn a_click_selects_a_row_and_another_opens_it() {
    let mut app = app();
    (app.first_row, app.room) = ((3, 0), 20);
    let click = |row| MouseEvent {
        kind: MouseEventKind::Down(MouseButton::Left),
        column: 5,
        row,
        modifiers: KeyModifiers::NONE,
    };
    app.on_mouse(click(4));
    assert_eq!(selected(&app), "web2");
    app.on_mouse(click(40));
    app.on_mouse(click(1));
    assert_eq!(selected(&app), "web2");
    app.on_mouse(click(4));
    assert_eq!(app.target.as_ref().unwrap().name, "web2");
}
