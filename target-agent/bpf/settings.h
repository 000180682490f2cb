/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* What user half and kernel half share besides the sensor box. `src/kernel/settings.rs` mirrors it. */
#ifndef BACKDOORS_SETTINGS_H
#define BACKDOORS_SETTINGS_H

#define USER_PAIRS 128
#define MAX_RECORDS 4096
#define MAX_SPARED 64
#define MAX_PROTECTED 16
#define MAX_CAPACITY 65536
/* A sentence: pid << 32 | number of the signal << 8 | one of these. */
#define PASSED 1
#define CARRIED_OUT 2
#define SENTENCE_STATE 0xff
/* An errand: sequence of the command << 16 | refusal << 8 | one of these. */
#define ERRAND_ASKED 1
#define ERRAND_TAKEN 2
#define ERRAND_ENDED 3
#define MAX_REFUSED_USERS 64
#define MAX_SERVICES 16
#define MAX_SERVICE_PORTS 16

/* Fixed before the kernel half is loaded. */
struct settings {
	/* Only processes of one pid namespace are seen and reached. */
	__u32 scoped;
	/* The kernel can walk and signal all tasks (6.13 and later). */
	__u32 kills_all;
	/* Entries of the process table. */
	__u32 capacity;
	/* CPUs that have sensors. */
	__u32 cpus;
	/* Records of the sensor box. */
	__u32 first_cpu;
	__u32 first_user;
	__u32 kernel_timer;
	__u32 processes;
	__u32 processes_lost;
	__u32 users_lost;
	__u32 oom_kills;
	__u32 forks;
	__u32 agent_alive;
	/* The first of five: memory available and in all, swap space free and in all, stalls. */
	__u32 memory_available;
	/* The kernel shows its memory, and how much work stands still for want of it. */
	__u32 sees_memory;
	__u32 sees_stalls;
	__u32 page_bytes;
	/* The kernel lets forks be refused. */
	__u32 refuses_forks;
	__u32 forks_refused;
	__u32 sessions_open;
	__u32 sessions_unprotected;
	/* Bytes that a session's ring holds, a power of two, and the most that its socket may be given to receive. */
	__u32 ring_bytes;
	__u32 receive_cap;
	__u32 fence_held;
	__u32 fence_withheld;
	/* Entries of `fenced` in use. */
	__u32 fenced_addresses;
	__u32 reserved;
	/* Ports whose sessions are captured: service << 16 | port. */
	__u32 service_ports;
	__u32 service_port[MAX_SERVICE_PORTS];
	/* How many sessions of each service are captured at once. */
	__u32 most_sessions[MAX_SERVICES];
	__u64 user_processes_limit;
	__u64 user_fork_rate_limit;
	/* Nanoseconds. */
	__u64 tick;
	__u64 give_up;
	/* Addresses that a fence covers, IPv4 as ::ffff:a.b.c.d, as they are on the wire. */
	__u64 fenced[BD_MAX_FENCED][2];
};
_Static_assert(sizeof(struct settings) == 528, "size");

struct process_name {
	__u32 pid;
	__u32 reserved;
	/* 0: not known. */
	__u64 start;
};

/* Who may command through a slot, and what; written by the user half alone, one for each slot. */
struct seat {
	__u64 key[2];
	/* Names the certificate whose holder was given the key; for the user half. */
	__u64 whose;
	/* A bit per opcode. */
	__u64 may;
	/* 0: nobody. */
	__u64 admitted;
	/* The word that fences from this slot; 0: none does. */
	__u64 fence;
	/* One that did under an earlier key, and goes on as long as it is there. */
	__u64 fence_before;
};
_Static_assert(sizeof(struct seat) == 56, "size");

/* Which commands several monitors must want, and how many; written by the user half. */
struct agreement {
	/* A bit per opcode. */
	__u64 commands;
	/* Nanoseconds. */
	__u64 window;
	/* 1: nobody else need want it. */
	__u32 needed;
	__u32 reserved;
};

/* Changes while the kernel half runs. */
struct control {
	/* Written by the user half: which build made this, for those who adopt it. */
	__u64 fingerprint;
	/* Written by `find_scope`. */
	__u32 scope_level;
	__u32 scope_namespace;
	/* Written by the timer: a bit per command slot whose command is being carried out. */
	__u32 hunting;
	/* Written by the user half. */
	__u32 spared_count;
	__u32 spared[MAX_SPARED];
	struct process_name protected[MAX_PROTECTED];
	/* Rounds of the helper, and its process id; written by it. */
	__u64 helper_beat;
	__u64 helper_pid;
	/* The process whose end `agent.alive` tells; written by the user half. */
	struct process_name agent;
	struct agreement agreement;
	/* Written by the timer: a bit per command slot whose command the user half is to carry out. */
	__u64 errands;
	/* Written by the timer: no fork is refused from then on. */
	__u64 refusing_until;
};
_Static_assert(sizeof(struct control) == 608, "size");

/* What the kernel half has no way to do: a command for the user half, one for each slot. Asked for by the timer; whoever
 * takes it says so first, so that it can be called off until then. */
struct errand {
	__u64 stage;
	__u64 opcode;
	__u64 subject;
	__u64 start;
	__u64 argument;
	/* What the system or the application said that refused it. */
	__u64 failure;
	__u64 reserved[2];
};
_Static_assert(sizeof(struct errand) == 64, "size");

#endif
