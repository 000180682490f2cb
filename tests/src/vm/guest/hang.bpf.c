/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* Keeps processors spinning with interrupts off, as a kernel does that waits for a lock nobody will ever release:
 * the timer's interrupt, when it finds the chosen process on a processor, does not come back. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define MOST_ROUNDS (1 << 23)

/* Of the chosen process; 0 until all its threads are where they are wanted. */
__u32 chosen = 0;

static long round(__u32 index, void *unused)
{
	return 0;
}

static long rounds(__u32 index, void *unused)
{
	bpf_loop(MOST_ROUNDS, round, NULL, 0);
	return 0;
}

static long rounds_of_rounds(__u32 index, void *unused)
{
	bpf_loop(MOST_ROUNDS, rounds, NULL, 0);
	return 0;
}

SEC("tp_btf/local_timer_entry")
int hang(void *unused)
{
	/* 2^69 rounds. */
	if (chosen && bpf_get_current_pid_tgid() >> 32 == chosen)
		bpf_loop(MOST_ROUNDS, rounds_of_rounds, NULL, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
