//! Detection time against the deadline: targets of the real daemon, in the memory of a real NIC process, whose timer
//! stops at a random moment.

use super::Arguments;
use crate::daemon::{Daemon, nic, until};
use crate::picture::publish;
use crate::statistics::row;
use anyhow::{Context, Result};
use backdoors_monitor::clock::{Clock, SystemClock};
use backdoors_rdma::handshake::Identity;
use backdoors_rdma::owner::{MemoryOwner, Rights};
use backdoors_sensor_box::SensorKind;
use backdoors_sensor_box::layout::{Capabilities, RegionKind};
use backdoors_sensor_box::writer::{SensorBox, Shape};
use backdoors_tests::made_up_target::{GENERATION, Words, memory, shake_hands_as, show};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// As the kernel half's timer.
const TICK: Duration = Duration::from_millis(1);
/// Until the measured loss is that of the path, not that of a path nobody knows.
const WARM_UP: Duration = Duration::from_secs(3);

/// What was measured for one deadline.
struct Measured {
    deadline: Duration,
    /// Longest time between two samples that was in force.
    period: Duration,
    /// From the last tick to the verdict, in rising order.
    times: Vec<Duration>,
    /// Those of them during which the monitor was punctual: one that is late itself widens its deadlines.
    punctual: Vec<Duration>,
    false_alarms: usize,
}

fn quantile(times: &[Duration], share: f64) -> Duration {
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * share).ceil() as usize).copied().unwrap_or_default()
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut csv =
        "deadline ms,p50 ms,p99 ms,max ms,period ms,deadline + period ms,failures,false alarms,punctual failures,punctual p99 ms\n"
            .to_owned();
    let mut rows = Vec::new();
    println!("detection time, from the last tick to the verdict `kernel failed`:");
    for deadline in arguments.deadlines.iter().map(|deadline| Duration::from_millis(*deadline)) {
        let measured = measure(arguments, deadline)?;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (p50, p99) = (quantile(&measured.times, 0.5), quantile(&measured.times, 0.99));
        let punctual = quantile(&measured.punctual, 0.99);
        let longest = measured.times.last().copied().unwrap_or_default();
        let aim = measured.deadline + measured.period;
        println!(
            "  T = {:>4} ms: p50 {:>7.1}, p99 {:>7.1}, max {:>7.1} ms of {} failures; period at most {:.1} ms, so the aim \
             is {:.1} ms; {} false alarms; p99 {:.1} ms of the {} during which the monitor was punctual",
            deadline.as_millis(),
            ms(p50),
            ms(p99),
            ms(longest),
            measured.times.len(),
            ms(measured.period),
            ms(aim),
            measured.false_alarms,
            ms(punctual),
            measured.punctual.len()
        );
        csv.push_str(&format!(
            "{},{:.3},{:.3},{:.3},{:.3},{:.3},{},{},{},{:.3}\n",
            deadline.as_millis(),
            ms(p50),
            ms(p99),
            ms(longest),
            ms(measured.period),
            ms(aim),
            measured.times.len(),
            measured.false_alarms,
            measured.punctual.len(),
            ms(punctual)
        ));
        rows.push((deadline, p99, punctual, aim));
    }
    for (deadline, p99, punctual, aim) in rows {
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        for (of, p99) in [("all", p99), ("punctual", punctual)] {
            let what = format!("detection, T = {} ms, p99 of {of}", deadline.as_millis());
            row(&what, &ms(p99), &format!("T + period, {}", ms(aim)), p99.as_secs_f64() / aim.as_secs_f64());
        }
    }
    publish(
        &arguments.out,
        "detection-time",
        &csv,
        "set title 'Detection time against the deadline'\nset logscale xy\nset key left top\n\
         set xlabel 'deadline T, ms'\nset ylabel 'from the last tick to the verdict, ms'\n\
         plot DATA using 1:6 with lines dashtype 2 title 'T + one period', \
         DATA using 1:4 with points pointtype 2 title 'max', \
         DATA using 1:3 with linespoints pointtype 7 title 'p99', \
         DATA using 1:2 with linespoints pointtype 6 title 'p50'",
    )
}

fn measure(arguments: &Arguments, deadline: Duration) -> Result<Measured> {
    let folder = tempfile::tempdir()?;
    let [target, monitor] = ["target", "monitor"].map(Identity::generate);
    let (target, monitor) = (target?, monitor?);
    target.save(folder.path())?;
    monitor.save(folder.path())?;
    let (_nic, mut owner) = nic(folder.path())?;
    let timer = Timer::start(&mut owner, deadline)?;
    // To the NIC each of the daemon's targets is a monitor of its own: it looks at the memory by itself.
    let slots = AtomicU32::new(0);
    let address = shake_hands_as(owner, &target, monitor.certificate(), move |owner, _, hello| {
        let slot = slots.fetch_add(1, Ordering::Relaxed) % 16;
        owner.admit(&format!("monitor{slot}"), slot, &hello.endpoints).map_err(|error| error.to_string())
    })?;
    let mut lines = String::new();
    for number in 0..arguments.targets {
        lines.push_str(&format!(
            "[[target]]\nname = \"target{number}\"\naddress = \"{address}\"\ncertificate = \"target.crt\"\n\
             connections = 2\nperiod = \"1s\"\nfastest = \"1ms\"\n"
        ));
    }
    // What delays a monitor widens its deadlines; here the promise to a punctual one is measured.
    let daemon = Daemon::start(folder.path(), &lines, true)?;
    daemon.wait_for(arguments.targets)?;
    std::thread::sleep(WARM_UP);
    let mut read = 0;
    let mut measured = Measured {
        deadline,
        period: Duration::ZERO,
        times: Vec::new(),
        punctual: Vec::new(),
        false_alarms: 0,
    };
    measured.false_alarms += accusations(&daemon, &mut read)?.len();
    for _ in 0..arguments.rounds {
        std::thread::sleep(TICK * 20 + random(deadline.max(Duration::from_millis(50)))?);
        measured.false_alarms += accusations(&daemon, &mut read)?.len();
        for target in daemon.targets()? {
            let period = Duration::from_nanos(target["period_ns"].as_u64().context("no period")?);
            measured.period = measured.period.max(period);
        }
        let widened_before = daemon.widens_deadlines()?;
        let stopped = timer.stop()?;
        let mut found = Vec::new();
        until("a failure is not detected", || {
            found.extend(accusations(&daemon, &mut read)?);
            Ok((found.len() >= arguments.targets).then_some(()))
        })?;
        // A deadline that was widened meanwhile stays so for half a second.
        let widened = widened_before || daemon.widens_deadlines()?;
        for at in found {
            // What was accused while the timer ran belongs to no failure.
            match Duration::from_nanos(at).checked_sub(stopped) {
                Some(took) => {
                    measured.times.push(took);
                    if !widened {
                        measured.punctual.push(took);
                    }
                }
                None => measured.false_alarms += 1,
            }
        }
        timer.go();
        until("a target does not become healthy", || {
            let healthy = |target: &serde_json::Value| target["verdict"] == "healthy";
            Ok(daemon.targets()?.iter().all(healthy).then_some(()))
        })?;
    }
    measured.times.sort_unstable();
    measured.punctual.sort_unstable();
    Ok(measured)
}

/// When kernels were accused, on the monotonic clock, nanoseconds; since the journal was `read`.
fn accusations(daemon: &Daemon, read: &mut usize) -> Result<Vec<u64>> {
    let entries = daemon.journal(read)?;
    let accused = entries.iter().filter(|entry| {
        entry["kind"] == "verdict" && entry["layer"] == "kernel" && entry["state"] == "failed"
    });
    Ok(accused.filter_map(|entry| entry["monotonic_ns"].as_u64()).collect())
}

/// Any time below `bound`.
fn random(bound: Duration) -> Result<Duration> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bound.mul_f64(u64::from_le_bytes(bytes) as f64 / u64::MAX as f64))
}

/// A kernel's timer, in memory that a NIC shows.
struct Timer {
    runs: Arc<AtomicBool>,
    /// Last tick, nanoseconds of the monotonic clock; 0 while it runs.
    stopped: Arc<AtomicU64>,
}

impl Timer {
    fn start(owner: &mut impl MemoryOwner, limit: Duration) -> Result<Timer> {
        let shape = Shape {
            generation: GENERATION,
            capabilities: Capabilities::KERNEL_HALF,
            cpus: 1,
            tick_period: TICK.as_nanos() as u64,
        };
        let (words, descriptor) = memory(4096)?;
        let sensor_box = SensorBox::lay_out(words.clone(), &shape)?;
        let sensor = sensor_box.new_sensor(SensorKind::KERNEL_TIMER, 0, limit.as_nanos() as u64)?;
        show(owner, RegionKind::SENSORS, words, descriptor, Rights::ReadOnly)?;
        let timer = Timer { runs: Arc::new(AtomicBool::new(true)), stopped: Arc::default() };
        let (runs, stopped) = (Arc::clone(&timer.runs), Arc::clone(&timer.stopped));
        std::thread::Builder::new()
            .name("timer".into())
            .spawn(move || tick(&sensor_box, sensor, &runs, &stopped))?;
        Ok(timer)
    }

    /// Stops it; returns when it ticked last.
    fn stop(&self) -> Result<Duration> {
        self.runs.store(false, Ordering::SeqCst);
        until("the timer does not stop", || {
            let at = self.stopped.load(Ordering::SeqCst);
            Ok((at != 0).then(|| Duration::from_nanos(at)))
        })
    }

    fn go(&self) {
        self.runs.store(true, Ordering::SeqCst);
    }
}

fn tick(
    sensor_box: &SensorBox<Words>,
    sensor: backdoors_sensor_box::writer::Sensor,
    runs: &AtomicBool,
    stopped: &AtomicU64,
) {
    // It stands for a kernel's timer, which no other program delays.
    if let Err(error) = backdoors_rdma::realtime::schedule_first(60) {
        eprintln!("the timer of the made-up target may be delayed: {error}");
    }
    let (mut value, mut last) = (0, 0);
    loop {
        if runs.load(Ordering::SeqCst) {
            stopped.store(0, Ordering::SeqCst);
            value += 1;
            sensor_box.set(sensor, value);
            last = SystemClock.monotonic().as_nanos() as u64;
        } else {
            stopped.store(last, Ordering::SeqCst);
        }
        std::thread::sleep(TICK);
    }
}
