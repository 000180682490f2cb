/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* The fence: while a monitor's word is in memory, no packet leaves that comes from a service address or claims one. The words
 * are looked at anew for each packet, so nothing needs to run for a fence to hold. */
#ifndef BACKDOORS_FENCE_H
#define BACKDOORS_FENCE_H

/* Whoever else looks at packets here decides. */
#define GO_ON (-1)
#define WITHHOLD 2
#define ETH_P_ARP 0x0806
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88a8
#define MOST_TAGS 2
#define ETHERNET_KIND 12
#define ICMPV6 58
#define SOLICITATION 135
#define ADVERTISEMENT 136

/* Anything but 0 in any slot. This is all that packets cost while nobody fences. */
static __always_inline int is_any_word_set(void)
{
	__u64 any = 0;

#pragma clang loop unroll(full)
	for (int slot = 0; slot < BD_COMMAND_SLOTS; slot++)
		any |= READ(fence.words[slot]);
	return any != 0;
}

/* 1 if the word in this slot is the one that its monitor's key makes. */
__noinline int is_fencing(__u32 slot)
{
	struct seat *seat;
	__u64 word;

	if (slot >= BD_COMMAND_SLOTS)
		return 0;
	seat = seat_of(slot);
	word = READ(fence.words[slot]);
	return seat && word && (word == READ(seat->fence) || word == READ(seat->fence_before));
}

static __always_inline int is_fenced(void)
{
	if (!is_any_word_set())
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++)
		if (is_fencing(slot))
			return 1;
	return 0;
}

/* What the timer tells of it. */
static __always_inline void tell_fence(void)
{
	__u64 held = 0;

	if (is_any_word_set()) {
#pragma clang loop unroll(disable)
		for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++)
			held |= (__u64)(__u32)is_fencing(slot) << slot;
	}
	WRITE(fence.held, held);
	sensor_set(settings.fence_held, held != 0);
}

struct whose {
	__u64 address[2];
};

__noinline int is_covered(struct whose *whose)
{
	if (!whose)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 at = 0; at < BD_MAX_FENCED; at++) {
		if (at >= settings.fenced_addresses)
			break;
		if (whose->address[0] == settings.fenced[at][0] && whose->address[1] == settings.fenced[at][1])
			return 1;
	}
	return 0;
}

static __always_inline int is_covered_v4(__u8 *address)
{
	struct whose whose = {};
	__u8 *bytes = (__u8 *)&whose;

	bytes[10] = bytes[11] = 0xff;
	__builtin_memcpy(&bytes[12], address, 4);
	return is_covered(&whose);
}

static __always_inline int is_covered_v6(__u8 *address)
{
	struct whose whose;

	__builtin_memcpy(&whose, address, sizeof(whose));
	return is_covered(&whose);
}

static __always_inline int is_covered_arp(struct __sk_buff *packet, __u32 start, __u32 at)
{
	__u8 head[8], sender[4], target[4];
	__u32 card;

	if (bpf_skb_load_bytes_relative(packet, at, head, sizeof(head), start))
		return 0;
	/* For IPv4; the addresses of cards may be of any length. */
	card = head[4];
	if (head[2] != ETH_P_IP >> 8 || head[3] != (ETH_P_IP & 0xff) || head[5] != 4 ||
	    bpf_skb_load_bytes_relative(packet, at + 8 + card, sender, sizeof(sender), start))
		return 0;
	if (is_covered_v4(sender))
		return 1;
	/* Who asks for an address without having one means to take it. */
	return !*(__u32 *)sender &&
	       !bpf_skb_load_bytes_relative(packet, at + 12 + 2 * card, target, sizeof(target), start) &&
	       is_covered_v4(target);
}

static __always_inline int is_covered_ipv6(struct __sk_buff *packet, __u32 start, __u32 at)
{
	__u8 head[40], neighbour[24];

	if (bpf_skb_load_bytes_relative(packet, at, head, sizeof(head), start))
		return 0;
	if (is_covered_v6(&head[8]))
		return 1;
	/* Neighbours may speak of an address from another one. */
	return head[6] == ICMPV6 &&
	       !bpf_skb_load_bytes_relative(packet, at + 40, neighbour, sizeof(neighbour), start) &&
	       (neighbour[0] == SOLICITATION || neighbour[0] == ADVERTISEMENT) && is_covered_v6(&neighbour[8]);
}

/* Whether what begins `at` bytes behind `start` comes from an address that is covered, or claims one. */
__noinline int is_withheld(struct __sk_buff *packet, __u32 start, __u32 at, __u32 kind)
{
	__u8 head[20];

	switch (kind) {
	case ETH_P_IP:
		return !bpf_skb_load_bytes_relative(packet, at, head, sizeof(head), start) && is_covered_v4(&head[12]);
	case ETH_P_IPV6:
		return is_covered_ipv6(packet, start, at);
	case ETH_P_ARP:
		return is_covered_arp(packet, start, at);
	}
	return 0;
}

/* The same of an Ethernet frame, behind its tags. */
static __always_inline int is_withheld_frame(struct __sk_buff *packet)
{
	__u32 at = ETHERNET_KIND;
	__u16 kind = 0;

#pragma clang loop unroll(full)
	for (int tag = 0; tag <= MOST_TAGS; tag++) {
		if (bpf_skb_load_bytes_relative(packet, at, &kind, sizeof(kind), BPF_HDR_START_MAC))
			return 0;
		kind = bpf_ntohs(kind);
		if (kind != ETH_P_8021Q && kind != ETH_P_8021AD)
			break;
		at += 4;
	}
	return is_withheld(packet, BPF_HDR_START_MAC, at + 2, kind);
}

SEC("tc")
int on_egress(struct __sk_buff *packet)
{
	if (!is_fenced())
		return GO_ON;
	/* What the kernel sends says where its headers are, also at devices without Ethernet. What programs make by hand may not,
	 * so the frame is looked at, too. */
	if (!is_withheld(packet, BPF_HDR_START_NET, 0, bpf_ntohs(packet->protocol)) && !is_withheld_frame(packet))
		return GO_ON;
	__sync_fetch_and_add(&fence.withheld, 1);
	sensor_add(settings.fence_withheld, 1);
	return WITHHOLD;
}

#endif
