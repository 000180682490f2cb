//! What the running kernel lets the kernel half do.

use libbpf_rs::ProgramType;
use libbpf_rs::btf::types::{Func, FuncProto};
use libbpf_rs::btf::{Btf, BtfType};
use std::collections::BTreeSet;
use std::sync::OnceLock;

/// What the kernel's own type information says it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelAbilities {
    /// A timer can walk all tasks and signal each (6.13 and later).
    pub signals_any_task: bool,
    /// Timer interrupts can be counted (x86).
    pub timer_interrupts: bool,
    /// How kills for want of memory are told.
    pub oom_kills: OomKills,
    /// Forks can be refused (with CONFIG_SECURITY, where functions may be told what to return).
    pub refuses_forks: bool,
    /// Live connections can be seen in all that they receive and send.
    pub captures_sessions: bool,
    /// What the kernel lists of the variables that tell of its memory.
    pub memory: MemoryVariables,
}

/// What a kernel half can read of the machine's memory (with CONFIG_KALLSYMS_ALL, and for the stalls CONFIG_PSI).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryVariables {
    /// How much there is and how much is free.
    pub sizes: bool,
    /// How much work stands still for want of it.
    pub stalls: bool,
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

/// Asks the kernel's type information and its list of symbols, once: both are long, and neither changes.
///
/// # Errors
/// [`NoTypes`] if there is none; nothing was changed.
pub fn probe() -> Result<KernelAbilities, NoTypes> {
    static FOUND: OnceLock<KernelAbilities> = OnceLock::new();
    match FOUND.get() {
        Some(found) => Ok(*found),
        None => ask().map(|found| *FOUND.get_or_init(|| found)),
    }
}

fn ask() -> Result<KernelAbilities, NoTypes> {
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
        // Locked down kernels take only programs that watch.
        refuses_forks: has_function("security_task_alloc")
            && ProgramType::Tracing.is_supported().unwrap_or(false),
        captures_sessions: trace_arguments(&types, "tcp_rcv_space_adjust").is_some()
            && [ProgramType::CgroupSkb, ProgramType::SockOps]
                .iter()
                .all(|kind| kind.is_supported().unwrap_or(false)),
        memory: memory_variables(&std::fs::read("/proc/kallsyms").unwrap_or_default()),
    })
}

/// Looks for the names in the kernel's list of symbols, a line each: address, type, name, perhaps a module.
fn memory_variables(symbols: &[u8]) -> MemoryVariables {
    const SIZES: [&str; 4] = ["vm_zone_stat", "vm_node_stat", "totalreserve_pages", "_totalram_pages"];
    const STALLS: [&str; 2] = ["psi_system", "__per_cpu_offset"];
    let mut missing: BTreeSet<&[u8]> = SIZES.iter().chain(&STALLS).map(|name| name.as_bytes()).collect();
    // In one go: the list is hundreds of thousands of lines long.
    for line in symbols.split(|byte| *byte == b'\n') {
        if let Some(name) = line.split(|byte| *byte == b' ').nth(2) {
            missing.remove(name);
        }
    }
    let listed = |name: &str| !missing.contains(name.as_bytes());
    MemoryVariables {
        sizes: SIZES.into_iter().all(listed),
        stalls: STALLS.into_iter().all(listed) && std::path::Path::new("/proc/pressure/memory").exists(),
    }
}

fn trace_arguments(types: &Btf<'_>, hook: &str) -> Option<usize> {
    let definition = types.type_by_name::<BtfType<'_>>(&format!("btf_trace_{hook}"))?;
    let function = definition.skip_mods_and_typedefs().next_type()?;
    FuncProto::try_from(function).ok().map(|function| function.len())
}
