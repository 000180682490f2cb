//! Attaching the programs of a kernel half, each by a link that is kept.

use crate::kernel::load::{LoadError, memory, refused, said};
use crate::kernel::maps::survey;
use crate::kernel::pins::Pins;
use crate::kernel::sessions::{IN_CGROUP, SessionPlan};
use libbpf_rs::Object;
use std::os::fd::AsRawFd;

/// Hooks first, then what was there before them: so no process is missed, and none is counted twice.
pub(super) fn attach(pins: &Pins, object: &Object) -> Result<(), LoadError> {
    let hooks = |seed: bool| {
        object.progs_mut().filter(move |program| {
            let section = program.section().to_string_lossy().into_owned();
            let hook = section.starts_with("tp_btf/") || section.starts_with("fmod_ret/");
            program.autoload() && if seed { section == "iter/task" } else { hook }
        })
    };
    for program in hooks(false).chain(hooks(true)) {
        let name = program.name().to_string_lossy().into_owned();
        let mut link = said(&name, || program.attach())?;
        link.pin(pins.link(&name)).map_err(|source| refused("pinning a link", source))?;
        if program.section() == "iter/task" {
            survey(&link).map_err(memory)?;
        }
    }
    Ok(())
}

/// Connections that are there already are not captured: their first bytes were not seen.
pub(super) fn attach_to_cgroup(
    pins: &Pins,
    object: &Object,
    sessions: &SessionPlan,
) -> Result<(), LoadError> {
    let path = sessions.cgroup()?;
    let failed = |source| LoadError::Cgroup { path: path.clone(), source };
    let group = std::fs::File::open(&path).map_err(failed)?;
    for program in object.progs_mut().filter(|program| IN_CGROUP.iter().any(|name| program.name() == *name)) {
        let name = program.name().to_string_lossy().into_owned();
        let mut link = said(&name, || program.attach_cgroup(group.as_raw_fd()))?;
        link.pin(pins.link(&name)).map_err(|source| refused("pinning a link", source))?;
    }
    Ok(())
}
