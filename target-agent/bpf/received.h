/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* Bytes that arrived, into the rings. */
#ifndef BACKDOORS_RECEIVED_H
#define BACKDOORS_RECEIVED_H

/* Rings are written in pieces that do not cross a multiple of this, so none crosses the ring's end. */
#define PIECE BD_SESSION_RING_MARGIN
#define MOST_PAYLOAD 65536
#define MOST_PIECES (MOST_PAYLOAD / PIECE + 1)
/* A packet may go on this far behind the last byte the peer may send: kernels take such packets whole. */
#define BEHIND_EDGE 65536

/* How much of `left` bytes lies before the next multiple of PIECE. */
static __always_inline __u32 piece_of(__u32 sequence, __u32 left)
{
	__u32 piece = PIECE - (sequence & (PIECE - 1));

	if (piece > left)
		piece = left;
	/* So that the verifier sees 1 to PIECE. */
	piece--;
	barrier_var(piece);
	piece &= PIECE - 1;
	return piece + 1;
}

/* Copies a packet's bytes to where they belong; 0 if it could not. */
__noinline int copy_payload(struct __sk_buff *packet, __u32 from, __u32 index, __u32 sequence, __u32 left)
{
	__u8 *ring = bpf_map_lookup_elem(&received, &index);
	__u32 piece;

	if (!ring)
		return 0;
#pragma clang loop unroll(disable)
	for (int number = 0; number < MOST_PIECES; number++) {
		if (!left)
			break;
		piece = piece_of(sequence, left);
		if (bpf_skb_load_bytes(packet, from, ring + (sequence & (settings.ring_bytes - 1)), piece))
			return 0;
		from += piece;
		sequence += piece;
		left -= piece;
	}
	return !left;
}

/* The same for bytes that were kept meanwhile. */
static __always_inline int copy_early(struct early *early, __u32 index)
{
	__u8 *ring = bpf_map_lookup_elem(&received, &index);
	__u32 sequence = early->sequence, left = early->length, from = 0, piece;

	if (!ring)
		return 0;
#pragma clang loop unroll(disable)
	for (int number = 0; number < MOST_PIECES; number++) {
		if (!left)
			break;
		piece = piece_of(sequence, left);
		if (from >= MOST_EARLY ||
		    bpf_probe_read_kernel(ring + (sequence & (settings.ring_bytes - 1)), piece, &early->bytes[from]))
			return 0;
		from += piece;
		sequence += piece;
		left -= piece;
	}
	return !left;
}

/* Keeps the bytes of a packet for which there is no connection yet. */
__noinline int keep_early(struct __sk_buff *packet, struct segment *segment)
{
	__u32 cpu = bpf_get_smp_processor_id(), from = 0, left, piece;
	struct early *early = bpf_map_lookup_elem(&earlies, &cpu);

	if (!segment || !early)
		return 0;
	early->length = 0;
	left = segment->length;
	if (left > MOST_EARLY)
		return 0;
#pragma clang loop unroll(disable)
	for (int number = 0; number < MOST_PIECES; number++) {
		if (!left)
			break;
		piece = piece_of(from, left);
		if (from >= MOST_EARLY || bpf_skb_load_bytes(packet, segment->payload + from, &early->bytes[from], piece))
			return 0;
		from += piece;
		left -= piece;
	}
	early->sequence = segment->sequence + !!(segment->flags & TCP_SYN);
	early->remote_port = segment->remote_port;
	early->local_port = segment->local_port;
	early->remote = segment->sender;
	early->length = segment->length;
	return 1;
}

/* Notes what a packet acknowledges. TCP will know it, but what TCP knows is written only when something leaves or is read, and
 * after a packet that acknowledges everything nothing may leave for long. A packet that TCP is not to take is not believed.
 * If two arrive at once the older one may win: then this is behind, as it may be. */
static __always_inline void hear(struct bd_session *record, struct tcp_sock *tp, struct segment *segment)
{
	__u32 edge = READ(tp->rcv_nxt) + READ(tp->rcv_wnd), end = segment->sequence + segment->length;

	if (!(segment->flags & TCP_ACK) || distance(READ(record->heard), segment->acknowledged) < 0 ||
	    distance(segment->acknowledged, READ(record->snd_nxt)) < 0)
		return;
	if (distance(READ(tp->rcv_wup), end) >= 0 && distance(segment->sequence, edge) >= 0)
		WRITE(record->heard, segment->acknowledged | (__u64)segment->window << 32);
}

/* Copies what of a packet TCP could take. The socket is read without its lock: what it expects next may be out of date, but
 * then it was less. Below that nothing is copied: those bytes are held, and must stay what they were acknowledged as. */
static __always_inline void take_payload(struct __sk_buff *packet, struct bd_session *record, __u32 index,
					 struct tcp_sock *tp, struct segment *segment, __u64 cookie)
{
	__u32 next = READ(tp->rcv_nxt), edge = READ(tp->rcv_wup) + READ(tp->rcv_wnd), told = READ(record->told_end);
	__u32 begin = segment->sequence, end = begin + segment->length, from = segment->payload;

	if (distance(next, end) <= 0)
		return;
	if (distance(begin, next) > 0) {
		from += next - begin;
		begin = next;
	}
	/* When memory is short the kernel takes back what it told. */
	if (distance(edge, told) > 0)
		edge = told;
	/* Nothing may come to lie on what was not read. */
	if (distance(edge, end) > BEHIND_EDGE || end - begin > MOST_PAYLOAD ||
	    distance(READ(tp->copied_seq), end) > (__s32)settings.ring_bytes) {
		/* By the time TCP looks at it, its window may have been opened a little. */
		if (distance(edge, begin) <= (__s32)settings.ring_bytes)
			note_gap(record);
		return;
	}
	raise_held_end(record, end);
	if (!copy_payload(packet, from, index, begin, end - begin))
		note_gap(record);
	full_barrier();
	/* The connection may have ended meanwhile, and another one have begun with the same record: its ring may be spoilt. */
	if (READ(record->cookie) != cookie)
		note_gap(record);
}

#endif
