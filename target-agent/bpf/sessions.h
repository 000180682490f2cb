/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* The table of live connections: records are taken, written and freed.
 *
 * Whoever writes a record holds its socket's lock, so there is one writer at a time. A packet that arrives is looked at
 * without that lock: it changes `gaps`, `held_end` and `heard` alone, each at once. */
#ifndef BACKDOORS_SESSIONS_H
#define BACKDOORS_SESSIONS_H

#define MAX_SESSIONS 65536
#define NO_SERVICE MAX_SERVICES
/* The highest end is raised at most so often against others that raise it. */
#define MOST_TRIES 8

/* Sessions of each service that have a record. */
static __u32 recorded[MAX_SERVICES];

/* What a packet that leaves adds to what its socket says: the socket counts it only when it has left. */
struct leaving {
	/* 0: none leaves. */
	__u32 there;
	__u32 end;
	__u32 fin;
	__u32 stamped;
	__u32 stamp;
};

static __always_inline __s32 distance(__u32 from, __u32 to)
{
	return to - from;
}

static __always_inline struct bd_session *session_record(__u32 index)
{
	__u32 element = index + 1;

	if (index >= MAX_SESSIONS)
		return NULL;
	return bpf_map_lookup_elem(&sessions, &element);
}

static __always_inline struct bd_session_table_header *session_header(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&sessions, &first);
}

/* The service that has this port, or NO_SERVICE. */
static __always_inline __u32 service_of(__u32 port)
{
#pragma clang loop unroll(disable)
	for (__u32 index = 0; index < MAX_SERVICE_PORTS; index++) {
		if (index >= settings.service_ports)
			break;
		if ((settings.service_port[index] & 0xffff) == port)
			return settings.service_port[index] >> 16;
	}
	return NO_SERVICE;
}

/* Received bytes may be missing from now on. */
static __always_inline void note_gap(struct bd_session *record)
{
	if (__sync_fetch_and_add(&record->gaps, 1) == 0)
		sensor_add(settings.sessions_unprotected, 1);
}

/* Says, before the ring is written up to `end`, that what lies a ring's length before is overwritten. */
static __always_inline void raise_held_end(struct bd_session *record, __u32 end)
{
	__u64 before = READ(record->held_end), found;

#pragma clang loop unroll(disable)
	for (int try = 0; try < MOST_TRIES; try++) {
		if (distance(before, end) <= 0)
			return;
		found = __sync_val_compare_and_swap(&record->held_end, before, (__u64)end);
		if (found == before)
			return;
		before = found;
	}
	note_gap(record);
}

static __always_inline int has_flag(struct tcp_sock *tp, __u32 flag)
{
	return (tp->inet_conn.icsk_inet.sk.__sk_common.skc_flags >> flag) & 1;
}

/* Set by the peer's FIN alone, and together with `rcv_nxt`. */
static __always_inline int has_peer_fin(struct tcp_sock *tp)
{
	return has_flag(tp, bpf_core_enum_value(enum sock_flags, SOCK_DONE));
}

static __always_inline __u32 flags_of(struct tcp_sock *tp)
{
	__u32 flags = 0;

	if (BPF_CORE_READ_BITFIELD(tp, rx_opt.tstamp_ok))
		flags |= BD_SESSION_TIMESTAMPS;
	if (BPF_CORE_READ_BITFIELD(tp, rx_opt.sack_ok))
		flags |= BD_SESSION_SACK;
	if (BPF_CORE_READ_BITFIELD(tp, rx_opt.wscale_ok))
		flags |= BD_SESSION_WINDOW_SCALE;
	if (bpf_core_field_exists(tp->tcp_usec_ts) && BPF_CORE_READ_BITFIELD(tp, tcp_usec_ts))
		flags |= BD_SESSION_MICROSECONDS;
	if (has_peer_fin(tp))
		flags |= BD_SESSION_PEER_FIN;
	if (has_flag(tp, bpf_core_enum_value(enum sock_flags, SOCK_DEAD)))
		flags |= BD_SESSION_ORPHANED;
	return flags;
}

/* Writes what the socket says. Its caller holds the socket's lock, and has made `sequence` odd. */
static __always_inline void write_numbers(struct bd_session *record, struct socket_note *note, struct tcp_sock *tp,
					  __u32 state, struct leaving *leaving)
{
	__u32 flags = flags_of(tp) | (record->flags & (BD_SESSION_OWN_FIN | BD_SESSION_REBUILDING));
	__u32 next = tp->snd_nxt, told, scaled;

	if (leaving->there) {
		if (distance(next, leaving->end) > 0)
			next = leaving->end;
		if (leaving->fin)
			flags |= BD_SESSION_OWN_FIN;
		if (leaving->stamped && (!record->last_tsval || distance(record->last_tsval, leaving->stamp) > 0))
			record->last_tsval = leaving->stamp;
	}
	told = tp->rcv_wup + tp->rcv_wnd;
	if (distance(record->told_end, told) > 0)
		record->told_end = told;
	scaled = flags & BD_SESSION_WINDOW_SCALE;
	record->state = state;
	record->flags = flags;
	record->snd_una = tp->snd_una;
	record->snd_nxt = next;
	record->write_seq = tp->write_seq;
	record->rcv_nxt = tp->rcv_nxt;
	record->copied_seq = tp->copied_seq;
	record->rcv_wup = tp->rcv_wup;
	record->snd_wnd = tp->snd_wnd;
	record->snd_wl1 = tp->snd_wl1;
	record->max_window = tp->max_window;
	record->rcv_wnd = tp->rcv_wnd;
	record->snd_wscale = scaled ? BPF_CORE_READ_BITFIELD(tp, rx_opt.snd_wscale) : 0;
	record->rcv_wscale = scaled ? BPF_CORE_READ_BITFIELD(tp, rx_opt.rcv_wscale) : 0;
	record->mss_clamp = tp->rx_opt.mss_clamp;
	record->ts_recent = tp->rx_opt.ts_recent;
	record->tsoffset = tp->tsoffset;
	record->changed_at = bpf_ktime_get_ns();
	record->bytes_received = tp->bytes_received + note->received_base;
	record->bytes_acked = tp->bytes_acked + note->acked_base;
}

/* Adds one, and is a barrier. */
static __always_inline void step(__u64 *sequence)
{
	__u64 before = __sync_fetch_and_add(sequence, 1);

	/* An addition whose result nobody wants is no barrier everywhere. */
	barrier_var(before);
}

/* Who writes a record is not put aside in between where the kernel lets it say so: on a machine that drowns in processes it
 * could stay half written for long. Kernels that do not let it do not put aside what runs in the kernel, unless they were
 * built or started to. */
static __always_inline void begin_record(struct bd_session *record)
{
	if (bpf_preempt_disable)
		bpf_preempt_disable();
	step(&record->sequence);
}

static __always_inline void end_record(struct bd_session *record)
{
	step(&record->sequence);
	if (bpf_preempt_enable)
		bpf_preempt_enable();
}

/* Of a connection that was rebuilt here: where it is in its streams, as soon as the agent has said so. */
static __always_inline void find_place(struct bd_session *record, struct socket_note *note, struct tcp_sock *tp,
				   struct move *move)
{
	if (move) {
		note->received_base = move->received + distance(move->received_sequence, tp->rcv_nxt) - tp->bytes_received;
		note->acked_base = move->sent + distance(move->sent_sequence, tp->snd_una) - tp->bytes_acked;
		record->irs = move->received_sequence - 1 - (__u32)move->received;
		record->iss = move->sent_sequence - 1 - (__u32)move->sent;
		record->held_from = move->received;
		raise_held_end(record, move->held_end);
	} else if (BPF_CORE_READ_BITFIELD(tp, repair)) {
		return;
	} else {
		/* It speaks, and nobody has said: its positions are not known. */
		note_gap(record);
	}
	record->flags &= ~BD_SESSION_REBUILDING;
}

/* What was said of this socket's move, if that is still of interest. */
#define move_of(socket, record) \
	((record)->flags & BD_SESSION_REBUILDING ? bpf_sk_storage_get(&moves, socket, NULL, 0) : NULL)

/* Whatever TCP took was seen before, or there is something here that was not thought of. */
static __always_inline void look_for_gap(struct bd_session *record)
{
	__u32 last = record->rcv_nxt - !!(record->flags & BD_SESSION_PEER_FIN);

	if (!(record->flags & BD_SESSION_REBUILDING) && !READ(record->gaps) &&
	    distance(READ(record->held_end), last) > 0)
		note_gap(record);
}

static __always_inline void write_record(struct bd_session *record, struct socket_note *note, struct tcp_sock *tp,
					 struct move *move, __u32 state, struct leaving *leaving)
{
	begin_record(record);
	if (record->flags & BD_SESSION_REBUILDING)
		find_place(record, note, tp, move);
	write_numbers(record, note, tp, state, leaving);
	end_record(record);
	look_for_gap(record);
}

/* Writes what reading changes: the application must not know of bytes that the record does not count. The rest can wait for
 * the packet that leaves next. */
static __always_inline void write_read(struct bd_session *record, struct socket_note *note,
				       struct tcp_sock *tp)
{
	begin_record(record);
	record->rcv_nxt = tp->rcv_nxt;
	record->copied_seq = tp->copied_seq;
	record->bytes_received = tp->bytes_received + note->received_base;
	if (has_peer_fin(tp))
		record->flags |= BD_SESSION_PEER_FIN;
	end_record(record);
	look_for_gap(record);
}

/* Its socket, if it is recorded. */
static __always_inline struct bd_session *noted_record(struct socket_note *note)
{
	return note && (__u32)READ(note->word) ? session_record((__u32)READ(note->word) - 1) : NULL;
}

/* Makes a record of a connection that has just been established. Nobody else knows it yet. */
static __always_inline void open_record(struct bd_session *record, struct socket_note *note, struct tcp_sock *tp,
					__u32 service, __u32 flags)
{
	struct sock_common *common = &tp->inet_conn.icsk_inet.sk.__sk_common;
	struct leaving nothing = {};
	__u32 family = common->skc_family, local = common->skc_rcv_saddr, remote = common->skc_daddr;

	begin_record(record);
	if (family == AF_INET6) {
		bpf_core_read(record->local, sizeof(record->local), &common->skc_v6_rcv_saddr);
		bpf_core_read(record->remote, sizeof(record->remote), &common->skc_v6_daddr);
	} else {
		__builtin_memset(record->local, 0, 10);
		__builtin_memset(record->remote, 0, 10);
		record->local[10] = record->local[11] = record->remote[10] = record->remote[11] = 0xff;
		__builtin_memcpy(&record->local[12], &local, sizeof(local));
		__builtin_memcpy(&record->remote[12], &remote, sizeof(remote));
	}
	record->family = family;
	record->local_port = common->skc_num;
	record->remote_port = bpf_ntohs(common->skc_dport);
	record->irs = tp->rcv_nxt - 1;
	record->iss = tp->snd_una - 1;
	record->flags = flags;
	record->last_tsval = 0;
	record->told_end = tp->rcv_nxt;
	record->service = service;
	record->opened_at = bpf_ktime_get_ns();
	record->held_from = 0;
	WRITE(record->gaps, 0);
	WRITE(record->held_end, tp->rcv_nxt);
	WRITE(record->heard, tp->snd_una);
	write_numbers(record, note, tp, common->skc_state, &nothing);
	WRITE(record->cookie, note->cookie);
	end_record(record);
}

/* The connection ended: its record is the next but all others' that are free. */
static __always_inline void free_record(struct bd_session *record, __u32 index)
{
	__u32 service = record->service;

	begin_record(record);
	WRITE(record->cookie, 0);
	end_record(record);
	full_barrier();
	if (__sync_lock_test_and_set(&record->gaps, 0))
		sensor_add(settings.sessions_unprotected, -1);
	sensor_add(settings.sessions_open, -1);
	if (service < MAX_SERVICES)
		__sync_fetch_and_add(&recorded[service], -1);
	bpf_map_push_elem(&free_sessions, &index, BPF_ANY);
}

#endif
