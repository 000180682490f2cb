//! A target in this process's memory, reached over connections that obey keys and rights and can be made to fail,
//! and a clock that tests turn.

mod kernel;
pub mod lab;
mod path;

pub use kernel::Machine;
pub use path::{Fault, Path};

use backdoors_healers::Healer;
use backdoors_monitor::clock::Clock;
use backdoors_monitor::config::{Config, HealerConfig, Mode, TargetConfig};
use backdoors_monitor::journal::{Entry, What};
use backdoors_monitor::sampler::Sampler;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A clock that only goes on when it is turned, and by a nanosecond whenever it is looked at: no two looks are at the
/// same time.
#[derive(Clone, Debug, Default)]
pub struct HandClock(Arc<AtomicU64>);

impl HandClock {
    pub fn turn(&self, by: Duration) {
        self.0.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.fetch_add(1, Ordering::SeqCst))
    }

    fn wall(&self) -> Duration {
        Duration::from_secs(1_700_000_000) + self.monotonic()
    }
}

/// The configuration of the simulated target, with these further lines.
pub fn config(lines: &str) -> TargetConfig {
    let text = format!(
        "name = 'm'\nidentity = 'i'\njournal = 'j'\n[[target]]\nname = 'web1'\naddress = 'web1:1'\ncertificate = 'c'\n{lines}"
    );
    Config::parse(&text, std::path::Path::new("/monitor.toml")).unwrap().targets.remove(0)
}

/// What makes a healer, and how long those whom it would kill have to end by themselves.
type Made = (fn() -> Box<dyn Healer>, Duration);

/// A monitor that looks after a simulated machine.
pub struct Simulation {
    pub machine: Machine,
    pub path: Path,
    pub clock: HandClock,
    pub sampler: Sampler,
    pub entries: Arc<Mutex<Vec<Entry>>>,
    config: TargetConfig,
    /// Makes a healer that is not in the registry.
    healer: Option<Made>,
    wake: Duration,
}

impl Simulation {
    /// A machine in good health, and a monitor with these lines of configuration.
    pub fn new(lines: &str) -> Simulation {
        Simulation::begin(lines, None)
    }

    /// The same with a healer that acts.
    pub fn healed_by(lines: &str, healer: fn() -> Box<dyn Healer>) -> Simulation {
        Simulation::begin(lines, Some((healer, Duration::ZERO)))
    }

    /// The same, and those whom it would kill have so much time to end by themselves.
    pub fn healed_gently_by(lines: &str, healer: fn() -> Box<dyn Healer>, grace: Duration) -> Simulation {
        Simulation::begin(lines, Some((healer, grace)))
    }

    fn begin(lines: &str, healer: Option<Made>) -> Simulation {
        let machine = Machine::new(1);
        let path = Path::new(&machine);
        let clock = HandClock::default();
        let entries = Arc::default();
        let config = config(lines);
        let sampler = start(&config, &path, &clock, &entries, healer);
        Simulation { machine, path, clock, sampler, entries, config, healer, wake: Duration::ZERO }
    }

    /// The monitor crashes and starts anew.
    pub fn restart_monitor(&mut self) {
        self.sampler = start(&self.config, &self.path, &self.clock, &self.entries, self.healer);
        self.wake = Duration::ZERO;
    }

    /// The agent restarts and makes all regions anew.
    pub fn restart_agent(&mut self) {
        let generation = self.machine.generation() + 1;
        let key = Arc::clone(&self.machine.key);
        self.machine = Machine::new(generation);
        // The agent carries it over.
        self.machine.key = key;
        self.path.serve(&self.machine);
    }

    /// Lets time pass, the machine's kernel ticking every millisecond.
    pub fn run(&mut self, time: Duration) {
        let end = self.clock.monotonic() + time;
        while self.clock.monotonic() < end {
            if self.clock.monotonic() >= self.wake {
                self.wake = self.sampler.step();
            }
            self.clock.turn(Duration::from_millis(1));
            self.machine.tick(self.clock.monotonic());
        }
    }

    /// Lets time pass without the monitor being run.
    pub fn sleep(&mut self, time: Duration) {
        self.clock.turn(time);
        self.machine.tick(self.clock.monotonic());
    }

    /// The journal so far, without what was taken before.
    pub fn take(&self) -> Vec<What> {
        self.entries.lock().unwrap().drain(..).map(|entry| entry.what).collect()
    }

    /// Kinds of the journal's entries so far, without what was taken before.
    pub fn take_kinds(&self) -> Vec<String> {
        self.take().iter().map(kind).collect()
    }

    /// Texts of the journal's entries so far, without what was taken before.
    pub fn take_texts(&self) -> Vec<String> {
        self.take().iter().map(What::text).collect()
    }
}

fn kind(what: &What) -> String {
    serde_json::to_value(what).unwrap()["kind"].as_str().unwrap().to_owned()
}

fn start(
    config: &TargetConfig,
    path: &Path,
    clock: &HandClock,
    entries: &Arc<Mutex<Vec<Entry>>>,
    healer: Option<Made>,
) -> Sampler {
    let entries = Arc::clone(entries);
    let tell = Box::new(move |entry| entries.lock().unwrap().push(entry));
    let linker = Box::new(path.linker(config.connections));
    let sampler = Sampler::new(config.clone(), linker, Box::new(clock.clone()), tell).unwrap();
    match healer {
        None => sampler,
        Some((make, grace)) => {
            let acts = HealerConfig {
                name: "test".to_owned(),
                mode: Mode::Act,
                cooldown: Some(Duration::from_secs(1)),
                grace: Some(grace),
                settings: toml::Table::new(),
            };
            sampler.healed_by(make(), &acts)
        }
    }
}
