//! Where the sensors of the kernel half lie in the box: `[machine][6 per CPU][2 per user]`, the CPUs' on cache lines
//! of their own.

use crate::kernel::settings::{Settings, USER_PAIRS};
use crate::limits::Limits;
use backdoors_sensor_box::layout::MAX_SENSORS;
use backdoors_sensor_box::writer::{NewSensorError, SensorBox};
use backdoors_sensor_box::{SensorKind, SharedWords};

/// Sensors of the whole machine, in the order of their records.
const MACHINE: [SensorKind; 18] = [
    SensorKind::KERNEL_TIMER,
    SensorKind::AGENT_HEARTBEAT,
    SensorKind::PROCESSES,
    SensorKind::PROCESSES_LOST,
    SensorKind::USERS_LOST,
    SensorKind::OOM_KILLS,
    SensorKind::FORKS,
    SensorKind::AGENT_ALIVE,
    SensorKind::MEMORY_AVAILABLE,
    SensorKind::MEMORY_TOTAL,
    SensorKind::SWAP_FREE,
    SensorKind::SWAP_TOTAL,
    SensorKind::MEMORY_STALLED,
    SensorKind::FORKS_REFUSED,
    SensorKind::SESSIONS_OPEN,
    SensorKind::SESSIONS_UNPROTECTED,
    SensorKind::FENCE_HELD,
    SensorKind::FENCE_WITHHELD,
];

/// Sensors of a CPU, in the order `bpf/sensors.h` has.
const CPU: [SensorKind; 5] = [
    SensorKind::CPU_SWITCHES,
    SensorKind::CPU_BUSY,
    SensorKind::CPU_TICKS,
    SensorKind::CPU_INTERRUPTS,
    SensorKind::CPU_SOFTIRQS,
];

/// Records of a CPU, the last one free: an even number keeps them on cache lines of their own.
const CPU_RECORDS: u32 = 6;

/// Records of the machine's sensors, an even number too.
const FIRST_CPU: u32 = 18;

/// Most CPUs that can have sensors.
pub const MAX_CPUS: u32 = (MAX_SENSORS as u32 - FIRST_CPU - 2 * USER_PAIRS) / CPU_RECORDS;

const _: () = assert!(CPU.len() <= CPU_RECORDS as usize && MACHINE.len() <= FIRST_CPU as usize);

/// Tells the kernel half where the sensors of a machine with `cpus` CPUs lie.
pub fn place(settings: &mut Settings, cpus: u32) {
    let record = |kind| MACHINE.iter().position(|at| *at == kind).map_or(u32::MAX, |index| index as u32);
    settings.cpus = cpus.min(MAX_CPUS);
    settings.first_cpu = FIRST_CPU;
    settings.first_user = FIRST_CPU + CPU_RECORDS * settings.cpus;
    settings.kernel_timer = record(SensorKind::KERNEL_TIMER);
    settings.processes = record(SensorKind::PROCESSES);
    settings.processes_lost = record(SensorKind::PROCESSES_LOST);
    settings.users_lost = record(SensorKind::USERS_LOST);
    settings.oom_kills = record(SensorKind::OOM_KILLS);
    settings.forks = record(SensorKind::FORKS);
    settings.forks_refused = record(SensorKind::FORKS_REFUSED);
    settings.sessions_open = record(SensorKind::SESSIONS_OPEN);
    settings.sessions_unprotected = record(SensorKind::SESSIONS_UNPROTECTED);
    settings.fence_held = record(SensorKind::FENCE_HELD);
    settings.fence_withheld = record(SensorKind::FENCE_WITHHELD);
    settings.agent_alive = record(SensorKind::AGENT_ALIVE);
    settings.memory_available = record(SensorKind::MEMORY_AVAILABLE);
}

/// Makes the sensors of machine and CPUs; those of users are made by the kernel half as users appear.
///
/// # Errors
/// As [`SensorBox::new_sensor_at`]; then the box is half made.
pub fn make_sensors<W: SharedWords>(
    sensors: &SensorBox<W>,
    settings: &Settings,
    limits: &Limits,
) -> Result<(), NewSensorError> {
    for (index, kind) in MACHINE.into_iter().enumerate() {
        sensors.new_sensor_at(index, kind, 0, limits.of(kind))?;
    }
    for cpu in 0..settings.cpus {
        let first = (settings.first_cpu + cpu * CPU_RECORDS) as usize;
        for (offset, kind) in CPU.into_iter().enumerate() {
            sensors.new_sensor_at(first + offset, kind, cpu, limits.of(kind))?;
        }
    }
    Ok(())
}
