//! Ways to break a guest's kernel, for good unless [`resume`] is named. Each returns once the kernel is broken, which
//! is seen from outside, and the guest answers no command any more: its processes do not run, or not for long.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{GuestCommand, Priority, Vm, VmError};

/// Longest time until a processor hangs or a kernel has panicked, on a guest that is busy with other things.
const BROKEN: Duration = Duration::from_secs(30);
/// A processor hangs when it was seen so often in a row in the kernel with interrupts off, which an honest one is for
/// microseconds.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Has the kernel panic, and stay so. All processors but the one it panics on are halted; that one waits in a loop, as
/// Linux does when it is not to reboot. It has switched off the source of its timer's interrupts, too, so nothing in
/// the kernel goes on.
///
/// # Errors
/// If the guest does not answer or does not say in time that it panicked.
pub fn panic(vm: &Vm) -> Result<(), VmError> {
    let sure = GuestCommand::new("echo c >/proc/sysrq-trigger").priority(Priority::RealTime);
    vm.spawn(sure)?;
    within(BROKEN, || Ok(vm.console().contains("end Kernel panic")))
}

/// Keeps every processor spinning with interrupts off.
///
/// # Errors
/// If the guest does not answer, or not all of its processors hang in time.
pub fn hang_all(vm: &Vm) -> Result<(), VmError> {
    let all: Vec<usize> = (0..usize::from(vm.cpus())).collect();
    hang(vm, &all)
}

/// Keeps one processor spinning with interrupts off, numbered from 0. The others go on until they need it, which they
/// do sooner or later.
///
/// # Errors
/// If the guest does not answer, or the processor does not hang in time.
pub fn hang_one(vm: &Vm, cpu: usize) -> Result<(), VmError> {
    hang(vm, &[cpu])
}

/// Stops all processors, between two instructions and without a trace.
///
/// # Errors
/// If QEMU does not obey.
pub fn stop_cpus(vm: &Vm) -> Result<(), VmError> {
    vm.pause()
}

/// Undoes [`stop_cpus`].
///
/// # Errors
/// If QEMU does not obey.
pub fn resume(vm: &Vm) -> Result<(), VmError> {
    vm.resume()
}

fn hang(vm: &Vm, cpus: &[usize]) -> Result<(), VmError> {
    let numbers: Vec<String> = cpus.iter().map(ToString::to_string).collect();
    let command = format!("backdoors-vm-guest hang {}", numbers.join(" "));
    let mut running = vm.spawn(GuestCommand::new(command).priority(Priority::RealTime))?;
    let mut in_a_row = 0;
    within(BROKEN, || {
        if !running.is_running()? {
            return Err(VmError::Refused(format!("the kernel was not broken: {}", running.output()?)));
        }
        let spinning = spinning(&vm.monitor.human("info registers -a")?);
        let all = cpus.iter().all(|cpu| spinning.get(*cpu) == Some(&true));
        in_a_row = if all { in_a_row + 1 } else { 0 };
        Ok(in_a_row == LOOKS)
    })
}

fn within(deadline: Duration, mut holds: impl FnMut() -> Result<bool, VmError>) -> Result<(), VmError> {
    let begun = Instant::now();
    while !holds()? {
        if begun.elapsed() > deadline {
            return Err(VmError::Unbroken(deadline));
        }
        thread::sleep(BETWEEN_LOOKS);
    }
    Ok(())
}

/// Which processors execute the kernel with interrupts off, as QEMU shows their registers.
fn spinning(registers: &str) -> Vec<bool> {
    let field = |processor: &str, name: &str| {
        let value = processor.split(name).nth(1)?.split(|c: char| !c.is_ascii_hexdigit()).next()?;
        u64::from_str_radix(value, 16).ok()
    };
    let executes = |processor: &str| {
        let (privilege, halted) = (field(processor, "CPL=")?, field(processor, "HLT=")?);
        let interrupts = field(processor, "RFL=")? & 1 << 9;
        Some(privilege == 0 && halted == 0 && interrupts == 0)
    };
    registers.split("CPU#").skip(1).map(|processor| executes(processor).unwrap_or(false)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_spins_if_it_is_in_the_kernel_awake_with_interrupts_off() {
        let shown = |number, flags, privilege, halted| {
            format!(
                "CPU#{number}\nRAX=0000000000000000 R15=0000000000000000\nRIP=ffffffff81000000 RFL={flags} \
                 [---Z-P-] CPL={privilege} II=0 A20=1 SMM=0 HLT={halted}\nES =0000\n\n"
            )
        };
        let registers = [
            shown(0, "00000046", 0, 0),
            shown(1, "00000246", 0, 0),
            shown(2, "00000046", 3, 0),
            shown(3, "00000046", 0, 1),
            "CPU#4\nnonsense".to_owned(),
        ];
        assert_eq!(spinning(&registers.concat()), [true, false, false, false, false]);
    }
}
