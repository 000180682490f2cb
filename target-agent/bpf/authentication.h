/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* Whose a command is. SipHash-2-4 with 128 bits of output, over the 32 words that sensor-box/src/authentication.rs
 * names; that file and this one must say the same. */
#ifndef BACKDOORS_AUTHENTICATION_H
#define BACKDOORS_AUTHENTICATION_H

#define REASON_WORDS (sizeof(((struct bd_command *)0)->reason) / 8)

struct sip_state {
	__u64 v0, v1, v2, v3;
};

static __always_inline __u64 rotated(__u64 word, __u32 bits)
{
	return word << bits | word >> (64 - bits);
}

static __always_inline void sip_round(struct sip_state *state)
{
	state->v0 += state->v1;
	state->v1 = rotated(state->v1, 13) ^ state->v0;
	state->v0 = rotated(state->v0, 32);
	state->v2 += state->v3;
	state->v3 = rotated(state->v3, 16) ^ state->v2;
	state->v0 += state->v3;
	state->v3 = rotated(state->v3, 21) ^ state->v0;
	state->v2 += state->v1;
	state->v1 = rotated(state->v1, 17) ^ state->v2;
	state->v2 = rotated(state->v2, 32);
}

static __always_inline void sip_word(struct sip_state *state, __u64 word)
{
	state->v3 ^= word;
	sip_round(state);
	sip_round(state);
	state->v0 ^= word;
}

static __always_inline __u64 sip_end(struct sip_state *state)
{
	for (int round = 0; round < 4; round++)
		sip_round(state);
	return state->v0 ^ state->v1 ^ state->v2 ^ state->v3;
}

static __always_inline struct seat *seat_of(__u32 slot)
{
	/* A copy: of what is on the stack older kernels forget the bounds. */
	__u32 key = slot;

	return bpf_map_lookup_elem(&seats, &key);
}

/* Whether the code on a command is the one that the slot's key makes of it. Takes the same time whichever bits are wrong. */
__noinline int is_authentic(struct bd_command *command, __u32 slot)
{
	struct seat *seat = seat_of(slot);
	struct sip_state state;
	__u64 low, high;

	if (!command || !seat || !READ(seat->admitted))
		return 0;
	low = READ(seat->key[0]);
	high = READ(seat->key[1]);
	state.v0 = low ^ 0x736f6d6570736575ULL;
	state.v1 = high ^ 0x646f72616e646f6dULL ^ 0xee;
	state.v2 = low ^ 0x6c7967656e657261ULL;
	state.v3 = high ^ 0x7465646279746573ULL;
	sip_word(&state, command->opcode | (__u64)command->flags << 32);
	sip_word(&state, command->subject);
	sip_word(&state, command->start);
	sip_word(&state, command->most_victims);
	sip_word(&state, command->argument);
	sip_word(&state, command->token);
	sip_word(&state, command->sequence);
	sip_word(&state, slot);
	sip_word(&state, READ(sensors.header.generation));
#pragma clang loop unroll(disable)
	for (int word = 0; word < REASON_WORDS; word++)
		sip_word(&state, command->reason[word]);
	/* The length in bytes, modulo 256. */
	sip_word(&state, 0);
	state.v2 ^= 0xee;
	low = sip_end(&state);
	state.v1 ^= 0xdd;
	high = sip_end(&state);
	return !((low ^ command->mac[0]) | (high ^ command->mac[1]));
}

/* Whether the target's configuration lets the slot's monitor do this. */
static __always_inline int may(__u32 slot, __u32 opcode)
{
	struct seat *seat = seat_of(slot);

	return seat && opcode < 64 && READ(seat->may) >> opcode & 1;
}

#endif
