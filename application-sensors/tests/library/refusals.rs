//! What the agent's side refuses, and strangers on its socket.

use crate::agent::{Agent, eventually};
use backdoors_application_sensors::{Application, AttachError, SensorSpec, WithoutAgent};
use backdoors_sensor_box::application::{Answer, Goodbye, Outcome, Request};
use backdoors_sensor_box::layout::NO_LIMIT;
use backdoors_sensor_box::{Class, Unit};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send,
    socket_with,
};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

pub fn dial(path: &Path) -> OwnedFd {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    socket
}

/// What the agent answers to bytes that no library of ours would send.
fn answer(path: &Path, message: &[u8]) -> Answer {
    let socket = dial(path);
    send(&socket, message, SendFlags::NOSIGNAL).unwrap();
    hear(&socket).unwrap()
}

pub fn hear(socket: &OwnedFd) -> Option<Answer> {
    let mut bytes = [0; 2000];
    let (_, length) = recv(socket, &mut bytes, RecvFlags::empty()).unwrap();
    (length > 0).then(|| Answer::decode(&bytes[..length]).unwrap())
}

fn asking(name: &str, sensors: &[SensorSpec<'_>]) -> Vec<u8> {
    Request { name, sensors: sensors.into(), ..Request::default() }.encode()
}

const LEVEL: SensorSpec<'_> = SensorSpec { name: "s", class: Class::Level, unit: Unit::Count, limit: 1 };

#[test]
fn the_agent_refuses_what_the_library_would_have_refused() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let progress = |limit| SensorSpec { class: Class::Progress, limit, ..LEVEL };
    let names: Vec<String> = (0..63).map(|number| number.to_string()).collect();
    let many: Vec<_> = names.iter().map(|name| SensorSpec { name, ..LEVEL }).collect();
    let floor = SensorSpec { class: Class::Floor, limit: 0, ..LEVEL };
    for (message, why) in [
        (asking("web", &[progress(0)]), "1 ms to 1 day"),
        (asking("web", &[progress(999_999)]), "1 ms to 1 day"),
        (asking("web", &[progress(86_400_000_000_001)]), "1 ms to 1 day"),
        (asking("web", &[progress(NO_LIMIT)]), "1 ms to 1 day"),
        (asking("web", &[SensorSpec { limit: u64::MAX - 4, ..LEVEL }]), "-5 as a signed number"),
        (asking("web", &[floor]), "no value is below"),
        (asking("web", &[LEVEL, LEVEL]), "two sensors are named \"s\""),
        (asking("web", &[]), "no sensors"),
        (asking("web", &many), "63 sensors, but an application has at most 62"),
        (asking("a b", &[LEVEL]), "application name \"a b\" has other characters"),
        (asking("\u{1b}[2J", &[LEVEL]), "has other characters"),
        (asking("", &[LEVEL]), "is empty"),
        (
            asking("web", &[SensorSpec { name: "a\nb", ..LEVEL }]),
            "sensor name \"a\\nb\" has other characters",
        ),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "makes no sense"),
        (vec![0; 100_000], "makes no sense"),
        (Goodbye.encode().to_vec(), "makes no sense"),
    ] {
        let answer = answer(&agent.path, &message);
        assert_eq!(answer.outcome, Outcome::Refused, "{why}");
        assert!(answer.reason.contains(why), "{}", answer.reason);
    }
    assert!(agent.views().is_empty());
}

#[test]
fn the_library_refuses_the_same_without_asking_anybody() {
    let nobody = Path::new("/nowhere/at-all.sock");
    for (name, sensors) in [
        ("a b", vec![LEVEL]),
        ("web", vec![]),
        ("web", vec![LEVEL, LEVEL]),
        ("web", vec![SensorSpec::progress("p", Duration::ZERO)]),
    ] {
        let error = Application::attach_with(nobody, name, &sensors, WithoutAgent::Refuse).unwrap_err();
        assert!(matches!(error, AttachError::Spec(_)), "{error}");
    }
}

#[test]
fn a_name_that_is_in_use_is_refused_until_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let first = Application::attach(&agent.path, "web", &[LEVEL]).unwrap();
    let error = Application::attach(&agent.path, "web", &[LEVEL]).unwrap_err();
    assert!(matches!(error, AttachError::Refused { retry_helps: true, .. }));
    let own = std::process::id();
    assert!(error.to_string().contains(&format!("is attached already, as process {own}")), "{error}");
    first.sensor("s").set(3);
    assert_eq!(agent.value("web", "s"), 3);
    // Dead or not: whoever comes right behind finds the name free.
    for _ in 0..20 {
        drop(Application::attach(&agent.path, "mail", &[LEVEL]).unwrap());
        eventually("the name", || Application::attach(&agent.path, "mail", &[LEVEL]).ok()).detach();
    }
}

#[test]
fn the_65th_application_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let attach = |number: u32| Application::attach(&agent.path, &format!("app{number}"), &[LEVEL]);
    let applications: Vec<_> = (0..64).map(|number| attach(number).unwrap()).collect();
    let error = attach(64).unwrap_err().to_string();
    assert!(error.contains("no room for one more application: 64 are attached"), "{error}");
    assert!(applications.into_iter().all(Application::detach));
    assert!(attach(64).unwrap().is_attached());
}

#[test]
fn whoever_asks_twice_over_one_connection_has_died() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let socket = dial(&agent.path);
    send(&socket, &asking("web", &[LEVEL]), SendFlags::NOSIGNAL).unwrap();
    assert_eq!(hear(&socket).unwrap().outcome, Outcome::New);
    send(&socket, &asking("mail", &[LEVEL]), SendFlags::NOSIGNAL).unwrap();
    assert!(hear(&socket).unwrap().reason.contains("has attached an application already"));
    assert_eq!(hear(&socket), None);
    assert_eq!(agent.views().len(), 1);
}

#[test]
fn strangers_that_say_nothing_keep_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let strangers: Vec<_> = (0..100).map(|_| dial(&agent.path)).collect();
    let app = Application::attach(&agent.path, "web", &[LEVEL]).unwrap();
    assert!(app.is_attached());
    // All of them are shown out before long.
    assert!(strangers.iter().all(|stranger| hear(stranger).is_none()));
    assert!(app.is_attached());
}

#[test]
fn who_asked_and_went_before_the_answer_is_not_attached() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("applications.sock");
    let listener = backdoors_target_agent::applications::listen::bind(&path).unwrap();
    let gone = dial(&path);
    send(&gone, &asking("web", &[LEVEL]), SendFlags::NOSIGNAL).unwrap();
    drop(gone);
    let agent = Agent::serving(listener, path);
    Application::attach(&agent.path, "other", &[LEVEL]).unwrap().detach();
    assert!(agent.views().is_empty());
}

#[test]
fn the_socket_is_for_its_owner_and_group() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let mode = std::fs::metadata(&agent.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o660);
}
