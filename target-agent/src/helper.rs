//! The real-time process that signals where the kernel half cannot.
//!
//! The kernel half judges; the helper only carries out. A sentence is gone as soon as its entry is another process's,
//! and it is looked at again once the process is held by a descriptor, so none is killed for another that had its id.

use crate::errand::{Desk, Hierarchy, Means};
use crate::kernel::settings::Control;
use crate::kernel::{KernelHalf, Pins};
use crate::words::Words;
use backdoors_sensor_box::SharedWords;
use backdoors_sensor_box::layout::{ProcessEntry, ProcessTableHeader};
use backdoors_sensor_box::variables::Variables;
use libbpf_rs::RingBufferBuilder;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::mem::offset_of;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{io, thread};

/// Priority among real-time processes: below the NIC's owner, which must answer meanwhile.
const PRIORITY: i32 = 40;
const ROUND: Duration = Duration::from_millis(1);
/// Longest wait for the kernel half's call.
const REST: Duration = Duration::from_millis(100);
/// How long a helper that is alive may go without a round.
const SIGN_OF_LIFE: Duration = Duration::from_millis(300);

/// How long a new one may take to come up.
const COMING_UP: Duration = Duration::from_secs(2);

/// How far a sentence is, as `bpf/settings.h` has it: process id << 32 | signal << 8 | one of these.
const STATE: u64 = 0xff;
const PASSED: u64 = 1;
const CARRIED_OUT: u64 = 2;

const HIGH_WATER: usize = offset_of!(ProcessTableHeader, high_water) / 8;
const HUNTING: usize = offset_of!(Control, hunting) / 8;
const BEAT: usize = offset_of!(Control, helper_beat) / 8;
const PID: usize = offset_of!(Control, helper_pid) / 8;

/// Starts a helper for the kernel half in `pins`, unless one is at work. Returns the process if it was started.
///
/// # Errors
/// What the system says if it cannot be started.
pub fn ensure(half: &KernelHalf, pins: &Path) -> io::Result<Option<Child>> {
    let (before, pid) = half.helper();
    if pid != 0 {
        thread::sleep(SIGN_OF_LIFE);
        if half.helper().0 != before {
            return Ok(None);
        }
    }
    let child = Command::new(std::env::current_exe()?)
        .arg("helper")
        .arg("--pins")
        .arg(pins)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    // Its process id must be known before anybody is told that it is protected.
    let start = Instant::now();
    while half.helper().1 != child.id() && start.elapsed() < COMING_UP {
        thread::sleep(ROUND);
    }
    Ok(Some(child))
}

/// Carries out what the kernel half condemns, until the kernel half is gone.
///
/// # Errors
/// What the system says if there is no kernel half, or it cannot be mapped.
pub fn run(pins: &Path) -> io::Result<()> {
    let place = Pins::new(pins);
    let half = KernelHalf::attach(&place).map_err(io::Error::other)?;
    if let Err(error) = backdoors_rdma::realtime::lock_memory() {
        tracing::warn!(%error, "the helper's memory is not locked: repair may stall when memory is short");
    }
    if let Err(error) = backdoors_rdma::realtime::schedule_first(PRIORITY) {
        tracing::warn!(%error, "the helper is not real-time: repair may stall when the machine is busy");
    }
    half.control.words.store(PID, u64::from(std::process::id()));
    let mut wakeups = RingBufferBuilder::new();
    wakeups.add(&half.wakeups, |_| 0).map_err(io::Error::other)?;
    let wakeups = wakeups.build().map_err(io::Error::other)?;
    let (processes, condemned) = (&half.memory.processes.words, &half.condemned.words);
    let desk = Desk::new(&half.control.words, &half.errands.words);
    let hierarchy = Hierarchy::mounted();
    let variables = Variables::new(half.memory.variables.words.clone());
    let variables = variables.ok_or_else(|| io::Error::other("no room for variables"))?;
    let means = Means { census: &half, hierarchy: hierarchy.as_ref(), variables: &variables };
    let hunts = || half.control.words.load(HUNTING) as u32 != 0;
    for round in 1.. {
        half.control.words.store(BEAT, round);
        if hunts() || desk.is_busy() {
            if hunts() {
                carry_out(processes, condemned);
            }
            desk.serve(Means::suffice_for, |errand| means.carry_out(errand));
            thread::sleep(ROUND);
        } else if !place.any() {
            break;
        }
        let patience = if hunts() || desk.is_busy() { Duration::ZERO } else { REST };
        // An interrupted wait is as good as one that ended.
        let _ = wakeups.poll(patience);
    }
    Ok(())
}

fn carry_out(processes: &Words, condemned: &Words) {
    let used = (processes.load(HIGH_WATER) >> 32) as usize;
    for index in 0..used.min(condemned.len()) {
        let sentence = condemned.load(index);
        let Some(pid) = condemned_pid(processes, index, sentence) else { continue };
        let Some(signal) = Signal::from_named_raw((sentence >> 8) as u8 as i32) else { continue };
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        let carried_out = (sentence & !STATE) | CARRIED_OUT;
        // Only now is it sure whose descriptor that is. Marked first, because the process may be gone right after.
        if condemned_pid(processes, index, sentence) == Some(pid)
            && condemned.compare_exchange(index, sentence, carried_out).is_ok()
            && pidfd_send_signal(&process, signal).is_err()
        {
            // If it was changed meanwhile, the kernel half has judged anew.
            let _ = condemned.compare_exchange(index, carried_out, sentence);
        }
    }
}

fn condemned_pid(processes: &Words, index: usize, sentence: u64) -> Option<Pid> {
    const HEADER_WORDS: usize = size_of::<ProcessTableHeader>() / 8;
    const ENTRY_WORDS: usize = size_of::<ProcessEntry>() / 8;
    let word = HEADER_WORDS + index * ENTRY_WORDS;
    if word >= processes.len() {
        return None;
    }
    // Who has the entry.
    let holder = processes.load(word) >> 32;
    (sentence & STATE == PASSED && holder == sentence >> 32).then(|| Pid::from_raw(holder as i32)).flatten()
}
