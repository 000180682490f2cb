//! Loading a new kernel half.

use crate::kernel::attach::{attach, attach_to_cgroup};
use crate::kernel::cpus::online_cpus;
use crate::kernel::fence::{FencePlan, ON_EGRESS};
use crate::kernel::maps::{KernelHalf, Misfit, PINNED_MAPS};
use crate::kernel::pins::{Pins, PinsError};
use crate::kernel::probe::{KernelAbilities, NoTypes, OomKills, probe};
use crate::kernel::sessions::{IN_CGROUP, NoCgroup, ON_READ, SessionPlan};
use crate::kernel::settings::{Control, Settings};
use crate::kernel::shape;
use crate::limits::Limits;
use crate::memory::new_generation;
use backdoors_sensor_box::SensorKind;
use backdoors_sensor_box::SharedWords;
use backdoors_sensor_box::layout::Capabilities;
use backdoors_sensor_box::writer::{AuditRing, Fence, ProcessTable, SensorBox, Shape};
use libbpf_rs::{MapCore, MapFlags, MapHandle, Object, ObjectBuilder, OpenObject, PrintLevel, ProgramInput};
use schemars::JsonSchema;
use std::fmt;
use std::io;
use std::mem::offset_of;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;
use zerocopy::IntoBytes;

/// The compiled kernel half, aligned as its reader wants it.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);
static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/kernel_half.bpf.o")));

const TICK: Duration = Duration::from_millis(1);
const GIVE_UP: Duration = Duration::from_secs(5);
const SETTINGS: &str = ".rodata.settings";

/// Which processes are seen and reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// All of the machine's.
    #[default]
    Machine,
    /// Those of the agent's pid namespace, by the ids they have there.
    PidNamespace,
}

/// What kernel half is wanted.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which processes it sees and reaches.
    pub scope: Scope,
    /// Have the helper kill even where the kernel can.
    pub helper_kills: bool,
    /// Entries of the process table.
    pub capacity: u32,
    /// CPUs that get sensors.
    pub cpus: u32,
    /// Limits of sensors.
    pub limits: Limits,
    /// Live connections to be captured.
    pub sessions: SessionPlan,
    /// Addresses that monitors may fence.
    pub fence: FencePlan,
}

/// Why no kernel half was loaded. Nothing is left of it unless a variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Nothing is known about the kernel.
    #[error(transparent)]
    NoTypes(#[from] NoTypes),
    /// The kernel refuses it.
    #[error("the kernel refused the kernel half at {step}: {source}{}", Words(.said))]
    Refused {
        /// What was being done.
        step: String,
        /// What the system says.
        source: libbpf_rs::Error,
        /// What the loader said about it.
        said: String,
    },
    /// A scope of the whole machine from inside a pid namespace.
    #[error(
        "the agent runs in a pid namespace and cannot watch the whole machine from there: set scope = \"pid-namespace\", \
         or start it outside"
    )]
    Inside,
    /// Its memory cannot be laid out or mapped.
    #[error("the kernel half's memory cannot be used: {0}")]
    Memory(String),
    /// There is nothing to attach the capture of live connections to.
    #[error(transparent)]
    NoCgroup(#[from] NoCgroup),
    /// The control group whose connections are to be captured cannot be used.
    #[error("the control group {path} cannot be used ({source}): correct `service_cgroup`")]
    Cgroup {
        /// Its folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It cannot be kept.
    #[error(transparent)]
    Pins(#[from] PinsError),
}

struct Words<'a>(&'a str);

impl fmt::Display for Words<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(formatter, "\n{}", self.0.trim_end()) }
    }
}

impl Plan {
    fn settings(&self, abilities: &KernelAbilities) -> Settings {
        let mut settings = Settings {
            scoped: u32::from(self.scope == Scope::PidNamespace),
            kills_all: u32::from(abilities.signals_any_task && !self.helper_kills),
            capacity: self.capacity,
            sees_memory: u32::from(abilities.memory.sizes),
            sees_stalls: u32::from(abilities.memory.stalls),
            refuses_forks: u32::from(abilities.refuses_forks),
            page_bytes: rustix::param::page_size() as u32,
            user_processes_limit: self.limits.of(SensorKind::USER_PROCESSES),
            user_fork_rate_limit: self.limits.of(SensorKind::USER_FORK_RATE),
            tick: TICK.as_nanos() as u64,
            give_up: GIVE_UP.as_nanos() as u64,
            ..Settings::default()
        };
        shape::place(&mut settings, self.cpus);
        self.sessions.place(&mut settings);
        self.fence.place(&mut settings);
        settings
    }

    /// Says which build with which settings a kernel half is of.
    ///
    /// # Errors
    /// [`NoTypes`] if nothing is known about the kernel.
    pub fn fingerprint(&self) -> Result<u64, NoTypes> {
        let cgroup = self.sessions.cgroup.as_ref().map(|path| path.as_os_str().as_encoded_bytes());
        Ok(fingerprint(&self.settings(&probe()?), cgroup.unwrap_or_default()))
    }
}

fn capabilities(settings: &Settings, captures: bool) -> u64 {
    let kills = match settings.kills_all {
        0 => Capabilities::KERNEL_KILLS_RUNNING,
        _ => Capabilities::KERNEL_KILLS_ALL,
    };
    // Also where the kernel kills: its timer cannot from an idle CPU.
    let kills = kills | Capabilities::HELPER_KILLS;
    let scoped = if settings.scoped == 0 { 0 } else { Capabilities::SCOPED };
    let sees = if settings.sees_memory == 0 { 0 } else { Capabilities::KERNEL_SEES_MEMORY };
    let refuses = if settings.refuses_forks == 0 { 0 } else { Capabilities::KERNEL_REFUSES_FORKS };
    let captures = if captures { Capabilities::CAPTURES_SESSIONS } else { 0 };
    Capabilities::KERNEL_HALF | Capabilities::ERRANDS | kills | scoped | sees | refuses | captures
}

fn fingerprint(settings: &Settings, cgroup: &[u8]) -> u64 {
    // FNV-1a; 0 marks a kernel half that was left half made.
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    OBJECT.0.iter().chain(settings.as_bytes()).chain(cgroup).fold(0xcbf2_9ce4_8422_2325, step) | 1
}

/// Loads, lays out, attaches, fills, starts and pins a kernel half. `protected` are processes no command reaches. If it cannot
/// capture live connections, or fence, it does without, and says so: in the log, and by its capabilities.
///
/// # Errors
/// See [`LoadError`].
pub fn load(pins: &Pins, plan: &Plan, spared: &[u32], protected: &[u32]) -> Result<KernelHalf, LoadError> {
    // Of what was wanted: what could not be had now is tried again when something changes.
    let fingerprint = plan.fingerprint()?;
    let error = match load_planned(pins, plan, fingerprint, spared, protected) {
        Ok(half) => return Ok(half),
        Err(error) if matches!(error, LoadError::Inside) => return Err(error),
        Err(error) => error,
    };
    let (sessions, fence) = (SessionPlan::default, FencePlan::default);
    let reduced = [
        (plan.sessions.is_wanted(), Plan { sessions: sessions(), ..plan.clone() }),
        (plan.fence.is_wanted(), Plan { fence: fence(), ..plan.clone() }),
        (true, Plan { sessions: sessions(), fence: fence(), ..plan.clone() }),
    ];
    let optional = plan.sessions.is_wanted() || plan.fence.is_wanted();
    for (_, without) in reduced.iter().filter(|(less, _)| optional && *less) {
        if let Ok(half) = load_planned(pins, without, fingerprint, spared, protected) {
            if plan.sessions.is_wanted() && !without.sessions.is_wanted() {
                tracing::error!(%error, "no live connection is captured");
            }
            if plan.fence.is_wanted() && !without.fence.is_wanted() {
                tracing::error!(%error, "no address can be fenced");
            }
            return Ok(half);
        }
    }
    Err(error)
}

fn load_planned(
    pins: &Pins,
    plan: &Plan,
    fingerprint: u64,
    spared: &[u32],
    protected: &[u32],
) -> Result<KernelHalf, LoadError> {
    let abilities = probe()?;
    let settings = plan.settings(&abilities);
    pins.prepare()?;
    let loaded = build(pins, plan, &settings, &abilities, spared, protected);
    match &loaded {
        Ok(half) => half.control.words.store(offset_of!(Control, fingerprint) / 8, fingerprint),
        // What matters is why it could not be loaded; the next start removes what may be left.
        Err(_) => {
            if let Err(error) = pins.remove() {
                tracing::warn!(%error, "pins of a kernel half that could not be loaded are left");
            }
        }
    }
    loaded
}

fn build(
    pins: &Pins,
    plan: &Plan,
    settings: &Settings,
    abilities: &KernelAbilities,
    spared: &[u32],
    protected: &[u32],
) -> Result<KernelHalf, LoadError> {
    let mut object = said("load", || configure(open()?, plan, settings, abilities)?.load())?;
    let generation = new_generation().map_err(memory)?;
    let half = KernelHalf::open(pins, Some(generation), |name| {
        let map = object.maps().find(|map| map.name() == name);
        let map = map.ok_or_else(|| Misfit::Incomplete(format!("no map {name}")))?;
        MapHandle::try_from(&map).map_err(|error| Misfit::Incomplete(error.to_string()))
    })
    .map_err(memory)?;
    run_once(&object, "find_scope")?;
    let level = half.control.words.load(offset_of!(Control, scope_level) / 8) as u32;
    if settings.scoped == 0 && level != 0 {
        return Err(LoadError::Inside);
    }
    lay_out(&half, plan, settings)?;
    list_free(&object, "free_entries", (0..settings.capacity).rev())?;
    list_free(&object, "free_sessions", 0..plan.sessions.capacity())?;
    half.spare(spared);
    half.protect(protected);
    attach(pins, &object)?;
    if plan.sessions.is_wanted() {
        attach_to_cgroup(pins, &object, &plan.sessions)?;
    }
    look_whether_busy(&object);
    run_once(&object, "start_timer")?;
    for mut map in object.maps_mut().filter(|map| PINNED_MAPS.iter().any(|name| map.name() == *name)) {
        let path = pins.map(&map.name().to_string_lossy());
        map.pin(&path).map_err(|source| refused("pinning a map", source))?;
    }
    if plan.fence.is_wanted() {
        let program = object.progs_mut().find(|program| program.name() == ON_EGRESS);
        let mut program = program.ok_or_else(|| LoadError::Memory(format!("no program {ON_EGRESS}")))?;
        program.pin(pins.program(ON_EGRESS)).map_err(|source| refused("pinning a program", source))?;
    }
    // Now that their start times are in the table.
    half.protect(protected);
    half.survey().map_err(memory)?;
    Ok(half)
}

fn open() -> libbpf_rs::Result<OpenObject> {
    ObjectBuilder::default().open_memory(&OBJECT.0)
}

fn configure(
    mut object: OpenObject,
    plan: &Plan,
    settings: &Settings,
    abilities: &KernelAbilities,
) -> libbpf_rs::Result<OpenObject> {
    for mut program in object.progs_mut() {
        let wanted = match program.name().to_str() {
            Some("on_tick") => abilities.timer_interrupts,
            Some("refuse_fork") => abilities.refuses_forks,
            Some("on_oom_kill") => abilities.oom_kills == OomKills::Victim,
            Some("on_oom_kill_before_6_9") => abilities.oom_kills == OomKills::ProcessId,
            Some(ON_EGRESS) => plan.fence.is_wanted(),
            Some(ON_READ) => plan.sessions.is_wanted(),
            Some(name) if IN_CGROUP.contains(&name) => plan.sessions.is_wanted(),
            _ => true,
        };
        program.set_autoload(wanted);
    }
    for mut map in object.maps_mut() {
        match map.name().to_str() {
            Some(SETTINGS) => map.set_initial_value(settings.as_bytes())?,
            Some("processes") => map.set_max_entries(settings.capacity + 1)?,
            Some("condemned" | "free_entries") => map.set_max_entries(settings.capacity)?,
            Some("tracked") => map.set_max_entries((settings.capacity * 4).max(32768))?,
            _ => {}
        }
    }
    plan.sessions.size(&mut object, settings.cpus)?;
    Ok(object)
}

/// The fence's program alone, to see whether this kernel takes it.
pub(super) fn load_fence() -> Result<Object, LoadError> {
    said("load", || {
        let mut object = open()?;
        for mut program in object.progs_mut() {
            program.set_autoload(program.name() == ON_EGRESS);
        }
        object.load()
    })
}

fn lay_out(half: &KernelHalf, plan: &Plan, settings: &Settings) -> Result<(), LoadError> {
    let memory_region = &half.memory;
    let shape = Shape {
        generation: memory_region.generation,
        capabilities: capabilities(settings, memory_region.sessions.is_some()),
        cpus: settings.cpus,
        tick_period: settings.tick,
    };
    let sensors = SensorBox::lay_out(memory_region.sensors.words.clone(), &shape).map_err(memory)?;
    shape::make_sensors(&sensors, settings, &plan.limits).map_err(memory)?;
    ProcessTable::lay_out(memory_region.processes.words.clone(), memory_region.generation).map_err(memory)?;
    AuditRing::lay_out(memory_region.audit.words.clone(), memory_region.generation).map_err(memory)?;
    if let Some(sessions) = &memory_region.sessions {
        plan.sessions.lay_out(sessions, memory_region.generation).map_err(memory)?;
    }
    if let Some(fence) = memory_region.fence.as_ref().filter(|_| plan.fence.is_wanted()) {
        Fence::lay_out(fence.words.clone(), memory_region.generation, &plan.fence.addresses)
            .map_err(memory)?;
    }
    Ok(())
}

/// In the order in which the lowest come first, so that tables stay dense.
fn list_free(object: &Object, name: &str, free: impl Iterator<Item = u32>) -> Result<(), LoadError> {
    let map = object.maps().find(|map| map.name() == name);
    let map = map.ok_or_else(|| LoadError::Memory(format!("no map {name}")))?;
    for number in free {
        map.update(&[], &number.to_ne_bytes(), MapFlags::ANY)
            .map_err(|source| refused("listing what is free", source))?;
    }
    Ok(())
}

fn run_once(object: &Object, name: &str) -> Result<(), LoadError> {
    let packet = [0; 64];
    run(object, name, ProgramInput { data_in: Some(&packet), ..ProgramInput::default() })
}

/// Has every CPU that is online say whether it is busy now; one that is not is idle.
fn look_whether_busy(object: &Object) {
    for cpu in online_cpus() {
        let input = ProgramInput {
            cpu,
            flags: libbpf_rs::libbpf_sys::BPF_F_TEST_RUN_ON_CPU,
            ..ProgramInput::default()
        };
        if let Err(error) = run(object, "look_whether_busy", input) {
            tracing::warn!(cpu, %error, "whether this CPU is busy is not known before its next context switch");
        }
    }
}

fn run(object: &Object, name: &str, input: ProgramInput<'_>) -> Result<(), LoadError> {
    let program = object.progs_mut().find(|program| program.name() == name);
    let program = program.ok_or_else(|| LoadError::Memory(format!("no program {name}")))?;
    let output = program.test_run(input).map_err(|source| refused(name, source))?;
    if output.return_value == 1 { Ok(()) } else { Err(LoadError::Memory(format!("{name} failed"))) }
}

static SAID: Mutex<String> = Mutex::new(String::new());
/// The end of the verifier's log says why.
const MOST_SAID: usize = 4096;

/// Runs a step and keeps what the loader says about it for the error.
pub(super) fn said<T>(step: &str, action: impl FnOnce() -> libbpf_rs::Result<T>) -> Result<T, LoadError> {
    let (result, text) = overheard(action);
    result.map_err(|source| {
        let start = text.len().saturating_sub(MOST_SAID);
        let start = (start..text.len()).find(|index| text.is_char_boundary(*index)).unwrap_or(text.len());
        LoadError::Refused { step: step.into(), source, said: text[start..].into() }
    })
}

/// Runs an action, and returns what the loader says meanwhile.
pub(super) fn overheard<T>(action: impl FnOnce() -> T) -> (T, String) {
    let clear = || SAID.lock().map(|mut said| std::mem::take(&mut *said)).unwrap_or_default();
    clear();
    let before = libbpf_rs::set_print(Some((PrintLevel::Warn, |_, text| {
        if let Ok(mut said) = SAID.lock() {
            said.push_str(&text);
        }
    })));
    let result = action();
    libbpf_rs::set_print(before);
    (result, clear())
}

pub(super) fn refused(step: &str, source: libbpf_rs::Error) -> LoadError {
    LoadError::Refused { step: step.into(), source, said: String::new() }
}

pub(super) fn memory(error: impl fmt::Display) -> LoadError {
    LoadError::Memory(error.to_string())
}
