//! Programs that bring a machine down, each held in a control group of its own so that it can be watched and ended as a whole.

use crate::vm::{GuestCommand, Priority, Vm, VmError};
use std::fmt;
use std::time::Duration;

/// The control group of the hostile program.
pub const GROUP: &str = "/sys/fs/cgroup/hostile";
/// The user who runs it.
pub const USER: u32 = 1001;
/// What each process of a memory hog wants, MiB: with five of them more than a guest of 1 GiB has.
const SHARE: u32 = 512;
/// Most processes of a memory hog, those that its own program makes for itself among them.
const HOG_PROCESSES: u32 = 200;
/// How long the machine may take to be rid of it.
const END: Duration = Duration::from_secs(60);

/// A hostile program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hostile {
    /// `backdoors-hog`: a controller that starts another child for each that is killed; so many children.
    Hog,
    /// `stress-ng --vm`, with so many workers.
    StressNg,
    /// A fork bomb whose processes spin; so many processes.
    CpuBomb,
    /// A fork bomb whose processes read and write pseudo-devices.
    IoBomb,
}

impl fmt::Display for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hostile::Hog => "hog",
            Hostile::StressNg => "stress-ng",
            Hostile::CpuBomb => "cpu-bomb",
            Hostile::IoBomb => "io-bomb",
        })
    }
}

impl Hostile {
    /// Its line for the shell, and the most processes its user may have.
    fn command(self, size: u32) -> (String, u32) {
        match self {
            Hostile::Hog => (format!("backdoors-hog {size} {SHARE}"), HOG_PROCESSES),
            // It divides what it is told by the number of its workers.
            Hostile::StressNg => {
                let all = size * SHARE;
                (format!("stress-ng --quiet --vm {size} --vm-bytes {all}M --vm-keep"), HOG_PROCESSES)
            }
            Hostile::CpuBomb => ("backdoors-bomb cpu".to_owned(), size),
            Hostile::IoBomb => ("backdoors-bomb io".to_owned(), size),
        }
    }

    /// Starts it. The command prints when it did, seconds on the guest's clock, and becomes the program.
    pub(super) fn start(self, size: u32) -> GuestCommand {
        let (command, most) = self.command(size);
        GuestCommand::new(format!(
            "echo {most} > {GROUP}/pids.max && echo $$ > {GROUP}/cgroup.procs && ulimit -u {most} && echo $EPOCHREALTIME && \
             exec setpriv --reuid {USER} --regid {USER} --clear-groups {command}"
        ))
    }
}

/// Makes the control group, empty.
///
/// # Errors
/// If the guest does not do it.
pub fn prepare(target: &Vm) -> Result<(), VmError> {
    let script = format!("echo +pids > /sys/fs/cgroup/cgroup.subtree_control && mkdir -p {GROUP}");
    target.shell(script).map(drop)
}

/// Waits in the guest until the hostile program, once started, is gone, and prints when, seconds on the guest's clock. Nothing
/// is asked of a machine in distress meanwhile: it starts no process, and goes before all others.
pub(super) fn watch() -> GuestCommand {
    let populated = |is| format!("read -r line < {GROUP}/cgroup.events && [[ $line == 'populated {is}' ]]");
    let until = |is: u8| format!("until {}; do read -r -t 0.02 -u 3; done", populated(is));
    let script = format!(
        "pause=/run/pause.$$; mkfifo $pause && exec 3<>$pause && rm $pause\n{}\n{}\necho $EPOCHREALTIME",
        until(1),
        until(0)
    );
    GuestCommand::new(script).priority(Priority::RealTime)
}

/// Ends it with all its processes, whatever they do.
///
/// # Errors
/// If some of it is left, or the guest does not answer.
pub fn end(target: &Vm) -> Result<(), VmError> {
    let script = format!(
        "echo 1 > {GROUP}/cgroup.kill; until grep -q 'populated 0' {GROUP}/cgroup.events; do sleep 0.1; done"
    );
    let output = target.run_within(END, GuestCommand::new(script.clone()).priority(Priority::RealTime))?;
    if !output.succeeded() {
        return Err(VmError::Failed { command: script, output });
    }
    Ok(())
}
