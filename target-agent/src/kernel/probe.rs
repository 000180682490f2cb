//! What the running kernel lets the kernel half do.

use libbpf_rs::btf::types::{Func, FuncProto};
use libbpf_rs::btf::{Btf, BtfType};

/// What the kernel's own type information says it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelAbilities {
    /// A timer can walk all tasks and signal each (6.13 and later).
    pub signals_any_task: bool,
    /// Timer interrupts can be counted (x86).
    pub timer_interrupts: bool,
    /// How kills for want of memory are told.
    pub oom_kills: OomKills,
}

/// How the kernel tells of kills for want of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomKills {
    /// With the victim itself (6.9 and later).
    Victim,
    /// With its process id.
    ProcessId,
    /// Not at all.
    Untold,
}

/// Why nothing is known about the kernel.
#[derive(Debug, thiserror::Error)]
#[error(
    "the kernel carries no type information (/sys/kernel/btf/vmlinux): {0}; it needs CONFIG_DEBUG_INFO_BTF for the \
     kernel half, without it use mode = \"procfs\""
)]
pub struct NoTypes(#[source] libbpf_rs::Error);

/// Asks the kernel's type information.
///
/// # Errors
/// [`NoTypes`] if there is none; nothing was changed.
pub fn probe() -> Result<KernelAbilities, NoTypes> {
    let types = Btf::from_vmlinux().map_err(NoTypes)?;
    let has_function = |name| types.type_by_name::<Func<'_>>(name).is_some();
    Ok(KernelAbilities {
        signals_any_task: has_function("bpf_send_signal_task") && has_function("bpf_iter_task_new"),
        timer_interrupts: trace_arguments(&types, "local_timer_entry").is_some(),
        oom_kills: match trace_arguments(&types, "mark_victim") {
            None => OomKills::Untold,
            // The first argument is the hook's own.
            Some(0..=2) => OomKills::ProcessId,
            Some(_) => OomKills::Victim,
        },
    })
}

fn trace_arguments(types: &Btf<'_>, hook: &str) -> Option<usize> {
    let definition = types.type_by_name::<BtfType<'_>>(&format!("btf_trace_{hook}"))?;
    let function = definition.skip_mods_and_typedefs().next_type()?;
    FuncProto::try_from(function).ok().map(|function| function.len())
}
