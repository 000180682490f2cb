/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* Made from sensor-box/src/layout.rs; `UPDATE_HEADER=1 cargo test -p backdoors-sensor-box` makes it anew. */
#ifndef BACKDOORS_SENSOR_BOX_H
#define BACKDOORS_SENSOR_BOX_H

#define BD_VERSION 1
#define BD_BOX_MAGIC 0x524f534e45534442ULL
#define BD_PROCESS_MAGIC 0x5345434f52504442ULL
#define BD_NO_LIMIT 0xffffffffffffffffULL
#define BD_COMMAND_SLOTS 16
#define BD_CAPABILITY_KERNEL_HALF 0x1ULL
#define BD_CAPABILITY_PROCFS 0x2ULL
#define BD_CAPABILITY_KERNEL_KILLS_ALL 0x4ULL
#define BD_CAPABILITY_KERNEL_KILLS_RUNNING 0x8ULL
#define BD_CAPABILITY_HELPER_KILLS 0x10ULL
#define BD_CAPABILITY_SCOPED 0x20ULL
#define BD_CAPABILITY_AGREEMENT 0x40ULL
#define BD_CAPABILITY_KERNEL_SEES_MEMORY 0x80ULL
#define BD_CAPABILITY_KERNEL_REFUSES_FORKS 0x100ULL
#define BD_CAPABILITY_ERRANDS 0x200ULL
#define BD_CAPABILITY_CAPTURES_SESSIONS 0x400ULL
#define BD_CAPABILITY_FENCES 0x800ULL
#define BD_PROCESS_KERNEL 0x1
#define BD_PROCESS_PROTECTED 0x2
#define BD_LEASE_RENEWALS 0xffffffULL
#define BD_LEASE_HOLDER_SHIFT 24
#define BD_LEASE_TERM_SHIFT 32
#define BD_COMMAND_DRY_RUN 0x1
#define BD_COMMAND_VOTE 0x2
#define BD_OPCODE_NOTHING 1
#define BD_OPCODE_KILL_PROCESS 2
#define BD_OPCODE_KILL_USER 3
#define BD_OPCODE_KILL_TREE 4
#define BD_OPCODE_KILL_CGROUP 5
#define BD_OPCODE_SIGNAL_PROCESS 6
#define BD_OPCODE_SIGNAL_USER 7
#define BD_OPCODE_SIGNAL_TREE 8
#define BD_OPCODE_SIGNAL_CGROUP 9
#define BD_OPCODE_FREEZE_CGROUP 10
#define BD_OPCODE_THAW_CGROUP 11
#define BD_OPCODE_SET_PRIORITY 12
#define BD_OPCODE_REFUSE_FORKS 13
#define BD_OPCODE_SET_VARIABLE 14
#define BD_OPCODE_CALL_HOOK 15
#define BD_VARIABLES_BYTES 6208
#define BD_SIGNALS 0xc944eULL
#define BD_MOST_NICE 19
#define BD_MOST_REFUSED 600000000000ULL
#define BD_STATE_IDLE 0
#define BD_STATE_RUNNING 1
#define BD_STATE_DONE 2
#define BD_STATE_REFUSED 3
#define BD_STATE_GAVE_UP 4
#define BD_STATE_AWAITING 8
#define BD_STATE_VOTED 9
#define BD_REFUSAL_NONE 0
#define BD_REFUSAL_STALE_SEQUENCE 1
#define BD_REFUSAL_UNKNOWN_OPCODE 2
#define BD_REFUSAL_INIT_PROCESS 3
#define BD_REFUSAL_KERNEL_THREAD 4
#define BD_REFUSAL_PROTECTED 5
#define BD_REFUSAL_SPARED_USER 6
#define BD_REFUSAL_NO_SUCH_PROCESS 7
#define BD_REFUSAL_OTHER_PROCESS 8
#define BD_REFUSAL_NOT_THE_HOLDER 9
#define BD_REFUSAL_NOT_AUTHENTIC 16
#define BD_REFUSAL_NOT_ALLOWED 17
#define BD_REFUSAL_NO_AGREEMENT 18
#define BD_REFUSAL_NOT_A_SIGNAL 19
#define BD_REFUSAL_NO_SUCH_CGROUP 20
#define BD_REFUSAL_ROOT_CGROUP 21
#define BD_REFUSAL_OUT_OF_RANGE 22
#define BD_REFUSAL_NOT_OFFERED 23
#define BD_REFUSAL_NOT_POSSIBLE 24
#define BD_REFUSAL_NOT_CARRIED_OUT 25
#define BD_REFUSAL_FAILED 26
#define BD_REFUSAL_BUSY 27
#define BD_AUDIT_RECORDS 256
#define BD_AUDIT_JUDGED 1
#define BD_AUDIT_ENDED 2
#define BD_SESSION_RING_MARGIN 4096
#define BD_SESSION_TIMESTAMPS 0x1
#define BD_SESSION_SACK 0x2
#define BD_SESSION_WINDOW_SCALE 0x4
#define BD_SESSION_MICROSECONDS 0x8
#define BD_SESSION_PEER_FIN 0x10
#define BD_SESSION_OWN_FIN 0x20
#define BD_SESSION_ORPHANED 0x40
#define BD_SESSION_REBUILDING 0x80
#define BD_MAX_FENCED 16
#define BD_SENSOR_CPU_SWITCHES 1
#define BD_SENSOR_CPU_SWITCHES_CLASS 1
#define BD_SENSOR_CPU_SWITCHES_UNIT 1
#define BD_SENSOR_CPU_TICKS 2
#define BD_SENSOR_CPU_TICKS_CLASS 1
#define BD_SENSOR_CPU_TICKS_UNIT 1
#define BD_SENSOR_CPU_INTERRUPTS 3
#define BD_SENSOR_CPU_INTERRUPTS_CLASS 1
#define BD_SENSOR_CPU_INTERRUPTS_UNIT 1
#define BD_SENSOR_CPU_SOFTIRQS 4
#define BD_SENSOR_CPU_SOFTIRQS_CLASS 1
#define BD_SENSOR_CPU_SOFTIRQS_UNIT 1
#define BD_SENSOR_KERNEL_TIMER 5
#define BD_SENSOR_KERNEL_TIMER_CLASS 1
#define BD_SENSOR_KERNEL_TIMER_UNIT 1
#define BD_SENSOR_AGENT_HEARTBEAT 6
#define BD_SENSOR_AGENT_HEARTBEAT_CLASS 1
#define BD_SENSOR_AGENT_HEARTBEAT_UNIT 1
#define BD_SENSOR_PROCESSES 7
#define BD_SENSOR_PROCESSES_CLASS 2
#define BD_SENSOR_PROCESSES_UNIT 1
#define BD_SENSOR_PROCESSES_LOST 8
#define BD_SENSOR_PROCESSES_LOST_CLASS 2
#define BD_SENSOR_PROCESSES_LOST_UNIT 1
#define BD_SENSOR_USER_PROCESSES 9
#define BD_SENSOR_USER_PROCESSES_CLASS 2
#define BD_SENSOR_USER_PROCESSES_UNIT 1
#define BD_SENSOR_USER_FORK_RATE 10
#define BD_SENSOR_USER_FORK_RATE_CLASS 2
#define BD_SENSOR_USER_FORK_RATE_UNIT 2
#define BD_SENSOR_USERS_LOST 11
#define BD_SENSOR_USERS_LOST_CLASS 2
#define BD_SENSOR_USERS_LOST_UNIT 1
#define BD_SENSOR_OOM_KILLS 12
#define BD_SENSOR_OOM_KILLS_CLASS 4
#define BD_SENSOR_OOM_KILLS_UNIT 1
#define BD_SENSOR_FORKS 13
#define BD_SENSOR_FORKS_CLASS 1
#define BD_SENSOR_FORKS_UNIT 1
#define BD_SENSOR_CPU_BUSY 14
#define BD_SENSOR_CPU_BUSY_CLASS 2
#define BD_SENSOR_CPU_BUSY_UNIT 1
#define BD_SENSOR_AGENT_ALIVE 15
#define BD_SENSOR_AGENT_ALIVE_CLASS 3
#define BD_SENSOR_AGENT_ALIVE_UNIT 1
#define BD_SENSOR_MEMORY_AVAILABLE 16
#define BD_SENSOR_MEMORY_AVAILABLE_CLASS 3
#define BD_SENSOR_MEMORY_AVAILABLE_UNIT 3
#define BD_SENSOR_MEMORY_TOTAL 17
#define BD_SENSOR_MEMORY_TOTAL_CLASS 2
#define BD_SENSOR_MEMORY_TOTAL_UNIT 3
#define BD_SENSOR_SWAP_FREE 18
#define BD_SENSOR_SWAP_FREE_CLASS 3
#define BD_SENSOR_SWAP_FREE_UNIT 3
#define BD_SENSOR_SWAP_TOTAL 19
#define BD_SENSOR_SWAP_TOTAL_CLASS 2
#define BD_SENSOR_SWAP_TOTAL_UNIT 3
#define BD_SENSOR_MEMORY_STALLED 20
#define BD_SENSOR_MEMORY_STALLED_CLASS 2
#define BD_SENSOR_MEMORY_STALLED_UNIT 4
#define BD_SENSOR_FORKS_REFUSED 21
#define BD_SENSOR_FORKS_REFUSED_CLASS 4
#define BD_SENSOR_FORKS_REFUSED_UNIT 1
#define BD_SENSOR_SESSIONS_OPEN 22
#define BD_SENSOR_SESSIONS_OPEN_CLASS 2
#define BD_SENSOR_SESSIONS_OPEN_UNIT 1
#define BD_SENSOR_SESSIONS_UNPROTECTED 23
#define BD_SENSOR_SESSIONS_UNPROTECTED_CLASS 2
#define BD_SENSOR_SESSIONS_UNPROTECTED_UNIT 1
#define BD_SENSOR_FENCE_HELD 24
#define BD_SENSOR_FENCE_HELD_CLASS 2
#define BD_SENSOR_FENCE_HELD_UNIT 1
#define BD_SENSOR_FENCE_WITHHELD 25
#define BD_SENSOR_FENCE_WITHHELD_CLASS 4
#define BD_SENSOR_FENCE_WITHHELD_UNIT 1

struct bd_box_header {
	__u64 magic;
	__u32 version;
	__u32 header_bytes;
	__u64 generation;
	__u64 capabilities;
	__u64 sequence;
	__u32 sensor_count;
	__u32 sensor_capacity;
	__u32 sensor_bytes;
	__u32 cpus;
	__u64 clock;
	__u64 tick_period;
	__u64 reserved[7];
};
_Static_assert(sizeof(struct bd_box_header) == 128, "size");
_Static_assert(__builtin_offsetof(struct bd_box_header, magic) == 0, "offset");
_Static_assert(__builtin_offsetof(struct bd_box_header, version) == 8, "offset");
_Static_assert(__builtin_offsetof(struct bd_box_header, header_bytes) == 12, "offset");
_Static_assert(__builtin_offsetof(struct bd_box_header, generation) == 16, "offset");
_Static_assert(__builtin_offsetof(struct bd_box_header, capabilities) == 24, "offset");
_Static_assert(__builtin_offsetof(struct bd_box_header, sequence) == 32, "offset");
_Static_assert(__builtin_offsetof(struct bd_box_header, sensor_count) == 40, "offset");
_Static_assert(__builtin_offsetof(struct bd_box_header, sensor_capacity) == 44, "offset");
_Static_assert(__builtin_offsetof(struct bd_box_header, sensor_bytes) == 48, "offset");
_Static_assert(__builtin_offsetof(struct bd_box_header, cpus) == 52, "offset");
_Static_assert(__builtin_offsetof(struct bd_box_header, clock) == 56, "offset");
_Static_assert(__builtin_offsetof(struct bd_box_header, tick_period) == 64, "offset");
_Static_assert(__builtin_offsetof(struct bd_box_header, reserved) == 72, "offset");

struct bd_sensor {
	__u64 id;
	__u8 class;
	__u8 unit;
	__u16 flags;
	__u32 reserved;
	__u64 limit;
	__u64 value;
};
_Static_assert(sizeof(struct bd_sensor) == 32, "size");
_Static_assert(__builtin_offsetof(struct bd_sensor, id) == 0, "offset");
_Static_assert(__builtin_offsetof(struct bd_sensor, class) == 8, "offset");
_Static_assert(__builtin_offsetof(struct bd_sensor, unit) == 9, "offset");
_Static_assert(__builtin_offsetof(struct bd_sensor, flags) == 10, "offset");
_Static_assert(__builtin_offsetof(struct bd_sensor, reserved) == 12, "offset");
_Static_assert(__builtin_offsetof(struct bd_sensor, limit) == 16, "offset");
_Static_assert(__builtin_offsetof(struct bd_sensor, value) == 24, "offset");

struct bd_process_table_header {
	__u64 magic;
	__u32 version;
	__u32 header_bytes;
	__u64 generation;
	__u32 capacity;
	__u32 high_water;
	__u32 entry_bytes;
	__u32 reserved_word;
	__u64 lost;
	__u64 reserved[10];
};
_Static_assert(sizeof(struct bd_process_table_header) == 128, "size");
_Static_assert(__builtin_offsetof(struct bd_process_table_header, magic) == 0, "offset");
_Static_assert(__builtin_offsetof(struct bd_process_table_header, version) == 8, "offset");
_Static_assert(__builtin_offsetof(struct bd_process_table_header, header_bytes) == 12, "offset");
_Static_assert(__builtin_offsetof(struct bd_process_table_header, generation) == 16, "offset");
_Static_assert(__builtin_offsetof(struct bd_process_table_header, capacity) == 24, "offset");
_Static_assert(__builtin_offsetof(struct bd_process_table_header, high_water) == 28, "offset");
_Static_assert(__builtin_offsetof(struct bd_process_table_header, entry_bytes) == 32, "offset");
_Static_assert(__builtin_offsetof(struct bd_process_table_header, reserved_word) == 36, "offset");
_Static_assert(__builtin_offsetof(struct bd_process_table_header, lost) == 40, "offset");
_Static_assert(__builtin_offsetof(struct bd_process_table_header, reserved) == 48, "offset");

struct bd_process {
	__u32 sequence;
	__u32 pid;
	__u32 parent;
	__u32 user;
	__u32 depth;
	__u32 flags;
	__u64 start;
	__u64 rss;
	__u64 cpu_time;
	__u8 command[16];
	__u64 swap;
	__u64 cgroup;
	__u8 cgroup_name[48];
};
_Static_assert(sizeof(struct bd_process) == 128, "size");
_Static_assert(__builtin_offsetof(struct bd_process, sequence) == 0, "offset");
_Static_assert(__builtin_offsetof(struct bd_process, pid) == 4, "offset");
_Static_assert(__builtin_offsetof(struct bd_process, parent) == 8, "offset");
_Static_assert(__builtin_offsetof(struct bd_process, user) == 12, "offset");
_Static_assert(__builtin_offsetof(struct bd_process, depth) == 16, "offset");
_Static_assert(__builtin_offsetof(struct bd_process, flags) == 20, "offset");
_Static_assert(__builtin_offsetof(struct bd_process, start) == 24, "offset");
_Static_assert(__builtin_offsetof(struct bd_process, rss) == 32, "offset");
_Static_assert(__builtin_offsetof(struct bd_process, cpu_time) == 40, "offset");
_Static_assert(__builtin_offsetof(struct bd_process, command) == 48, "offset");
_Static_assert(__builtin_offsetof(struct bd_process, swap) == 64, "offset");
_Static_assert(__builtin_offsetof(struct bd_process, cgroup) == 72, "offset");
_Static_assert(__builtin_offsetof(struct bd_process, cgroup_name) == 80, "offset");

struct bd_command {
	__u32 opcode;
	__u32 flags;
	__u64 subject;
	__u64 start;
	__u64 most_victims;
	__u64 argument;
	__u64 token;
	__u64 mac[2];
	__u64 reason[23];
	__u64 sequence;
};
_Static_assert(sizeof(struct bd_command) == 256, "size");
_Static_assert(__builtin_offsetof(struct bd_command, opcode) == 0, "offset");
_Static_assert(__builtin_offsetof(struct bd_command, flags) == 4, "offset");
_Static_assert(__builtin_offsetof(struct bd_command, subject) == 8, "offset");
_Static_assert(__builtin_offsetof(struct bd_command, start) == 16, "offset");
_Static_assert(__builtin_offsetof(struct bd_command, most_victims) == 24, "offset");
_Static_assert(__builtin_offsetof(struct bd_command, argument) == 32, "offset");
_Static_assert(__builtin_offsetof(struct bd_command, token) == 40, "offset");
_Static_assert(__builtin_offsetof(struct bd_command, mac) == 48, "offset");
_Static_assert(__builtin_offsetof(struct bd_command, reason) == 64, "offset");
_Static_assert(__builtin_offsetof(struct bd_command, sequence) == 248, "offset");

struct bd_acknowledgement {
	__u64 guard;
	__u64 command;
	__u64 accepted;
	__u32 state;
	__u32 reason;
	__u32 matched;
	__u32 signalled;
	__u32 remaining;
	__u32 sweeps;
	__u64 accepted_at;
	__u64 first_signal_at;
	__u64 last_death_at;
	__u64 finished_at;
	__u64 failure;
	__u64 reserved[5];
};
_Static_assert(sizeof(struct bd_acknowledgement) == 128, "size");
_Static_assert(__builtin_offsetof(struct bd_acknowledgement, guard) == 0, "offset");
_Static_assert(__builtin_offsetof(struct bd_acknowledgement, command) == 8, "offset");
_Static_assert(__builtin_offsetof(struct bd_acknowledgement, accepted) == 16, "offset");
_Static_assert(__builtin_offsetof(struct bd_acknowledgement, state) == 24, "offset");
_Static_assert(__builtin_offsetof(struct bd_acknowledgement, reason) == 28, "offset");
_Static_assert(__builtin_offsetof(struct bd_acknowledgement, matched) == 32, "offset");
_Static_assert(__builtin_offsetof(struct bd_acknowledgement, signalled) == 36, "offset");
_Static_assert(__builtin_offsetof(struct bd_acknowledgement, remaining) == 40, "offset");
_Static_assert(__builtin_offsetof(struct bd_acknowledgement, sweeps) == 44, "offset");
_Static_assert(__builtin_offsetof(struct bd_acknowledgement, accepted_at) == 48, "offset");
_Static_assert(__builtin_offsetof(struct bd_acknowledgement, first_signal_at) == 56, "offset");
_Static_assert(__builtin_offsetof(struct bd_acknowledgement, last_death_at) == 64, "offset");
_Static_assert(__builtin_offsetof(struct bd_acknowledgement, finished_at) == 72, "offset");
_Static_assert(__builtin_offsetof(struct bd_acknowledgement, failure) == 80, "offset");
_Static_assert(__builtin_offsetof(struct bd_acknowledgement, reserved) == 88, "offset");

struct bd_lease_table {
	__u64 lease;
	__u64 reserved[7];
	__u64 candidacies[BD_COMMAND_SLOTS];
};
_Static_assert(sizeof(struct bd_lease_table) == 192, "size");
_Static_assert(__builtin_offsetof(struct bd_lease_table, lease) == 0, "offset");
_Static_assert(__builtin_offsetof(struct bd_lease_table, reserved) == 8, "offset");
_Static_assert(__builtin_offsetof(struct bd_lease_table, candidacies) == 64, "offset");

struct bd_audit_header {
	__u64 magic;
	__u32 version;
	__u32 header_bytes;
	__u64 generation;
	__u32 capacity;
	__u32 record_bytes;
	__u64 written;
	__u64 wall_offset;
	__u64 left_out;
	__u64 reserved[9];
};
_Static_assert(sizeof(struct bd_audit_header) == 128, "size");
_Static_assert(__builtin_offsetof(struct bd_audit_header, magic) == 0, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_header, version) == 8, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_header, header_bytes) == 12, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_header, generation) == 16, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_header, capacity) == 24, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_header, record_bytes) == 28, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_header, written) == 32, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_header, wall_offset) == 40, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_header, left_out) == 48, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_header, reserved) == 56, "offset");

struct bd_audit_record {
	__u64 guard;
	__u64 at;
	__u32 kind;
	__u32 slot;
	__u64 whose;
	__u32 opcode;
	__u32 flags;
	__u64 subject;
	__u64 start;
	__u64 most_victims;
	__u64 argument;
	__u64 sequence;
	__u32 state;
	__u32 refusal;
	__u32 matched;
	__u32 signalled;
	__u32 remaining;
	__u32 left_out;
	__u64 failure;
	__u64 accepted_at;
	__u64 first_signal_at;
	__u64 last_death_at;
	__u64 finished_at;
	__u64 reason[23];
	__u64 reserved[7];
};
_Static_assert(sizeof(struct bd_audit_record) == 384, "size");
_Static_assert(__builtin_offsetof(struct bd_audit_record, guard) == 0, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, at) == 8, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, kind) == 16, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, slot) == 20, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, whose) == 24, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, opcode) == 32, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, flags) == 36, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, subject) == 40, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, start) == 48, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, most_victims) == 56, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, argument) == 64, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, sequence) == 72, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, state) == 80, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, refusal) == 84, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, matched) == 88, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, signalled) == 92, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, remaining) == 96, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, left_out) == 100, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, failure) == 104, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, accepted_at) == 112, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, first_signal_at) == 120, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, last_death_at) == 128, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, finished_at) == 136, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, reason) == 144, "offset");
_Static_assert(__builtin_offsetof(struct bd_audit_record, reserved) == 328, "offset");

struct bd_session_table_header {
	__u64 magic;
	__u32 version;
	__u32 header_bytes;
	__u64 generation;
	__u32 capacity;
	__u32 record_bytes;
	__u32 ring_bytes;
	__u32 ring_stride;
	__u32 receive_cap;
	__u32 reserved_word;
	__u64 unrecorded;
	__u64 reserved[25];
};
_Static_assert(sizeof(struct bd_session_table_header) == 256, "size");
_Static_assert(__builtin_offsetof(struct bd_session_table_header, magic) == 0, "offset");
_Static_assert(__builtin_offsetof(struct bd_session_table_header, version) == 8, "offset");
_Static_assert(__builtin_offsetof(struct bd_session_table_header, header_bytes) == 12, "offset");
_Static_assert(__builtin_offsetof(struct bd_session_table_header, generation) == 16, "offset");
_Static_assert(__builtin_offsetof(struct bd_session_table_header, capacity) == 24, "offset");
_Static_assert(__builtin_offsetof(struct bd_session_table_header, record_bytes) == 28, "offset");
_Static_assert(__builtin_offsetof(struct bd_session_table_header, ring_bytes) == 32, "offset");
_Static_assert(__builtin_offsetof(struct bd_session_table_header, ring_stride) == 36, "offset");
_Static_assert(__builtin_offsetof(struct bd_session_table_header, receive_cap) == 40, "offset");
_Static_assert(__builtin_offsetof(struct bd_session_table_header, reserved_word) == 44, "offset");
_Static_assert(__builtin_offsetof(struct bd_session_table_header, unrecorded) == 48, "offset");
_Static_assert(__builtin_offsetof(struct bd_session_table_header, reserved) == 56, "offset");

struct bd_session {
	__u64 sequence;
	__u64 cookie;
	__u64 gaps;
	__u64 held_end;
	__u8 local[16];
	__u8 remote[16];
	__u32 family;
	__u16 local_port;
	__u16 remote_port;
	__u32 state;
	__u32 flags;
	__u32 irs;
	__u32 iss;
	__u32 snd_una;
	__u32 snd_nxt;
	__u32 write_seq;
	__u32 rcv_nxt;
	__u32 copied_seq;
	__u32 rcv_wup;
	__u32 snd_wnd;
	__u32 snd_wl1;
	__u32 max_window;
	__u32 rcv_wnd;
	__u8 snd_wscale;
	__u8 rcv_wscale;
	__u16 mss_clamp;
	__u32 ts_recent;
	__u32 tsoffset;
	__u32 last_tsval;
	__u32 service;
	__u32 told_end;
	__u64 opened_at;
	__u64 changed_at;
	__u64 bytes_received;
	__u64 bytes_acked;
	__u64 heard;
	__u64 held_from;
	__u64 reserved[7];
};
_Static_assert(sizeof(struct bd_session) == 256, "size");
_Static_assert(__builtin_offsetof(struct bd_session, sequence) == 0, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, cookie) == 8, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, gaps) == 16, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, held_end) == 24, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, local) == 32, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, remote) == 48, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, family) == 64, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, local_port) == 68, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, remote_port) == 70, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, state) == 72, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, flags) == 76, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, irs) == 80, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, iss) == 84, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, snd_una) == 88, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, snd_nxt) == 92, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, write_seq) == 96, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, rcv_nxt) == 100, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, copied_seq) == 104, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, rcv_wup) == 108, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, snd_wnd) == 112, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, snd_wl1) == 116, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, max_window) == 120, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, rcv_wnd) == 124, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, snd_wscale) == 128, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, rcv_wscale) == 129, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, mss_clamp) == 130, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, ts_recent) == 132, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, tsoffset) == 136, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, last_tsval) == 140, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, service) == 144, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, told_end) == 148, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, opened_at) == 152, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, changed_at) == 160, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, bytes_received) == 168, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, bytes_acked) == 176, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, heard) == 184, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, held_from) == 192, "offset");
_Static_assert(__builtin_offsetof(struct bd_session, reserved) == 200, "offset");

struct bd_fence {
	__u64 magic;
	__u32 version;
	__u32 table_bytes;
	__u64 generation;
	__u32 slots;
	__u32 addresses;
	__u64 reserved[4];
	__u64 words[BD_COMMAND_SLOTS];
	__u64 checks[BD_COMMAND_SLOTS];
	__u64 withheld;
	__u64 held;
	__u64 looked_at;
	__u64 interfaces;
	__u64 more_reserved[4];
	__u64 covered[BD_MAX_FENCED][2];
};
_Static_assert(sizeof(struct bd_fence) == 640, "size");
_Static_assert(__builtin_offsetof(struct bd_fence, magic) == 0, "offset");
_Static_assert(__builtin_offsetof(struct bd_fence, version) == 8, "offset");
_Static_assert(__builtin_offsetof(struct bd_fence, table_bytes) == 12, "offset");
_Static_assert(__builtin_offsetof(struct bd_fence, generation) == 16, "offset");
_Static_assert(__builtin_offsetof(struct bd_fence, slots) == 24, "offset");
_Static_assert(__builtin_offsetof(struct bd_fence, addresses) == 28, "offset");
_Static_assert(__builtin_offsetof(struct bd_fence, reserved) == 32, "offset");
_Static_assert(__builtin_offsetof(struct bd_fence, words) == 64, "offset");
_Static_assert(__builtin_offsetof(struct bd_fence, checks) == 192, "offset");
_Static_assert(__builtin_offsetof(struct bd_fence, withheld) == 320, "offset");
_Static_assert(__builtin_offsetof(struct bd_fence, held) == 328, "offset");
_Static_assert(__builtin_offsetof(struct bd_fence, looked_at) == 336, "offset");
_Static_assert(__builtin_offsetof(struct bd_fence, interfaces) == 344, "offset");
_Static_assert(__builtin_offsetof(struct bd_fence, more_reserved) == 352, "offset");
_Static_assert(__builtin_offsetof(struct bd_fence, covered) == 384, "offset");

#endif
