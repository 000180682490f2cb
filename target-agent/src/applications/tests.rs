use super::entry::read;
use super::*;
use backdoors_sensor_box::application::{HookSpec, LastCall, SensorSpec};
use backdoors_sensor_box::{ApplicationHook, ApplicationView};

/// No process has this id.
const NO_PROCESS: u32 = u32::MAX / 2;

fn request(name: &str) -> Request<'_> {
    Request { name, sensors: vec![SensorSpec::level("s", 5)], values: vec![3], ..Request::default() }
}

fn with_hook(name: &str) -> Request<'_> {
    Request { hooks: vec![HookSpec { name: "shed-load", least: 1, most: 100 }], ..request(name) }
}

fn call(generation: u64, word: u64) -> HookCall {
    HookCall { application: 0, generation, hook: 0, word, deadline: Instant::now() }
}

/// What is shown of the only hook of an application.
fn hook(applications: &Applications, name: &str) -> ApplicationHook {
    let [hook] = view(applications, name).hooks.try_into().unwrap();
    hook
}

fn applications() -> Applications {
    Applications::take_up(Keep::Memfds, Instant::now())
}

fn view(applications: &Applications, name: &str) -> ApplicationView {
    let entry = applications.entries[applications.find(name).unwrap()].as_ref().unwrap();
    ApplicationView::decode(&read(&entry.memory)).unwrap()
}

#[test]
fn an_application_gets_a_region_that_shows_it() {
    let mut applications = applications();
    let attached = applications.attach(&request("web"), 9, 1, Instant::now()).unwrap();
    assert_eq!(attached.answer().outcome, Outcome::New);
    let shown = view(&applications, "web");
    assert_eq!(
        (shown.pid, shown.generation, shown.state),
        (9, attached.generation, ApplicationState::Attached)
    );
    assert_eq!(shown.sensors[0].value, 3);
    let wanted = applications.wanted();
    assert_eq!((wanted.len(), wanted[0].0.kind, wanted[0].0.length), (1, 0x100, 192));
    assert_eq!((wanted[0].0.rights, wanted[0].0.slot), (Rights::ReadOnly, None));
}

#[test]
fn two_living_applications_cannot_have_one_name() {
    let mut applications = applications();
    applications.attach(&request("web"), 9, 1, Instant::now()).unwrap();
    let error = applications.attach(&request("web"), 10, 2, Instant::now()).unwrap_err();
    assert!(error.to_string().contains("named \"web\" is attached already, as process 9"), "{error}");
    applications.lose(1);
    applications.attach(&request("web"), 10, 2, Instant::now()).unwrap();
}

#[test]
fn a_goodbye_takes_the_region_along_and_death_leaves_it() {
    let mut applications = applications();
    applications.attach(&request("web"), 9, 1, Instant::now()).unwrap();
    applications.attach(&request("mail"), 10, 2, Instant::now()).unwrap();
    applications.leave(1);
    assert!(!applications.lose(2));
    assert_eq!(applications.wanted().len(), 1);
    let dead = view(&applications, "mail");
    assert_eq!((dead.state, dead.pid, dead.sensors[0].value), (ApplicationState::Died, 10, 3));
    assert!(dead.died_at.is_some());
}

#[test]
fn who_said_in_memory_that_it_leaves_did_not_die() {
    let mut applications = applications();
    applications.attach(&request("web"), 9, 1, Instant::now()).unwrap();
    applications.entries[0].as_ref().unwrap().region.leave();
    assert!(applications.lose(1));
    assert!(applications.wanted().is_empty());
}

#[test]
fn one_that_comes_back_has_another_generation_in_the_same_place() {
    let mut applications = applications();
    let first = applications.attach(&request("web"), 9, 1, Instant::now()).unwrap().generation;
    applications.lose(1);
    let again = applications.attach(&request("web"), 11, 2, Instant::now()).unwrap();
    assert_ne!(again.generation, first);
    assert_eq!(applications.wanted().len(), 1);
    assert_eq!(applications.wanted()[0].0.kind, 0x100);
}

#[test]
fn the_same_process_that_holds_its_region_keeps_it() {
    let mut applications = applications();
    let held = applications.attach(&request("web"), 9, 1, Instant::now()).unwrap().generation;
    applications.lose(1);
    let again = applications.attach(&Request { held, ..request("web") }, 9, 2, Instant::now()).unwrap();
    assert_eq!((again.answer().outcome, again.generation), (Outcome::Kept, held));
    assert_eq!(view(&applications, "web").state, ApplicationState::Attached);
    // With other sensors it does not fit any more.
    applications.lose(2);
    let other = Request { held, sensors: vec![SensorSpec::level("t", 5)], ..request("web") };
    assert_eq!(applications.attach(&other, 9, 3, Instant::now()).unwrap().answer().outcome, Outcome::New);
}

#[test]
fn the_65th_application_is_refused_and_told_how_many_are_dead() {
    let mut applications = applications();
    for number in 0..64 {
        applications.attach(&request(&format!("app{number}")), 9, number, Instant::now()).unwrap();
    }
    applications.lose(5);
    let error = applications.attach(&request("late"), 9, 64, Instant::now()).unwrap_err().to_string();
    assert!(error.contains("63 are attached, and 1 died"), "{error}");
    applications.leave(6);
    applications.attach(&request("late"), 9, 64, Instant::now()).unwrap();
}

#[test]
fn only_a_hook_of_an_attached_application_of_this_generation_can_be_called_with_a_word_it_takes() {
    let mut applications = applications();
    let generation = applications.attach(&with_hook("web"), 9, 1, Instant::now()).unwrap().generation;
    for word in [1, 100] {
        assert_eq!(applications.callee(&call(generation, word)), Ok(1));
    }
    for word in [0, 101, u64::MAX] {
        let error = CallError::OutOfRange { word, least: 1, most: 100 };
        assert_eq!(applications.callee(&call(generation, word)), Err(error));
    }
    for hook in [1, u32::MAX] {
        let no_hook = applications.callee(&HookCall { hook, ..call(generation, 1) });
        assert_eq!(no_hook, Err(CallError::NoSuchHook { hooks: 1 }));
    }
    let not_attached = Err(CallError::NotAttached);
    assert_eq!(applications.callee(&call(generation + 1, 1)), not_attached);
    for application in [1, 64, u32::MAX] {
        assert_eq!(applications.callee(&HookCall { application, ..call(generation, 1) }), not_attached);
    }
    applications.lose(1);
    assert_eq!(applications.callee(&call(generation, 1)), not_attached);
    applications.attach(&with_hook("web"), 9, 2, Instant::now()).unwrap();
    assert_eq!(applications.callee(&call(generation, 1)), not_attached);
}

#[test]
fn what_an_application_writes_over_its_hooks_opens_nothing() {
    let mut applications = applications();
    let generation = applications.attach(&with_hook("web"), 9, 1, Instant::now()).unwrap().generation;
    let most = region_bytes(1, 0) + 40;
    let memory = applications.entries[0].as_ref().unwrap().memory.words.memory();
    memory.write_bytes(most, &u64::MAX.to_le_bytes()).unwrap();
    assert_eq!(hook(&applications, "web").most, u64::MAX);
    let error = applications.callee(&call(generation, 101)).unwrap_err();
    assert_eq!(error, CallError::OutOfRange { word: 101, least: 1, most: 100 });
}

#[test]
fn calls_and_their_answers_are_shown() {
    let mut applications = applications();
    applications.attach(&with_hook("web"), 9, 1, Instant::now()).unwrap();
    let shown = |applications: &Applications| hook(applications, "web").calls.unwrap();
    assert_eq!(shown(&applications), HookCalls::default());
    applications.called(1, 0, 40);
    let calls = shown(&applications);
    let LastCall { word, result, called_at, answered_at } = calls.last.unwrap();
    assert_eq!((calls.made, word, result, answered_at), (1, 40, None, 0));
    assert!(called_at > 0);
    applications.answered(1, 0, HookResult::Failed(7));
    let LastCall { result, answered_at, .. } = shown(&applications).last.unwrap();
    assert_eq!(result, Some(HookResult::Failed(7)));
    assert!(answered_at >= called_at);
    applications.called(1, 0, 41);
    assert_eq!(shown(&applications).made, 2);
    // What is none of its hooks, or of another connection, changes nothing.
    applications.called(1, 1, 42);
    applications.called(2, 0, 42);
    assert_eq!(shown(&applications).made, 2);
}

#[test]
fn the_next_agent_goes_on_counting_calls() {
    let now = Instant::now();
    let own = std::process::id();
    let mut applications = applications();
    let held = applications.attach(&with_hook("web"), own, 1, now).unwrap().generation;
    applications.called(1, 0, 40);
    let most = region_bytes(1, 0) + 40;
    let write_most = |applications: &Applications, word: u64| {
        let memory = applications.entries[0].as_ref().unwrap().memory.words.memory();
        memory.write_bytes(most, &word.to_le_bytes()).unwrap();
    };
    write_most(&applications, 1000);
    let mut next = after_a_restart(applications, now);
    write_most(&next, 100);
    assert_eq!(next.callee(&call(held, 40)), Err(CallError::NotAttached));
    let kept = next.attach(&Request { held, ..with_hook("web") }, own, 2, now).unwrap();
    assert_eq!((kept.answer().outcome, next.callee(&call(held, 40))), (Outcome::Kept, Ok(2)));
    assert!(matches!(next.callee(&call(held, 101)), Err(CallError::OutOfRange { most: 100, .. })));
    next.called(2, 0, 41);
    assert_eq!(hook(&next, "web").calls.unwrap().made, 2);
    // With other hooks it is another application.
    next.lose(2);
    let other = Request { hooks: vec![], held, ..with_hook("web") };
    assert_eq!(next.attach(&other, own, 3, now).unwrap().answer().outcome, Outcome::New);
}

/// As the next agent finds it.
fn after_a_restart(mut applications: Applications, now: Instant) -> Applications {
    let mut next = Applications::take_up(Keep::Memfds, now);
    for (index, entry) in applications.entries.iter_mut().enumerate() {
        next.entries[index] = entry.take().and_then(|entry| Entry::over(entry.memory, now).ok());
    }
    next
}

#[test]
fn the_next_agent_takes_up_the_living_and_the_dead_and_nobody_else() {
    let now = Instant::now();
    let mut applications = applications();
    for (connection, name) in [(1, "alive"), (2, "dead"), (3, "left"), (4, "mad")] {
        applications.attach(&request(name), 9, connection, now).unwrap();
    }
    applications.lose(2);
    applications.entries[2].as_ref().unwrap().region.leave();
    applications.entries[3].as_ref().unwrap().memory.words.memory().write_bytes(24, b"/../").unwrap();
    let wanted: Vec<_> = applications.wanted().into_iter().map(|(request, _)| request).take(2).collect();
    let next = after_a_restart(applications, now);
    assert_eq!(next.wanted().into_iter().map(|(request, _)| request).collect::<Vec<_>>(), wanted);
    assert_eq!(view(&next, "dead").state, ApplicationState::Died);
}

#[test]
fn nobody_takes_the_name_of_one_that_is_expected_back() {
    let now = Instant::now();
    let mut applications = applications();
    let own = std::process::id();
    let held = applications.attach(&request("web"), own, 1, now).unwrap().generation;
    let mut next = after_a_restart(applications, now);
    let error = next.attach(&request("web"), 10, 1, now).unwrap_err();
    assert!(matches!(error, AttachError::Awaited { pid, .. } if pid == own), "{error}");
    let kept = next.attach(&Request { held, ..request("web") }, own, 2, now).unwrap();
    assert_eq!(kept.answer().outcome, Outcome::Kept);
    let mut next = after_a_restart(next, now);
    assert_eq!(next.attach(&request("web"), 10, 3, now + AWAITED).unwrap().answer().outcome, Outcome::New);
}

#[test]
fn one_that_died_while_there_was_no_agent_is_found_dead() {
    let now = Instant::now();
    let mut applications = applications();
    applications.attach(&request("gone"), NO_PROCESS, 1, now).unwrap();
    applications.attach(&request("stopped"), std::process::id(), 2, now).unwrap();
    let mut next = after_a_restart(applications, now);
    next.look_after(now);
    assert_eq!(view(&next, "gone").state, ApplicationState::Attached, "it may still attach");
    next.look_after(now + AWAITED);
    assert_eq!(view(&next, "gone").state, ApplicationState::Died);
    assert_eq!(view(&next, "stopped").state, ApplicationState::Attached);
}
