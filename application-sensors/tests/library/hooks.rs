//! Hooks: called, failing, stuck, and what becomes of calls when the application or the agent ends.

use crate::agent::{Agent, PATIENCE, eventually};
use crate::refusals::{dial, hear};
use backdoors_application_sensors::{Application, Hook, SensorSpec, WithoutAgent};
use backdoors_sensor_box::ApplicationState;
use backdoors_sensor_box::application::{
    Answered, Call, HookCalls, HookResult, HookSpec, LastCall, Outcome, Request,
};
use backdoors_target_agent::applications::{CallError, HookCall};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longer than a call takes that nothing holds up, short enough to be waited for.
const SHORT: Duration = Duration::from_millis(100);

fn attach(path: &Path, hooks: Vec<Hook>) -> Application {
    let sensors = [SensorSpec::level("queue", 1000)];
    Application::attach_with_hooks(path, "web", &sensors, hooks, WithoutAgent::Ignore).unwrap()
}

/// The calls of the application's first hook, as shown.
fn calls(agent: &Agent) -> HookCalls {
    agent.view("web").hooks[0].calls.unwrap()
}

/// The caller hears of an application's end before its memory says so.
fn eventually_died(agent: &Agent) {
    eventually("that it died", || (agent.view("web").state == ApplicationState::Died).then_some(()));
}

fn last(agent: &Agent) -> LastCall {
    calls(agent).last.unwrap()
}

/// A hook that says that it has begun and with what, and returns when it is let go.
struct Held {
    begun: Receiver<u64>,
    go: Sender<()>,
}

impl Held {
    fn new() -> (Hook, Held) {
        let ((begins, begun), (go, gone)) = (channel(), channel());
        let hook = Hook::new("held", 0..=u64::MAX, move |word| {
            // The test may be over already.
            let _ = begins.send(word);
            gone.recv().map_err(|_| 1)
        });
        (hook, Held { begun, go })
    }

    fn wait(&self) -> u64 {
        self.begun.recv_timeout(PATIENCE).unwrap()
    }
}

#[test]
fn a_hook_is_called_with_the_word_and_its_answer_is_told_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hearing = Arc::clone(&heard);
    let shed = Hook::new("shed-load", 1..=100, move |word| {
        hearing.lock().unwrap().push(word);
        if word == 7 { Err(70) } else { Ok(()) }
    });
    let app = attach(&agent.path, vec![Hook::new("other", 0..=0, |_| panic!("it was called")), shed]);
    let call = |word| agent.call(agent.want("web", "shed-load", word, PATIENCE));
    assert_eq!([call(100), call(7), call(1)], [Ok(()), Err(CallError::Failed(70)), Ok(())]);
    assert_eq!(*heard.lock().unwrap(), [100, 7, 1]);
    let view = agent.view("web");
    assert_eq!(view.hooks[0].calls, Some(HookCalls::default()));
    let calls = view.hooks[1].calls.unwrap();
    let LastCall { word, result, called_at, answered_at } = calls.last.unwrap();
    assert_eq!((calls.made, word, result), (3, 1, Some(HookResult::Done)));
    assert!(called_at > 0 && answered_at >= called_at);
    assert!(app.detach());
}

#[test]
fn what_cannot_be_called_is_told_and_not_called() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let app = attach(&agent.path, vec![Hook::new("h", 5..=9, |_| Ok(()))]);
    let good = agent.want("web", "h", 5, PATIENCE);
    for (call, error) in [
        (HookCall { word: 4, ..good }, CallError::OutOfRange { word: 4, least: 5, most: 9 }),
        (HookCall { hook: 1, ..good }, CallError::NoSuchHook { hooks: 1 }),
        (HookCall { generation: good.generation ^ 1, ..good }, CallError::NotAttached),
        (HookCall { application: 63, ..good }, CallError::NotAttached),
    ] {
        assert_eq!(agent.call(call), Err(error));
    }
    assert_eq!(calls(&agent).made, 0);
    assert_eq!(agent.call(good), Ok(()));
    app.detach();
    assert_eq!(agent.call(good), Err(CallError::NotAttached));
}

#[test]
fn a_hook_that_panics_has_failed_and_takes_nothing_along() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let app = attach(
        &agent.path,
        vec![Hook::new("h", 0..=1, |word| {
            assert!(word == 0, "as it is meant to");
            Ok(())
        })],
    );
    for (word, told) in
        [(1, Err(CallError::Failed(u32::MAX))), (0, Ok(())), (1, Err(CallError::Failed(u32::MAX)))]
    {
        assert_eq!(agent.call(agent.want("web", "h", word, PATIENCE)), told);
    }
    assert!(app.is_attached());
}

#[test]
fn a_hook_that_does_not_return_holds_up_nothing_but_hooks() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let (hook, held) = Held::new();
    let app = attach(&agent.path, vec![hook, Hook::new("other", 0..=9, |_| Ok(()))]);
    let begun = Instant::now();
    assert_eq!(agent.call(agent.want("web", "held", 3, SHORT)), Err(CallError::NoAnswer));
    assert!(begun.elapsed() >= SHORT);
    assert_eq!(held.wait(), 3);
    assert_eq!(agent.call(agent.want("web", "other", 3, PATIENCE)), Err(CallError::Busy));
    assert_eq!((calls(&agent).made, last(&agent).result), (1, None));
    // Others attach meanwhile, and their hooks are called.
    let hooks = vec![Hook::new("h", 0..=9, |_| Ok(()))];
    let mail = Application::attach_with_hooks(&agent.path, "mail", &[], hooks, WithoutAgent::Refuse).unwrap();
    assert_eq!(agent.call(agent.want("mail", "h", 3, PATIENCE)), Ok(()));
    mail.detach();
    app.sensor("queue").set(9);
    assert_eq!(agent.value("web", "queue"), 9);
    // That it returns in the end is shown, if not told.
    held.go.send(()).unwrap();
    eventually("the end of the hook", || (last(&agent).result == Some(HookResult::Done)).then_some(()));
    assert_eq!(agent.call(agent.want("web", "other", 3, PATIENCE)), Ok(()));
}

#[test]
fn the_next_agent_is_attached_to_while_a_hook_runs_and_what_it_wants_in_vain_is_not_begun_later() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let (hook, held) = Held::new();
    let app = attach(&agent.path, vec![hook]);
    let told = agent.begin(agent.want("web", "held", 3, PATIENCE));
    assert_eq!(held.wait(), 3);
    drop(agent);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Err(CallError::Ended)));
    eventually("the loss of the agent", || (!app.is_attached()).then_some(()));
    let agent = Agent::start(folder.path());
    eventually("the application", || app.is_attached().then_some(()));
    assert_eq!(agent.call(agent.want("web", "held", 4, SHORT)), Err(CallError::NoAnswer));
    held.go.send(()).unwrap();
    eventually("that it is too late", || (last(&agent).result == Some(HookResult::TooLate)).then_some(()));
    let told = agent.begin(agent.want("web", "held", 5, PATIENCE));
    assert_eq!(held.wait(), 5, "the call between was not begun");
    held.go.send(()).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Ok(())));
}

/// The example, which must not outlive a test that fails.
struct Ticker(Child);

impl Drop for Ticker {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ticker(socket: &Path) -> Ticker {
    let mut child = Command::new(env!("CARGO_BIN_EXE_backdoors-ticker"))
        .arg(socket)
        .args(["web", "100", "500", "7"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = child.stdout.take().unwrap();
    let ticker = Ticker(child);
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line).unwrap();
    assert_eq!(line, "ticking\n");
    ticker
}

fn signal(ticker: &Ticker, signal: Signal) {
    kill(Pid::from_raw(ticker.0.id().cast_signed()), signal).unwrap();
}

/// Sends SIGSTOP, and waits until no thread runs any more: each stops by itself, a moment later.
fn stop(ticker: &Ticker) {
    signal(ticker, Signal::SIGSTOP);
    let threads = format!("/proc/{}/task", ticker.0.id());
    eventually("a process that stands still", || {
        let stands_still = |thread: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with('T')
        };
        std::fs::read_dir(&threads).unwrap().all(stands_still).then_some(())
    });
}

#[test]
fn a_stopped_application_does_not_begin_what_was_given_up_and_a_dead_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let ticker = ticker(&agent.path);
    assert_eq!(agent.call(agent.want("web", "level", 40, PATIENCE)), Ok(()));
    assert_eq!(agent.call(agent.want("web", "level", 13, PATIENCE)), Err(CallError::Failed(2)));
    stop(&ticker);
    assert_eq!(agent.call(agent.want("web", "level", 50, SHORT)), Err(CallError::NoAnswer));
    signal(&ticker, Signal::SIGCONT);
    eventually("that it is too late", || (last(&agent).result == Some(HookResult::TooLate)).then_some(()));
    assert_eq!(agent.value("web", "level"), 40);
    stop(&ticker);
    let want = agent.want("web", "level", 60, PATIENCE);
    let told = agent.begin(want);
    eventually("the call", || (calls(&agent).made == 4).then_some(()));
    drop(ticker);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Err(CallError::Ended)));
    eventually_died(&agent);
    assert_eq!(last(&agent).result, None);
    assert_eq!(agent.call(want), Err(CallError::NotAttached));
}

#[test]
fn no_hook_runs_once_the_application_is_detached_and_one_that_runs_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let (hook, held) = Held::new();
    let app = attach(&agent.path, vec![hook]);
    let told = agent.begin(agent.want("web", "held", 3, PATIENCE));
    held.wait();
    std::thread::scope(|scope| {
        let detaching = scope.spawn(|| app.detach());
        std::thread::sleep(SHORT);
        assert!(!detaching.is_finished(), "the hook still runs");
        held.go.send(()).unwrap();
        assert!(detaching.join().unwrap());
    });
    // It had the time to answer.
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Ok(())));
    assert!(held.go.send(()).is_err(), "the hook is gone, and what it holds");
    eventually("that it left", || agent.views().is_empty().then_some(()));
}

#[test]
fn a_hook_can_detach_its_application() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let app = Arc::new(Mutex::new(None::<Application>));
    let own = Arc::clone(&app);
    let hook = Hook::new("leave", 0..=0, move |_| {
        let app = own.lock().unwrap().take();
        if app.is_some_and(Application::detach) { Ok(()) } else { Err(1) }
    });
    *app.lock().unwrap() = Some(attach(&agent.path, vec![hook]));
    let told = agent.call(agent.want("web", "leave", 0, PATIENCE));
    assert_eq!(told, Err(CallError::Ended), "it left before it could answer");
    eventually("that it left", || agent.views().is_empty().then_some(()));
}

#[test]
fn an_application_that_is_dropped_has_died_even_if_a_hook_does_not_return() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let (hook, held) = Held::new();
    let app = attach(&agent.path, vec![hook]);
    let told = agent.begin(agent.want("web", "held", 3, PATIENCE));
    held.wait();
    drop(app);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Err(CallError::Ended)));
    eventually_died(&agent);
}

#[test]
fn the_thread_of_hooks_takes_no_signals() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let hook = Hook::new("signals", 0..=0, |_| {
        let blocked = nix::sys::signal::SigSet::thread_get_mask().unwrap();
        if blocked.contains(Signal::SIGTERM) && blocked.contains(Signal::SIGCHLD) { Ok(()) } else { Err(1) }
    });
    let _app = attach(&agent.path, vec![hook]);
    assert_eq!(agent.call(agent.want("web", "signals", 0, PATIENCE)), Ok(()));
}

/// An application that speaks for itself, with one hook.
fn stranger(agent: &Agent) -> std::os::fd::OwnedFd {
    let socket = dial(&agent.path);
    let hooks = vec![HookSpec { name: "h", least: 0, most: 9 }];
    let request = Request { name: "web", hooks, ..Request::default() };
    send(&socket, &request.encode(), SendFlags::NOSIGNAL).unwrap();
    assert_eq!(hear(&socket).unwrap().outcome, Outcome::New);
    socket
}

fn take_call(socket: &std::os::fd::OwnedFd) -> Call {
    let mut bytes = [0; 100];
    let (length, _) = recv(socket, &mut bytes, RecvFlags::empty()).unwrap();
    Call::decode(&bytes[..length]).unwrap()
}

#[test]
fn whoever_answers_what_was_not_asked_has_died() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    let answer = |socket: &std::os::fd::OwnedFd, id| {
        send(socket, &Answered { id, result: HookResult::Done }.encode(), SendFlags::NOSIGNAL).unwrap();
    };
    // Before it was asked, another call's number, and twice.
    let early = stranger(&agent);
    answer(&early, 1);
    assert!(hear(&early).unwrap().reason.contains("has attached an application already"));
    eventually_died(&agent);
    let wrong = stranger(&agent);
    let told = agent.begin(agent.want("web", "h", 3, PATIENCE));
    answer(&wrong, take_call(&wrong).id + 1);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Err(CallError::Ended)));
    let twice = stranger(&agent);
    let told = agent.begin(agent.want("web", "h", 3, PATIENCE));
    let call = take_call(&twice);
    assert_eq!((call.hook, call.word), (0, 3));
    answer(&twice, call.id);
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Ok(())));
    answer(&twice, call.id);
    eventually_died(&agent);
}

#[test]
fn an_application_that_answers_and_goes_at_once_has_answered() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path());
    for _ in 0..20 {
        let socket = stranger(&agent);
        let told = agent.begin(agent.want("web", "h", 3, PATIENCE));
        let result = HookResult::Failed(5);
        let id = take_call(&socket).id;
        send(&socket, &Answered { id, result }.encode(), SendFlags::NOSIGNAL).unwrap();
        drop(socket);
        assert_eq!(told.recv_timeout(PATIENCE), Ok(Err(CallError::Failed(5))));
        eventually_died(&agent);
    }
}
