//! Applications with sensors of their own, as a monitor's NIC reads them while they tick, stand still, die and come
//! back, and while the agent does.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_rdma::handshake::{Certificate, Identity};
use backdoors_rdma::{Provider, Session, SessionConfig};
use backdoors_sensor_box::layout::RegionKind;
use backdoors_sensor_box::{
    ApplicationState, ApplicationView, ApplicationsFetcher, SensorFetcher, SensorKind,
};
use backdoors_tests::deployment::{Deployment, Plan};
use backdoors_tests::host::Host;
use backdoors_tests::machine::Machine;
use backdoors_tests::pair::Pair;
use std::time::Duration;

const SOCKET: &str = "/run/backdoors/applications.sock";
const PATIENCE: Duration = Duration::from_secs(30);

fn install<'p>(pair: &'p Pair, more: &str) -> Deployment<'p, Host> {
    let agent = format!("applications = \"{SOCKET}\"\nscope = \"pid-namespace\"\n{more}");
    pair.install(Plan { provider: "emulated", agent, ..Plan::default() }).unwrap()
}

/// Starts the example, a hundred ticks a second, and returns its process id.
fn start(target: &Host, name: &str, more: &str) -> u32 {
    let ticker = target.program("backdoors-ticker").unwrap();
    let log = format!("/run/backdoors/{name}.log");
    let pid = target.start(&format!("{ticker} {SOCKET} {name} 100 500 7 {more}"), &log).unwrap();
    let ticking = || {
        let said = target.shell(&format!("cat {log}"))?;
        anyhow::ensure!(!said.contains("backdoors:"), "{said}");
        Ok(said.contains("ticking").then_some(()))
    };
    target.wait_for("the ticker", PATIENCE, ticking).unwrap();
    pid
}

/// What a monitor sees, over its own network, with nothing but reads.
struct Watcher {
    session: Session,
    applications: ApplicationsFetcher,
}

impl Watcher {
    fn connect(pair: &Pair) -> Watcher {
        let keys = pair.monitor.path("/run/backdoors");
        let config = SessionConfig {
            address: (pair.target.address(), 7801).into(),
            target_certificate: Certificate::load(&keys.join("target.crt")).unwrap(),
            identity: Identity::load(&keys, "monitor").unwrap(),
            provider: Provider::Emulated,
            connections: 2,
            deadline: Duration::from_secs(5),
        };
        let open = || {
            pair.monitor.enter_network().unwrap();
            Session::open(&config).unwrap()
        };
        // The network is a thread's; sockets stay in theirs.
        let session = std::thread::scope(|scope| scope.spawn(open).join().unwrap());
        Watcher { session, applications: ApplicationsFetcher::default() }
    }

    /// Reads the directory, and every application in it.
    fn look(&mut self) -> Vec<ApplicationView> {
        self.session.refresh_directory().unwrap();
        self.read()
    }

    /// Reads every application of the directory as it was.
    fn read(&mut self) -> Vec<ApplicationView> {
        let kinds = RegionKind::APPLICATION_FIRST..RegionKind::APPLICATION_FIRST + RegionKind::APPLICATIONS;
        let regions: Vec<_> = self.session.regions().filter(|region| kinds.contains(&region.kind)).collect();
        self.applications.begin();
        for region in regions {
            let mut bytes = vec![0; region.range.length as usize];
            self.session.read(region.range, &mut bytes).unwrap();
            self.applications.take(region.kind, region.generation, &bytes).unwrap();
        }
        self.applications.finish().to_vec()
    }

    fn timer(&mut self) -> u64 {
        let range = self.session.region(RegionKind::SENSORS).unwrap().range;
        let session = &mut self.session;
        let mut fetcher = SensorFetcher::default();
        let read =
            |offset, into: &mut [u8]| session.read(range.slice(offset, into.len() as u64).unwrap(), into);
        let view = fetcher.fetch(range.length, read).unwrap();
        view.sensor(SensorKind::KERNEL_TIMER, 0).unwrap().value
    }
}

fn ticks(views: &[ApplicationView]) -> u64 {
    views.iter().find(|view| view.name == "web").unwrap().sensor("ticks").unwrap().value
}

/// Waits until the application has ticked, as seen with the keys the monitor has.
fn assert_ticking(target: &Host, watcher: &mut Watcher) {
    let before = ticks(&watcher.read());
    target.wait_for("ticks", PATIENCE, || Ok((ticks(&watcher.read()) > before + 2).then_some(()))).unwrap();
}

/// The application stands still while the kernel goes on.
fn assert_still(target: &Host, watcher: &mut Watcher) {
    let (frozen, timer) = (ticks(&watcher.read()), watcher.timer());
    target.wait_for("the timer", PATIENCE, || Ok((watcher.timer() > timer + 100).then_some(()))).unwrap();
    assert_eq!(ticks(&watcher.read()), frozen);
}

fn restart_agent(deployment: &mut Deployment<'_, Host>) {
    deployment.end("KILL", deployment.agent).unwrap();
    deployment.start_agent().unwrap();
}

/// Waits for a line of the agent's log, which begins anew with each agent.
fn wait_for_log(target: &Host, what: &str) {
    let look = || Ok(target.shell("cat /run/backdoors/agent.log")?.contains(what).then_some(()));
    target.wait_for(what, PATIENCE, look).unwrap();
}

#[test]
fn an_application_is_seen_ticking_stuck_dead_and_back_whatever_the_agent_does() {
    let pair = Pair::boot(250).unwrap();
    let mut deployment = install(&pair, "");
    let target = deployment.target;
    let pid = start(target, "web", "");
    let mut watcher = Watcher::connect(&pair);
    let first = watcher.look().remove(0);
    assert_eq!((first.name.as_str(), first.pid, first.state), ("web", pid, ApplicationState::Attached));
    assert_eq!(first.sensor("ticks").unwrap().limit, Some(500_000_000));
    assert_eq!(first.sensor("level").unwrap().value, 7);
    assert_ticking(target, &mut watcher);

    target.signal("STOP", pid).unwrap();
    target.wait_for("the stop", PATIENCE, || Ok(deployment.stands_still(pid)?.then_some(()))).unwrap();
    assert_still(target, &mut watcher);
    assert_eq!(watcher.read()[0].state, ApplicationState::Attached);
    target.signal("CONT", pid).unwrap();
    assert_ticking(target, &mut watcher);

    // The agent is killed: nobody needs it. Its successor changes nothing, not even the keys.
    deployment.end("KILL", deployment.agent).unwrap();
    assert_ticking(target, &mut watcher);
    deployment.start_agent().unwrap();
    wait_for_log(target, "how=Kept");
    assert_ticking(target, &mut watcher);
    let again = watcher.look().remove(0);
    assert_eq!((again.generation, again.pid, again.state), (first.generation, pid, first.state));

    // The application is killed: its region stays, with what it set last, also over a restart of the agent.
    deployment.end("KILL", pid).unwrap();
    let died = |watcher: &mut Watcher| Ok((watcher.read()[0].state == ApplicationState::Died).then_some(()));
    target.wait_for("its death", PATIENCE, || died(&mut watcher)).unwrap();
    assert_still(target, &mut watcher);
    let dead = watcher.read().remove(0);
    restart_agent(&mut deployment);
    assert_still(target, &mut watcher);
    assert_eq!(watcher.look(), [dead]);

    // One of its name comes: another generation, in its place. The old key opens nothing any more.
    let old = watcher.session.region(RegionKind::APPLICATION_FIRST).unwrap();
    let pid = start(target, "web", "");
    let second = watcher.look();
    assert_eq!((second.len(), second[0].pid, second[0].state), (1, pid, ApplicationState::Attached));
    assert_ne!(second[0].generation, first.generation);
    assert_ticking(target, &mut watcher);
    assert!(watcher.session.read(old.range, &mut vec![0; old.range.length as usize]).is_err());

    // One that says goodbye is gone, and the other is not.
    let other = start(target, "batch", "20");
    let gone = || Ok(target.shell(&format!("test -d /proc/{other}")).is_err().then_some(()));
    target.wait_for("the end of the other one", PATIENCE, gone).unwrap();
    assert_eq!(watcher.look().len(), 1);

    // An agent that is told to stop takes everything back; the next one is attached to anew.
    deployment.end("TERM", deployment.agent).unwrap();
    deployment.start_agent().unwrap();
    wait_for_log(target, "how=New");
    let mut watcher = Watcher::connect(&pair);
    let third = watcher.look();
    assert_eq!((third.len(), third[0].pid), (1, pid));
    assert!(ticks(&third) > 0, "what it had set is carried over");
    assert_ticking(target, &mut watcher);
}

#[test]
fn who_died_and_who_left_while_there_was_no_agent_is_known_all_the_same() {
    let pair = Pair::boot(250).unwrap();
    let mut deployment = install(&pair, "");
    let target = deployment.target;
    let (pid, leaver) = (start(target, "web", ""), start(target, "batch", "300"));
    target.signal("STOP", leaver).unwrap();
    let mut watcher = Watcher::connect(&pair);
    let views = watcher.look();
    assert_eq!(views.len(), 2);
    deployment.end("KILL", deployment.agent).unwrap();
    deployment.end("KILL", pid).unwrap();
    target.signal("CONT", leaver).unwrap();
    let gone = || Ok(target.shell(&format!("test -d /proc/{leaver}")).is_err().then_some(()));
    target.wait_for("the end of the one that leaves", PATIENCE, gone).unwrap();
    let states: Vec<_> = watcher.read().into_iter().map(|view| (view.name, view.state)).collect();
    // Nobody is there to tell that the one has died; the other said so itself.
    let web = ("web".to_owned(), ApplicationState::Attached);
    assert_eq!(states, [web, ("batch".to_owned(), ApplicationState::Left)]);
    deployment.start_agent().unwrap();
    let died = || Ok((watcher.look()[0].state == ApplicationState::Died).then_some(()));
    target.wait_for("its death", PATIENCE, died).unwrap();
    let now = watcher.look();
    assert_eq!((now.len(), now[0].generation), (1, views[0].generation));
}

#[test]
fn the_next_owner_of_memory_is_handed_the_applications_too_and_an_agent_that_serves_none_takes_them_back() {
    let pair = Pair::boot(250).unwrap();
    let mut deployment = install(&pair, "");
    let target = deployment.target;
    start(target, "web", "");
    let first = Watcher::connect(&pair).look().remove(0);
    deployment.end("KILL", deployment.owner).unwrap();
    deployment.start_owner().unwrap();
    wait_for_log(target, "handed the memory over anew");
    let mut watcher = Watcher::connect(&pair);
    assert_eq!(watcher.look()[0].generation, first.generation);
    assert_ticking(target, &mut watcher);

    deployment.end("KILL", deployment.agent).unwrap();
    target.shell("sed -i /^applications/d /run/backdoors/agent.toml").unwrap();
    deployment.start_agent().unwrap();
    assert!(watcher.look().is_empty());
    assert_eq!(target.shell("ls /sys/fs/bpf/backdoors | grep -c application || true").unwrap(), "0\n");
}

#[test]
fn without_a_kernel_half_the_next_agent_is_attached_to_anew() {
    let pair = Pair::boot(250).unwrap();
    let mut deployment = install(&pair, "mode = \"procfs\"\n");
    let target = deployment.target;
    let pid = start(target, "web", "");
    let mut watcher = Watcher::connect(&pair);
    let first = watcher.look().remove(0);
    assert_ticking(target, &mut watcher);
    restart_agent(&mut deployment);
    wait_for_log(target, "how=New");
    let mut watcher = Watcher::connect(&pair);
    let views = watcher.look();
    assert_eq!((views.len(), views[0].pid), (1, pid));
    assert_ne!(views[0].generation, first.generation);
    assert!(ticks(&views) >= first.sensor("ticks").unwrap().value);
    assert_ticking(target, &mut watcher);
}

#[test]
fn another_user_may_not_attach() {
    let pair = Pair::boot(250).unwrap();
    let deployment = install(&pair, "");
    let target = deployment.target;
    target.shell("chmod 711 /run/backdoors").unwrap();
    let ticker = target.program("backdoors-ticker").unwrap();
    let said = target
        .shell(&format!(
            "cp {ticker} /run/ticker; setpriv --reuid 61131 --regid 61131 --clear-groups \
             /run/ticker {SOCKET} web 100 500 7 3 2>&1"
        ))
        .unwrap();
    assert!(said.contains("Permission denied"), "{said}");
    assert!(Watcher::connect(&pair).look().is_empty());
    target.shell(&format!("chgrp 61131 {SOCKET}")).unwrap();
    let said = target
        .shell(&format!(
            "setpriv --reuid 61131 --regid 61131 --clear-groups /run/ticker {SOCKET} web 100 500 7 3 2>&1"
        ))
        .unwrap();
    assert_eq!(said, "ticking\n");
}
