/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* The kernel half's own clockwork: needs no process, no scheduler and no user space. */
#ifndef BACKDOORS_TIMER_H
#define BACKDOORS_TIMER_H

#define WINDOW 100000000ULL

static __u64 window_start;
static __u32 windows;

static int on_timer(void *map, __u32 *key, struct clockwork *work)
{
	__u64 now = bpf_ktime_get_ns();

	sensor_add(settings.kernel_timer, 1);
	WRITE(sensors.header.clock, now);
	if (now - window_start >= WINDOW) {
		look_at_memory(now - window_start);
		window_start = now;
		for (__u32 pair = 0; pair < USER_PAIRS; pair++)
			tend_pair(pair, now);
		windows++;
		if (windows % WINDOWS_PER_SECOND == 0)
			walk_tasks();
		/* Not in the same tick, for each takes its time: about half a millisecond with 1500 processes. */
		else if (unmet)
			forget_unmet();
	}
	tell_fence();
	obey(now);
	bpf_timer_start(&work->timer, settings.tick, 0);
	return 0;
}

/* Run once by the user half. */
SEC("tc")
int start_timer(struct __sk_buff *packet)
{
	__u32 first = 0;
	struct clockwork *work = bpf_map_lookup_elem(&clockwork, &first);

	if (!work)
		return 0;
	window_start = bpf_ktime_get_ns();
	if (bpf_timer_init(&work->timer, &clockwork, CLOCK_MONOTONIC) ||
	    bpf_timer_set_callback(&work->timer, on_timer) || bpf_timer_start(&work->timer, settings.tick, 0))
		return 0;
	return 1;
}

#endif
