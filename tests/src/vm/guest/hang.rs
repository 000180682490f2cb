//! Breaks the guest's kernel: keeps processors spinning with interrupts off, for ever.

use std::{
    hint, io,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
};

use libbpf_rs::{MapCore, MapFlags, MapHandle, ObjectBuilder};
use rustix::thread::{CpuSet, sched_setaffinity};

/// The compiled program, aligned as its reader wants it.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);
static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/hang.bpf.o")));

/// Hangs these processors, all of them at their next timer interrupt. Does not return but to say that it failed.
pub fn hang(processors: &[usize]) -> io::Result<()> {
    let mut object = ObjectBuilder::default()
        .open_memory(&OBJECT.0)
        .and_then(|object| object.load())
        .map_err(io::Error::other)?;
    let program = object.progs_mut().next().ok_or(io::ErrorKind::NotFound)?;
    let _attached = program.attach().map_err(io::Error::other)?;
    let memory = object.maps_mut().find(|map| map.name().to_string_lossy().ends_with(".bss"));
    let memory = MapHandle::try_from(&memory.ok_or(io::ErrorKind::NotFound)?).map_err(io::Error::other)?;
    let arm = || memory.update(&0u32.to_ne_bytes(), &std::process::id().to_ne_bytes(), MapFlags::ANY);

    // A processor that hangs may hold up whoever still has to move to another one: first all are in place.
    let in_place = AtomicUsize::new(0);
    let spin = |processor: usize| -> io::Result<()> {
        let mut only = CpuSet::new();
        only.set(processor);
        sched_setaffinity(None, &only)?;
        if in_place.fetch_add(1, SeqCst) + 1 == processors.len() {
            arm().map_err(io::Error::other)?;
        }
        loop {
            hint::spin_loop();
        }
    };
    thread::scope(|scope| {
        let spinning: Vec<_> = processors.iter().map(|processor| scope.spawn(|| spin(*processor))).collect();
        spinning.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a spinning thread panicked")))
        })
    })
}
