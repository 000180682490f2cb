/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* What the headers of a TCP packet say. */
#ifndef BACKDOORS_SEGMENTS_H
#define BACKDOORS_SEGMENTS_H

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_ACK 0x10
/* No operation twice, then a timestamp: how Linux begins the options of every packet of a connection that has them. */
#define STAMP_FIRST 0x0101080aU
/* Headers between IPv6's own and TCP's. */
#define HOP_BY_HOP 0
#define ROUTING 43
#define DESTINATION 60
#define MOST_EXTENSIONS 4

struct segment {
	__u32 sequence;
	__u32 acknowledged;
	/* Not scaled. */
	__u32 window;
	/* Bytes of payload, and where they begin. */
	__u32 length;
	__u32 payload;
	__u32 flags;
	__u32 remote_port;
	__u32 local_port;
	/* The end of the sender's address. */
	__u32 sender;
	__u32 stamped;
	__u32 stamp;
};

struct tcp_head {
	__u16 source;
	__u16 destination;
	__u32 sequence;
	__u32 acknowledged;
	__u8 words;
	__u8 flags;
	__u16 window;
	__u32 rest;
	/* Options. */
	__u32 first;
	__u32 stamp;
};
#define TCP_HEAD 20

/* Copies some of a packet's headers. They lie in its first piece, unless somebody made it by hand. */
static __always_inline int read_bytes(struct __sk_buff *packet, __u32 at, void *into, __u32 length)
{
	__u8 *from = (__u8 *)(long)packet->data + at;

	if (from + length > (__u8 *)(long)packet->data_end)
		return bpf_skb_load_bytes(packet, at, into, length);
	/* Where machines fault at odd addresses the verifier would refuse this. */
	__builtin_memcpy(into, __builtin_assume_aligned(from, 4), length);
	return 0;
}

/* Where the TCP header begins; 0 if there is none. */
static __always_inline __u32 find_tcp(struct __sk_buff *packet, struct segment *segment)
{
	__u8 head[40], next[2], kind;
	__u32 at;

	if (packet->protocol == bpf_htons(ETH_P_IP)) {
		if (read_bytes(packet, 0, head, 20) || head[9] != IPPROTO_TCP_NUMBER)
			return 0;
		__builtin_memcpy(&segment->sender, &head[12], sizeof(segment->sender));
		return (head[0] & 15) * 4;
	}
	if (packet->protocol != bpf_htons(ETH_P_IPV6) || read_bytes(packet, 0, head, 40))
		return 0;
	__builtin_memcpy(&segment->sender, &head[20], sizeof(segment->sender));
	kind = head[6];
	at = 40;
#pragma clang loop unroll(disable)
	for (int extension = 0; extension < MOST_EXTENSIONS; extension++) {
		if (kind != HOP_BY_HOP && kind != ROUTING && kind != DESTINATION)
			break;
		if (read_bytes(packet, at, next, sizeof(next)))
			return 0;
		kind = next[0];
		at += (next[1] + 1) * 8;
	}
	return kind == IPPROTO_TCP_NUMBER ? at : 0;
}

/* 1 if it is a TCP packet that can be read. */
__noinline int read_segment(struct __sk_buff *packet, struct segment *segment)
{
	struct tcp_head head = {};
	__u32 at, bytes;

	if (!segment)
		return 0;
	at = find_tcp(packet, segment);
	if (!at)
		return 0;
	/* With the first options, if there are any: one call is less than two. */
	if (read_bytes(packet, at, &head, sizeof(head)) && read_bytes(packet, at, &head, TCP_HEAD))
		return 0;
	bytes = (head.words >> 4) * 4;
	if (bytes < TCP_HEAD || at + bytes > packet->len)
		return 0;
	segment->stamped = bytes >= TCP_HEAD + 12 && bpf_ntohl(head.first) == STAMP_FIRST;
	segment->stamp = bpf_ntohl(head.stamp);
	segment->sequence = bpf_ntohl(head.sequence);
	segment->acknowledged = bpf_ntohl(head.acknowledged);
	segment->window = bpf_ntohs(head.window);
	segment->payload = at + bytes;
	segment->length = packet->len - segment->payload;
	segment->flags = head.flags;
	segment->remote_port = bpf_ntohs(head.source);
	segment->local_port = bpf_ntohs(head.destination);
	return 1;
}

#endif
