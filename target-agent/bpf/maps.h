/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* All memory of the kernel half. What is mapped by others comes first. */
#ifndef BACKDOORS_MAPS_H
#define BACKDOORS_MAPS_H

/* A record of the box: the four of one CPU share two cache lines with nobody. */
struct sensor_box {
	struct bd_box_header header;
	struct bd_sensor records[MAX_RECORDS];
};

/* A ring of records, the newest over the oldest. */
struct audit {
	struct bd_audit_header header;
	struct bd_audit_record records[BD_AUDIT_RECORDS];
};

struct sensor_box sensors SEC(".data.sensors") __attribute__((aligned(128)));
struct bd_command commands[BD_COMMAND_SLOTS] SEC(".data.commands") __attribute__((aligned(64)));
struct bd_acknowledgement acknowledgements[BD_COMMAND_SLOTS] SEC(".data.acknowledgements")
	__attribute__((aligned(128)));
/* Monitors alone change it. */
struct bd_lease_table lease SEC(".data.lease") __attribute__((aligned(64)));
struct audit audit SEC(".data.audit") __attribute__((aligned(128)));
struct bd_fence fence SEC(".data.fence") __attribute__((aligned(128)));
struct control control SEC(".data.control") __attribute__((aligned(64)));
struct errand errands[BD_COMMAND_SLOTS] SEC(".data.errands") __attribute__((aligned(64)));
/* The user half alone uses it; it is here so that it is kept with all the rest. */
char variables[BD_VARIABLES_BYTES] SEC(".data.variables") __attribute__((aligned(64)));
const volatile struct settings settings SEC(".rodata.settings");

/* The process table: element 0 is its header, element n + 1 its entry n. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1 + 8192);
	__type(key, __u32);
	__type(value, struct bd_process);
} processes SEC(".maps");

/* A sentence per entry, for what the kernel cannot signal: PASSED if that process must be sent a signal; whoever sends
 * it makes it CARRIED_OUT first. 0 as soon as the entry is another process's. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, __u64);
} condemned SEC(".maps");

/* What monitors must not learn of each other: no region of any monitor, and no memory that anybody can map. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__uint(max_entries, BD_COMMAND_SLOTS);
	__type(key, __u32);
	__type(value, struct seat);
} seats SEC(".maps");

/* Wakes the helper when there are sentences or errands to carry out. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} wakeups SEC(".maps");

/* Wakes the agent when there are hooks of applications to be called. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} calls SEC(".maps");

/* Entries of the process table that are free. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 8192);
	__uint(value_size, sizeof(__u32));
} free_entries SEC(".maps");

#define NONE 0xffffffffU

/* A live process. An element of the hash may come to serve another process while a sweep still looks at it, so
 * every word a sweep changes carries the pid and is changed by compare-and-swap. */
struct tracked {
	/* pid << 32 | commands whose tree it belongs to << 16 | commands that counted it. */
	__u64 marks;
	/* pid << 32 | commands that chose it for a victim << 16 | commands that signalled it. */
	__u64 struck;
	/* user << 32 | user pair. */
	__u64 owner;
	__u64 start;
	/* Entry of the process table, or NONE. */
	__u32 entry;
	__u32 depth;
	/* A kernel thread: known, but neither listed nor counted. */
	__u32 kernel;
	/* The last walk that met it, or during which it was learned of. Written without a compare: should the element serve
	 * another process by then, that one has only just been learned of. */
	__u32 seen;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, struct tracked);
} tracked SEC(".maps");

/* Live connections: element 0 is the table's header, element n + 1 its record n. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bd_session);
} sessions SEC(".maps");

/* What they received: a ring per record. The loader says how long one is. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, BD_SESSION_RING_MARGIN);
} received SEC(".maps");

/* Records that are free, the one that was freed last at the end: a straggler's packet finds it free yet. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1);
	__uint(value_size, sizeof(__u32));
} free_sessions SEC(".maps");

/* What the kernel half knows of a socket. */
struct socket_note {
	/* A record + 1, or 0; and bits of the next three. */
	__u64 word;
	__u64 cookie;
	/* Added to what the kernel counts: not 0 if the connection was rebuilt here, and had a life before. */
	__u64 received_base;
	__u64 acked_base;
};
/* Bytes came before the connection was recorded. */
#define BYTES_MISSED (1ULL << 32)
/* There is no free record for it. */
#define UNRECORDED (1ULL << 33)
/* It ended. */
#define ENDED (1ULL << 34)

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct socket_note);
} socket_notes SEC(".maps");

/* Where in its streams a connection is that was rebuilt here, as the agent says before it speaks: the position of a byte of each
 * direction, and its sequence number. */
struct move {
	__u64 received;
	__u64 sent;
	__u32 received_sequence;
	__u32 sent_sequence;
	/* Behind the last byte that the agent put into the ring; the first is the one above. */
	__u32 held_end;
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct move);
} moves SEC(".maps");

/* The packet that completes a handshake may carry bytes, and comes before there is a connection; another one may overtake the
 * connection's record. The CPU that got it goes on with it at once, so one such packet per CPU is enough. */
#define MOST_EARLY 65536
/* Of more, some are not looked at. */
#define MOST_CPUS 1024
struct early {
	__u32 sequence;
	/* 0: nothing. */
	__u32 length;
	__u32 remote_port;
	__u32 local_port;
	/* The end of the peer's address. */
	__u32 remote;
	__u32 reserved;
	__u8 bytes[MOST_EARLY + BD_SESSION_RING_MARGIN];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct early);
} earlies SEC(".maps");

/* User id to the time until which its forks are refused. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_REFUSED_USERS);
	__type(key, __u32);
	__type(value, __u64);
} refused SEC(".maps");

/* User id to user pair. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * USER_PAIRS);
	__type(key, __u32);
	__type(value, __u32);
} users SEC(".maps");

struct clockwork {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct clockwork);
} clockwork SEC(".maps");

#define READ(word) (*(volatile typeof(word) *)&(word))
#define WRITE(word, new) (*(volatile typeof(word) *)&(word) = (new))

/* BPF has no barrier of its own; an atomic exchange is one. */
static __always_inline void full_barrier(void)
{
	__u64 own = 0;

	__sync_lock_test_and_set(&own, 1);
}

static __always_inline struct bd_process_table_header *table_header(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&processes, &first);
}

static __always_inline struct bd_process *table_entry(__u32 entry)
{
	__u32 element = entry + 1;

	if (entry >= MAX_CAPACITY)
		return NULL;
	return bpf_map_lookup_elem(&processes, &element);
}

static __always_inline void sensor_set(__u32 record, __u64 value)
{
	if (record < MAX_RECORDS)
		WRITE(sensors.records[record].value, value);
}

/* Adds to the value of a record; `difference` may be negative. */
static __always_inline void sensor_add(__u32 record, __s64 difference)
{
	if (record < MAX_RECORDS)
		__sync_fetch_and_add(&sensors.records[record].value, difference);
}

#endif
