//! The C header of the kernel half, made from the Rust definitions so that the two cannot drift apart.

use crate::audit::AuditKind;
use crate::audit::layout::{AUDIT_RECORDS, AuditHeader, AuditRecord};
use crate::catalogue::CATALOGUE;
use crate::command::{CommandState, Refusal};
use crate::fence::layout::{FenceTable, MAX_FENCED};
use crate::layout::{
    self, Acknowledgement, BoxHeader, Capabilities, CommandFlags, CommandSlot, LeaseBits, LeaseTable,
    ProcessEntry, ProcessFlags, ProcessTableHeader, SensorRecord,
};
use crate::opcode::{MOST_NICE, MOST_REFUSED, Opcode, Signal};
use crate::session::layout::{self as session, SessionFlags, SessionRecord, SessionTableHeader};
use core::fmt::Write;
use core::mem::{offset_of, size_of};

macro_rules! c_struct {
    ($out:expr, $name:literal, $type:ty { $($field:ident: $c_type:literal $c_suffix:literal,)* }) => {{
        let _ = writeln!($out, "struct {} {{", $name);
        $(let _ = writeln!($out, "\t{} {}{};", $c_type, stringify!($field), $c_suffix);)*
        let _ = writeln!($out, "}};");
        let _ = writeln!($out, "_Static_assert(sizeof(struct {}) == {}, \"size\");", $name, size_of::<$type>());
        $(let _ = writeln!(
            $out, "_Static_assert(__builtin_offsetof(struct {}, {}) == {}, \"offset\");",
            $name, stringify!($field), offset_of!($type, $field)
        );)*
        let _ = writeln!($out);
    }};
}

/// The text of `include/backdoors_sensor_box.h`.
#[must_use]
pub fn c_header() -> String {
    let mut out = String::from(
        "/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */\n\
         /* Made from sensor-box/src/layout.rs; `UPDATE_HEADER=1 cargo test -p backdoors-sensor-box` makes it anew. */\n\
         #ifndef BACKDOORS_SENSOR_BOX_H\n#define BACKDOORS_SENSOR_BOX_H\n\n",
    );
    let mut constant = |name: &str, value: String| {
        let _ = writeln!(out, "#define BD_{name} {value}");
    };
    constant("VERSION", layout::VERSION.to_string());
    constant("BOX_MAGIC", format!("{:#x}ULL", layout::BOX_MAGIC));
    constant("PROCESS_MAGIC", format!("{:#x}ULL", layout::PROCESS_MAGIC));
    constant("NO_LIMIT", format!("{:#x}ULL", layout::NO_LIMIT));
    constant("COMMAND_SLOTS", layout::COMMAND_SLOTS.to_string());
    for (bit, name) in Capabilities::NAMES {
        constant(&format!("CAPABILITY_{}", c_name(name)), format!("{bit:#x}ULL"));
    }
    constant("PROCESS_KERNEL", format!("{:#x}", ProcessFlags::KERNEL));
    constant("PROCESS_PROTECTED", format!("{:#x}", ProcessFlags::PROTECTED));
    constant("LEASE_RENEWALS", format!("{:#x}ULL", LeaseBits::RENEWALS));
    constant("LEASE_HOLDER_SHIFT", LeaseBits::HOLDER_SHIFT.to_string());
    constant("LEASE_TERM_SHIFT", LeaseBits::TERM_SHIFT.to_string());
    constant("COMMAND_DRY_RUN", format!("{:#x}", CommandFlags::DRY_RUN));
    constant("COMMAND_VOTE", format!("{:#x}", CommandFlags::VOTE));
    for (opcode, name) in Opcode::ALL {
        constant(&format!("OPCODE_{}", c_name(name)), (*opcode as u32).to_string());
    }
    constant("VARIABLES_BYTES", crate::variables::VARIABLES_BYTES.to_string());
    constant("SIGNALS", format!("{:#x}ULL", Signal::bits()));
    constant("MOST_NICE", MOST_NICE.to_string());
    constant("MOST_REFUSED", format!("{MOST_REFUSED}ULL"));
    for (state, name) in CommandState::ALL {
        constant(&format!("STATE_{}", c_name(name)), (*state as u32).to_string());
    }
    for (refusal, _) in Refusal::ALL {
        constant(&format!("REFUSAL_{}", screaming(&format!("{refusal:?}"))), (*refusal as u32).to_string());
    }
    constant("AUDIT_RECORDS", AUDIT_RECORDS.to_string());
    for (kind, name) in AuditKind::ALL {
        constant(&format!("AUDIT_{}", c_name(name)), (*kind as u32).to_string());
    }
    constant("SESSION_RING_MARGIN", session::RING_MARGIN.to_string());
    for (bit, name) in SessionFlags::NAMES {
        constant(&format!("SESSION_{}", c_name(name)), format!("{bit:#x}"));
    }
    constant("MAX_FENCED", MAX_FENCED.to_string());
    for line in CATALOGUE {
        constant(&format!("SENSOR_{}", line.c_name), line.kind.0.to_string());
        constant(&format!("SENSOR_{}_CLASS", line.c_name), (line.class as u8).to_string());
        constant(&format!("SENSOR_{}_UNIT", line.c_name), (line.unit as u8).to_string());
    }
    out.push('\n');
    c_struct!(out, "bd_box_header", BoxHeader {
        magic: "__u64" "", version: "__u32" "", header_bytes: "__u32" "", generation: "__u64" "",
        capabilities: "__u64" "", sequence: "__u64" "", sensor_count: "__u32" "",
        sensor_capacity: "__u32" "", sensor_bytes: "__u32" "", cpus: "__u32" "", clock: "__u64" "",
        tick_period: "__u64" "", reserved: "__u64" "[7]",
    });
    c_struct!(out, "bd_sensor", SensorRecord {
        id: "__u64" "", class: "__u8" "", unit: "__u8" "", flags: "__u16" "", reserved: "__u32" "",
        limit: "__u64" "", value: "__u64" "",
    });
    c_struct!(out, "bd_process_table_header", ProcessTableHeader {
        magic: "__u64" "", version: "__u32" "", header_bytes: "__u32" "", generation: "__u64" "",
        capacity: "__u32" "", high_water: "__u32" "", entry_bytes: "__u32" "", reserved_word: "__u32" "",
        lost: "__u64" "", reserved: "__u64" "[10]",
    });
    c_struct!(out, "bd_process", ProcessEntry {
        sequence: "__u32" "", pid: "__u32" "", parent: "__u32" "", user: "__u32" "", depth: "__u32" "",
        flags: "__u32" "", start: "__u64" "", rss: "__u64" "", cpu_time: "__u64" "", command: "__u8" "[16]",
        swap: "__u64" "", cgroup: "__u64" "", cgroup_name: "__u8" "[48]",
    });
    c_struct!(out, "bd_command", CommandSlot {
        opcode: "__u32" "", flags: "__u32" "", subject: "__u64" "", start: "__u64" "", most_victims: "__u64" "",
        argument: "__u64" "", token: "__u64" "", mac: "__u64" "[2]", reason: "__u64" "[23]", sequence: "__u64" "",
    });
    c_struct!(out, "bd_acknowledgement", Acknowledgement {
        guard: "__u64" "", command: "__u64" "", accepted: "__u64" "", state: "__u32" "", reason: "__u32" "",
        matched: "__u32" "", signalled: "__u32" "", remaining: "__u32" "", sweeps: "__u32" "",
        accepted_at: "__u64" "", first_signal_at: "__u64" "", last_death_at: "__u64" "",
        finished_at: "__u64" "", failure: "__u64" "", reserved: "__u64" "[5]",
    });
    c_struct!(out, "bd_lease_table", LeaseTable {
        lease: "__u64" "", reserved: "__u64" "[7]", candidacies: "__u64" "[BD_COMMAND_SLOTS]",
    });
    c_struct!(out, "bd_audit_header", AuditHeader {
        magic: "__u64" "", version: "__u32" "", header_bytes: "__u32" "", generation: "__u64" "",
        capacity: "__u32" "", record_bytes: "__u32" "", written: "__u64" "", wall_offset: "__u64" "",
        left_out: "__u64" "", reserved: "__u64" "[9]",
    });
    c_struct!(out, "bd_audit_record", AuditRecord {
        guard: "__u64" "", at: "__u64" "", kind: "__u32" "", slot: "__u32" "", whose: "__u64" "", opcode: "__u32" "",
        flags: "__u32" "", subject: "__u64" "", start: "__u64" "", most_victims: "__u64" "", argument: "__u64" "",
        sequence: "__u64" "", state: "__u32" "", refusal: "__u32" "", matched: "__u32" "", signalled: "__u32" "",
        remaining: "__u32" "", left_out: "__u32" "", failure: "__u64" "", accepted_at: "__u64" "",
        first_signal_at: "__u64" "", last_death_at: "__u64" "", finished_at: "__u64" "", reason: "__u64" "[23]",
        reserved: "__u64" "[7]",
    });
    c_struct!(out, "bd_session_table_header", SessionTableHeader {
        magic: "__u64" "", version: "__u32" "", header_bytes: "__u32" "", generation: "__u64" "",
        capacity: "__u32" "", record_bytes: "__u32" "", ring_bytes: "__u32" "", ring_stride: "__u32" "",
        receive_cap: "__u32" "", reserved_word: "__u32" "", unrecorded: "__u64" "", reserved: "__u64" "[25]",
    });
    c_struct!(out, "bd_session", SessionRecord {
        sequence: "__u64" "", cookie: "__u64" "", gaps: "__u64" "", held_end: "__u64" "", local: "__u8" "[16]",
        remote: "__u8" "[16]", family: "__u32" "", local_port: "__u16" "", remote_port: "__u16" "", state: "__u32" "",
        flags: "__u32" "", irs: "__u32" "", iss: "__u32" "", snd_una: "__u32" "", snd_nxt: "__u32" "",
        write_seq: "__u32" "", rcv_nxt: "__u32" "", copied_seq: "__u32" "", rcv_wup: "__u32" "", snd_wnd: "__u32" "",
        snd_wl1: "__u32" "", max_window: "__u32" "", rcv_wnd: "__u32" "", snd_wscale: "__u8" "", rcv_wscale: "__u8" "",
        mss_clamp: "__u16" "", ts_recent: "__u32" "", tsoffset: "__u32" "", last_tsval: "__u32" "", service: "__u32" "",
        told_end: "__u32" "", opened_at: "__u64" "", changed_at: "__u64" "", bytes_received: "__u64" "",
        bytes_acked: "__u64" "", heard: "__u64" "", held_from: "__u64" "",
        reserved: "__u64" "[7]",
    });
    c_struct!(out, "bd_fence", FenceTable {
        magic: "__u64" "", version: "__u32" "", table_bytes: "__u32" "", generation: "__u64" "", slots: "__u32" "",
        addresses: "__u32" "", reserved: "__u64" "[4]", words: "__u64" "[BD_COMMAND_SLOTS]",
        checks: "__u64" "[BD_COMMAND_SLOTS]", withheld: "__u64" "", held: "__u64" "", looked_at: "__u64" "",
        interfaces: "__u64" "", more_reserved: "__u64" "[4]", covered: "__u64" "[BD_MAX_FENCED][2]",
    });
    out.push_str("#endif\n");
    out
}

fn c_name(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

fn screaming(camel: &str) -> String {
    let mut out = String::new();
    for letter in camel.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(letter.to_uppercase());
    }
    out
}
