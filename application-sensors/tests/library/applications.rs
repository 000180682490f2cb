//! Attaching, setting, leaving, dying, and agents that come and go.

use crate::agent::{Agent, eventually};
use backdoors_application_sensors::{Application, AttachError, SensorSpec, WithoutAgent};
use backdoors_sensor_box::ApplicationState;
use std::path::Path;
use std::time::{Duration, Instant};

fn sensors() -> [SensorSpec<'static>; 3] {
    [
        SensorSpec::progress("requests", Duration::from_millis(500)),
        SensorSpec::level("queue", 1000),
        SensorSpec::floor("workers", 4),
    ]
}

fn quietly(path: &Path) -> Application {
    Application::attach_with(path, "web", &sensors(), WithoutAgent::Ignore).unwrap()
}

#[test]
fn what_an_application_sets_is_what_a_monitor_reads() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let app = Application::attach(&agent.path, "web", &sensors()).unwrap();
    assert!(app.is_attached());
    let (requests, queue) = (app.sensor("requests"), app.sensor("queue"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| requests.add(1)));
        }
    });
    queue.set(17);
    let view = agent.view("web");
    assert_eq!((view.pid, view.state), (std::process::id(), ApplicationState::Attached));
    let values: Vec<u64> = view.sensors.iter().map(|sensor| sensor.value).collect();
    assert_eq!(values, [400, 17, 4]);
    assert_eq!(requests.value(), 400);
}

#[test]
fn a_sensor_that_was_not_asked_for_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let app = Application::attach(&agent.path, "web", &sensors()).unwrap();
    assert!(app.get("request").is_none());
    let panic = std::panic::catch_unwind(|| drop(app.sensor("request"))).unwrap_err();
    assert!(panic.downcast_ref::<String>().unwrap().contains("has no sensor \"request\""));
}

#[test]
fn a_goodbye_ends_the_region_and_a_silent_end_freezes_it() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let app = Application::attach(&agent.path, "web", &sensors()).unwrap();
    assert!(app.detach());
    assert!(agent.views().is_empty());
    let app = Application::attach(&agent.path, "web", &sensors()).unwrap();
    app.sensor("queue").set(9);
    let before = agent.view("web").generation;
    drop(app);
    eventually("a dead application", || (agent.view("web").state == ApplicationState::Died).then_some(()));
    assert_eq!((agent.value("web", "queue"), agent.view("web").generation), (9, before));
    let _again = Application::attach(&agent.path, "web", &sensors()).unwrap();
    let view = agent.view("web");
    assert_eq!((view.state, view.sensor("queue").unwrap().value), (ApplicationState::Attached, 0));
    assert_ne!(view.generation, before);
    assert_eq!(agent.views().len(), 1);
}

#[test]
fn without_an_agent_sensors_work_until_one_comes_and_sees_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("applications.sock");
    let app = quietly(&path);
    assert!(!app.is_attached());
    let queue = app.sensor("queue");
    queue.set(5);
    assert_eq!(queue.value(), 5);
    let agent = Agent::start(folder.path());
    eventually("the application", || app.is_attached().then_some(()));
    assert_eq!(agent.value("web", "queue"), 5);
    queue.set(6);
    assert_eq!(agent.value("web", "queue"), 6);
    assert_eq!(agent.value("web", "workers"), 4);
}

#[test]
fn without_an_agent_an_application_may_refuse_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("applications.sock");
    let error = Application::attach_with(&path, "web", &sensors(), WithoutAgent::Refuse).unwrap_err();
    assert!(matches!(error, AttachError::NoAgent { .. }));
    assert!(error.to_string().contains("start backdoors-agent with `applications` set"), "{error}");
}

#[test]
fn an_agent_that_does_not_answer_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("applications.sock");
    let _listener = backdoors_target_agent::applications::listen::bind(&path).unwrap();
    let begun = Instant::now();
    let app = quietly(&path);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(!app.is_attached());
}

#[test]
fn a_restarted_agent_is_attached_to_anew_with_the_values_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let app = quietly(&agent.path);
    let requests = app.sensor("requests");
    requests.add(41);
    let before = agent.view("web").generation;
    drop(agent);
    eventually("the loss of the agent", || (!app.is_attached()).then_some(()));
    requests.add(1);
    for _ in 0..2 {
        let agent = Agent::start(folder.path());
        eventually("the application", || app.is_attached().then_some(()));
        assert_eq!(agent.value("web", "requests"), requests.value());
        requests.add(1);
        assert_eq!(agent.value("web", "requests"), requests.value());
        assert_ne!(agent.view("web").generation, before);
        drop(agent);
        eventually("the loss of the agent", || (!app.is_attached()).then_some(()));
    }
    assert_eq!(requests.value(), 44);
}

#[test]
fn one_that_leaves_while_there_is_no_agent_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let app = quietly(&agent.path);
    let path = agent.path.clone();
    drop(agent);
    eventually("the loss of the agent", || (!app.is_attached()).then_some(()));
    assert!(!app.detach());
    let other = Application::attach_with(&path, "other", &sensors(), WithoutAgent::Ignore).unwrap();
    // The thread of the one that left would have tried as often as that of the other one.
    for _ in 0..2 {
        let agent = Agent::start(folder.path());
        eventually("the other one", || other.is_attached().then_some(()));
        assert_eq!(agent.views().len(), 1);
        drop(agent);
        eventually("the loss of the agent", || (!other.is_attached()).then_some(()));
    }
}

#[test]
fn the_librarys_thread_takes_no_signals() {
    let folder = tempfile::tempdir().unwrap();
    let _app = quietly(&folder.path().join("none.sock"));
    let status = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("status")).ok();
    let blocked = eventually("the thread", || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
        let status = tasks.filter_map(status).find(|status| status.starts_with("Name:\tbackdoors\n"))?;
        Some(status.lines().find_map(|line| line.strip_prefix("SigBlk:\t"))?.to_owned())
    });
    let own = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(own.contains("SigBlk:\t0000000000000000"), "{own}");
    let blocked = u64::from_str_radix(&blocked, 16).unwrap();
    // TERM, INT, HUP, CHLD and USR1.
    assert_eq!(blocked & 0x14203, 0x14203);
}
