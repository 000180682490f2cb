//! Commands to call applications' hooks, which the kernel half leaves to the agent, because applications are attached to it.

use crate::applications::{CallError, Caller, HookCall};
use crate::errand::{Desk, Errand, Undone};
use crate::kernel::{KernelHalf, Pins};
use backdoors_sensor_box::{Opcode, Refusal};
use libbpf_rs::{RingBuffer, RingBufferBuilder};
use std::io;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

/// How long an application may take; less than the kernel half waits for an errand.
const ANSWER_TIME: Duration = Duration::from_secs(4);
/// Longest wait for the kernel half's call: what was asked for while nobody listened is found then.
const REST: Duration = Duration::from_secs(1);

/// Makes the calls that the kernel half in `pins` asks for, from a thread of its own.
///
/// # Errors
/// What the system says if there is no kernel half, or no thread.
pub(super) fn serve(pins: &Pins, caller: Caller) -> io::Result<()> {
    let half = KernelHalf::attach(pins).map_err(io::Error::other)?;
    thread::Builder::new().name("calls".into()).spawn(move || {
        let wakeups = match listen(&half) {
            Ok(wakeups) => wakeups,
            Err(error) => return tracing::error!(%error, "no hook of an application can be called"),
        };
        let desk = Desk::new(&half.control.words, &half.errands.words);
        loop {
            desk.serve(|opcode| opcode == Opcode::CallHook, |errand| call(&caller, errand));
            // An interrupted wait is as good as one that ended.
            let _ = wakeups.poll(REST);
        }
    })?;
    Ok(())
}

fn listen(half: &KernelHalf) -> libbpf_rs::Result<RingBuffer<'_>> {
    let mut wakeups = RingBufferBuilder::new();
    wakeups.add(&half.calls, |_| 0)?;
    wakeups.build()
}

fn call(caller: &Caller, errand: &Errand) -> Result<(), Undone> {
    let call = HookCall {
        application: (errand.subject >> 32) as u32,
        generation: errand.start,
        hook: errand.subject as u32,
        word: errand.argument,
        deadline: Instant::now() + ANSWER_TIME,
    };
    let (tell, told) = sync_channel(1);
    caller.call(call, move |result| {
        // There is room for the one word.
        let _ = tell.try_send(result);
    });
    told.recv().unwrap_or(Err(CallError::Ended)).map_err(undone)
}

fn undone(error: CallError) -> Undone {
    tracing::warn!(%error, "a hook of an application was to be called");
    match error {
        CallError::NotAttached | CallError::NoSuchHook { .. } => Refusal::NotOffered.into(),
        CallError::OutOfRange { .. } => Refusal::OutOfRange.into(),
        CallError::Busy => Refusal::Busy.into(),
        CallError::Failed(code) => Undone::Failed(u64::from(code)),
        CallError::NoAnswer | CallError::Ended => Refusal::NotCarriedOut.into(),
    }
}
