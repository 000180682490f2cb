//! The hog: a session of its own user, whose controller respawns killed children.

use super::bystanders::session;
use anyhow::{Context, Result};
use backdoors_tests::machine::Machine;
use backdoors_tests::vm::Vm;
use std::time::Duration;

const UP: Duration = Duration::from_secs(30);
pub const CHILDREN: u32 = 10;
/// What each of them wants, MiB.
pub const EACH: u32 = 512;
pub const USER: u32 = 1001;
const GROUP: &str = "user.slice/user-1001.slice/session-mallory.service";

/// A hog that runs.
pub struct Hog {
    /// When it began, nanoseconds of the guest.
    pub at: u64,
}

impl Hog {
    pub fn start(target: &Vm) -> Result<Hog> {
        let script = format!("echo $$EPOCHREALTIME; exec backdoors-hog {CHILDREN} {EACH}");
        session(target, "mallory", USER, &script)?;
        let at = target.wait_for("the hog", UP, || {
            let text = target.shell("cat /run/session-mallory.out")?;
            let Some((seconds, micros)) = text.trim().split_once('.') else { return Ok(None) };
            let number = |text: &str| text.parse::<u64>().with_context(|| format!("{text} is no time"));
            Ok(Some(number(seconds)? * 1_000_000_000 + number(micros)? * 1000))
        })?;
        Ok(Hog { at })
    }

    /// Whether nothing is left of it.
    pub fn is_gone(target: &Vm) -> Result<bool> {
        Ok(target.processes_of(USER)? == 0)
    }

    /// Ends what is left of it, all at once.
    pub fn end(target: &Vm) -> Result<()> {
        kill(target, GROUP)
    }
}

/// Kills a control group, if there is one.
pub fn kill(target: &Vm, group: &str) -> Result<()> {
    let file = format!("/sys/fs/cgroup/{group}/cgroup.kill");
    target.shell(format!("if [[ -e {file} ]]; then echo 1 >{file}; fi"))?;
    Ok(())
}
