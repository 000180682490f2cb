/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* Capture of live connections. Payload is copied when it arrives, before TCP sees it and can acknowledge it; the state is
 * written before a packet leaves, and when bytes are read. So no peer ever knows of anything that is not held here.
 * These programs only watch: whatever they find, packets go their way. */
#ifndef BACKDOORS_CAPTURE_H
#define BACKDOORS_CAPTURE_H

#define PASS 1

/* Of two processors that make the note of a socket at once one is refused. */
static __always_inline struct socket_note *make_note(struct bpf_sock *socket)
{
	struct socket_note *note = bpf_sk_storage_get(&socket_notes, socket, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	return note ? note : bpf_sk_storage_get(&socket_notes, socket, NULL, 0);
}

/* A packet with bytes for a socket of which nothing is noted. Tells what is noted from now on. */
static __always_inline struct socket_note *note_bytes(struct __sk_buff *packet, struct bpf_sock *socket,
						       struct segment *segment)
{
	struct socket_note *note;
	__u64 before;

	if (service_of(socket->src_port) == NO_SERVICE || !read_segment(packet, segment) || !segment->length)
		return NULL;
	keep_early(packet, segment);
	if (socket->state == BPF_TCP_LISTEN)
		return NULL;
	/* Either it was there before the kernel half was, or another CPU is about to record it. */
	note = make_note(socket);
	if (note) {
		before = __sync_fetch_and_or(&note->word, BYTES_MISSED);
		/* What was kept comes before. */
		barrier_var(before);
	}
	return note;
}

SEC("cgroup_skb/ingress")
int on_arrival(struct __sk_buff *packet)
{
	struct bpf_sock *socket = packet->sk;
	struct segment segment = {};
	struct socket_note *note;
	struct bd_session *record;
	struct tcp_sock *tp;
	__u32 index;

	if (!socket)
		return PASS;
	socket = bpf_sk_fullsock(socket);
	if (!socket || socket->protocol != IPPROTO_TCP_NUMBER)
		return PASS;
	note = bpf_sk_storage_get(&socket_notes, socket, NULL, 0);
	if (!note || !READ(note->word))
		note = note_bytes(packet, socket, &segment);
	record = noted_record(note);
	if (!note || !record)
		return PASS;
	index = (__u32)READ(note->word) - 1;
	tp = bpf_skc_to_tcp_sock(socket);
	if (!tp || !read_segment(packet, &segment)) {
		note_gap(record);
		return PASS;
	}
	hear(record, tp, &segment);
	if (segment.length)
		take_payload(packet, record, index, tp, &segment, note->cookie);
	return PASS;
}

SEC("cgroup_skb/egress")
int on_departure(struct __sk_buff *packet)
{
	struct bpf_sock *socket = packet->sk;
	struct segment segment = {};
	struct leaving leaving = {};
	struct socket_note *note;
	struct bd_session *record;
	struct tcp_sock *tp;

	if (!socket)
		return PASS;
	socket = bpf_sk_fullsock(socket);
	if (!socket || socket->protocol != IPPROTO_TCP_NUMBER)
		return PASS;
	note = bpf_sk_storage_get(&socket_notes, socket, NULL, 0);
	record = noted_record(note);
	if (!note || !record)
		return PASS;
	tp = bpf_skc_to_tcp_sock(socket);
	/* Around a packet of this socket's there may be another one. */
	if (!tp || !read_segment(packet, &segment))
		return PASS;
	leaving.there = 1;
	leaving.fin = segment.flags & TCP_FIN;
	leaving.end = segment.sequence + segment.length + !!leaving.fin;
	leaving.stamped = segment.stamped;
	leaving.stamp = segment.stamp;
	write_record(record, note, tp, move_of(socket, record), socket->state, &leaving);
	return PASS;
}

/* The application has read. */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(on_read, struct sock *socket)
{
	struct socket_note *note = bpf_sk_storage_get(&socket_notes, socket, NULL, 0);
	struct bd_session *record = noted_record(note);
	struct leaving nothing = {};
	struct tcp_sock *tp;

	if (!note || !record)
		return 0;
	tp = bpf_skc_to_tcp_sock(socket);
	if (!tp)
		return 0;
	if (record->flags & BD_SESSION_REBUILDING)
		write_record(record, note, tp, move_of(socket, record),
			     tp->inet_conn.icsk_inet.sk.__sk_common.skc_state, &nothing);
	else
		write_read(record, note, tp);
	return 0;
}

static __always_inline int is_early_of(struct early *early, struct bd_session *record)
{
	__s32 ahead = distance(record->rcv_nxt, early->sequence);

	return early->length && early->remote_port == record->remote_port && early->local_port == record->local_port &&
	       early->remote == *(__u32 *)&record->remote[12] && ahead >= 0 && ahead <= MOST_EARLY;
}

static __always_inline void take_kept(struct early *early, struct bd_session *record, __u32 index)
{
	raise_held_end(record, early->sequence + early->length);
	if (!copy_early(early, index))
		note_gap(record);
	early->length = 0;
}

/* Takes in the bytes of the packet that completed the handshake. */
static __always_inline void take_early(struct bpf_sock_ops *event, struct bd_session *record, __u32 index)
{
	__u8 *head = (void *)(long)event->skb_data, *end = (void *)(long)event->skb_data_end;
	__u32 cpu = bpf_get_smp_processor_id(), bytes, length, sequence;
	struct early *early;

	if (head + TCP_HEAD > end) {
		note_gap(record);
		return;
	}
	bytes = (head[12] >> 4) * 4;
	length = event->skb_len > bytes ? event->skb_len - bytes : 0;
	if (!length)
		return;
	sequence = bpf_ntohl(*(__u32 *)(head + 4)) + !!(head[13] & TCP_SYN);
	early = bpf_map_lookup_elem(&earlies, &cpu);
	if (early && early->length == length && early->sequence == sequence && is_early_of(early, record))
		take_kept(early, record, index);
	else
		note_gap(record);
}

/* Takes in the bytes of a packet that another CPU got between the connection and its record. That CPU waits for the socket's
 * lock, which is held here, so they stay where they are kept. If there was one more such packet the record will show it. */
static __always_inline void take_overtaking(struct bd_session *record, __u32 index)
{
	struct early *early = NULL;

#pragma clang loop unroll(disable)
	for (__u32 number = 0; number < MOST_CPUS; number++) {
		__u32 cpu = number;

		early = bpf_map_lookup_elem(&earlies, &cpu);
		if (!early || is_early_of(early, record))
			break;
	}
	if (early && is_early_of(early, record))
		take_kept(early, record, index);
	else
		note_gap(record);
}

/* What is not read must fit into the ring, and what was read a short while ago, too. */
static __always_inline void cap_receive_buffer(struct bpf_sock_ops *event, struct tcp_sock *tp)
{
	__u32 bytes = tp->inet_conn.icsk_inet.sk.sk_rcvbuf;
	int half;

	if (bytes > settings.receive_cap)
		bytes = settings.receive_cap;
	/* The kernel doubles it, and does not let it grow by itself from then on. */
	half = bytes / 2;
	bpf_setsockopt(event, SOL_SOCKET, SO_RCVBUF, &half, sizeof(half));
}

/* The window told in the answer to a peer's first packet goes by what the listening socket may receive. */
static __always_inline void on_listen(struct bpf_sock_ops *event)
{
	struct bpf_sock *socket = event->sk;
	struct tcp_sock *tp;

	if (!socket || service_of(event->local_port) == NO_SERVICE)
		return;
	tp = bpf_skc_to_tcp_sock(socket);
	if (tp)
		cap_receive_buffer(event, tp);
}

static __always_inline void count_unrecorded(void)
{
	struct bd_session_table_header *header = session_header();

	if (header)
		__sync_fetch_and_add(&header->unrecorded, 1);
}

/* A record for a service's new connection, if it has not as many as it may. */
static __always_inline struct bd_session *free_record_for(__u32 service, __u32 *index)
{
	if (service >= MAX_SERVICES)
		return NULL;
	if (__sync_fetch_and_add(&recorded[service], 1) < settings.most_sessions[service] &&
	    !bpf_map_pop_elem(&free_sessions, index))
		return session_record(*index);
	__sync_fetch_and_add(&recorded[service], -1);
	return NULL;
}

/* `flags` is 0, or BD_SESSION_REBUILDING. */
static __always_inline void on_established(struct bpf_sock_ops *event, __u32 flags)
{
	__u32 service = service_of(event->local_port), index = 0;
	struct bpf_sock *socket = event->sk;
	struct socket_note *note;
	struct bd_session *record;
	struct tcp_sock *tp;

	if (service == NO_SERVICE || !socket)
		return;
	tp = bpf_skc_to_tcp_sock(socket);
	/* Connections that the service opens itself are not captured. */
	if (!tp || (flags && !BPF_CORE_READ_BITFIELD(tp, repair)))
		return;
	note = make_note(socket);
	if (!note) {
		count_unrecorded();
		return;
	}
	note->cookie = bpf_get_socket_cookie(event);
	/* Others may want to be told of other things. */
	bpf_sock_ops_cb_flags_set(event, event->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	sensor_add(settings.sessions_open, 1);
	record = free_record_for(service, &index);
	if (!record) {
		count_unrecorded();
		sensor_add(settings.sessions_unprotected, 1);
		__sync_fetch_and_or(&note->word, UNRECORDED);
		return;
	}
	/* What is put into a rebuilt one may be more; the agent sees to that, and to what it received before. */
	if (!flags)
		cap_receive_buffer(event, tp);
	open_record(record, note, tp, service, flags);
	if (!flags)
		take_early(event, record, index);
	if (__sync_fetch_and_or(&note->word, index + 1) & BYTES_MISSED)
		take_overtaking(record, index);
}

static __always_inline void on_state(struct bpf_sock_ops *event)
{
	struct bpf_sock *socket = event->sk;
	struct leaving nothing = {};
	struct socket_note *note;
	struct bd_session *record;
	struct tcp_sock *tp;
	__u32 state = event->args[1];
	__u64 word;

	if (!socket)
		return;
	note = bpf_sk_storage_get(&socket_notes, socket, NULL, 0);
	if (!note)
		return;
	record = noted_record(note);
	if (state != BPF_TCP_CLOSE) {
		tp = bpf_skc_to_tcp_sock(socket);
		if (record && tp)
			write_record(record, note, tp, move_of(socket, record), state, &nothing);
		return;
	}
	word = __sync_lock_test_and_set(&note->word, ENDED);
	if (record && (__u32)word) {
		free_record(record, (__u32)word - 1);
	} else if (word & UNRECORDED) {
		sensor_add(settings.sessions_open, -1);
		sensor_add(settings.sessions_unprotected, -1);
	}
}

SEC("sockops")
int on_connection(struct bpf_sock_ops *event)
{
	switch (event->op) {
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		on_established(event, 0);
		break;
	/* Repair mode knows no other end. */
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		on_established(event, BD_SESSION_REBUILDING);
		break;
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		on_listen(event);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		on_state(event);
		break;
	}
	return PASS;
}

#endif
