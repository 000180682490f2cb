/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* How much memory there is, and how much work stands still for want of it. Read from the kernel's own variables by name,
 * which takes a kernel that lists them (CONFIG_KALLSYMS_ALL); elsewhere the user half fills these sensors. */
#ifndef BACKDOORS_PRESSURE_H
#define BACKDOORS_PRESSURE_H

/* Windows of the timer that make up the last second. */
#define STALL_WINDOWS 10
/* Stalls and busy times are weighed in microseconds, so that their products fit. */
#define MICROSECOND 1000

extern const void vm_zone_stat __ksym __weak;
extern const void vm_node_stat __ksym __weak;
extern const void totalreserve_pages __ksym __weak;
extern const void _totalram_pages __ksym __weak;
extern const void nr_swap_pages __ksym __weak;
extern const void total_swap_pages __ksym __weak;
extern const void psi_system __ksym __weak;
extern const void __per_cpu_offset __ksym __weak;

/* What a CPU's accounts said at the last window; they wrap every four seconds. */
struct stall_account {
	__u32 stalled;
	__u32 busy;
};

static struct stall_account stall_accounts[MAX_CPUS];
static __u64 stalls[STALL_WINDOWS];
static __u32 stall_window;
/* The accounts were looked at before: what they counted until then is nobody's last second. */
static __u32 stalls_known;

static __always_inline __u64 kernel_word(const void *variable, __u32 index)
{
	__u64 word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), variable + index * sizeof(word));
	return word;
}

/* Counts of pages are sums of what CPUs add now and then, and may be below zero for a moment. */
static __always_inline __u64 count_of_pages(const void *counts, __u32 item)
{
	__s64 pages = kernel_word(counts, item);

	return pages > 0 ? pages : 0;
}

static __always_inline __u64 zone_pages(enum zone_stat_item item)
{
	return count_of_pages(&vm_zone_stat, item);
}

static __always_inline __u64 node_pages(enum node_stat_item item)
{
	return count_of_pages(&vm_node_stat, item);
}

/* Of pages that can be reclaimed, those that will be: some are always in use (si_mem_available). Here what is kept is
 * bounded by the kernel's reserve, which is no less than the low watermarks there, so never more is shown. */
static __always_inline __u64 reclaimable(__u64 pages, __u64 reserve)
{
	__u64 half = pages / 2;

	return pages - (half < reserve ? half : reserve);
}

static __always_inline __u64 available_pages(void)
{
	__u64 reserve = kernel_word(&totalreserve_pages, 0), pages, cache, slab;

	pages = zone_pages(bpf_core_enum_value(enum zone_stat_item, NR_FREE_PAGES));
	cache = node_pages(bpf_core_enum_value(enum node_stat_item, NR_ACTIVE_FILE)) +
		node_pages(bpf_core_enum_value(enum node_stat_item, NR_INACTIVE_FILE));
	slab = node_pages(bpf_core_enum_value(enum node_stat_item, NR_SLAB_RECLAIMABLE_B)) +
	       node_pages(bpf_core_enum_value(enum node_stat_item, NR_KERNEL_MISC_RECLAIMABLE));
	pages += reclaimable(cache, reserve) + reclaimable(slab, reserve);
	return pages > reserve ? pages - reserve : 0;
}

struct stall_sum {
	__u64 weighed;
	__u64 busy;
};

/* Pressure stall information is kept per CPU and weighed by how long each was not idle (kernel/sched/psi.c,
 * collect_percpu_times). */
static long add_cpu(__u32 cpu, void *context)
{
	__u64 index = cpu, offset = kernel_word(&__per_cpu_offset, cpu), base = 0;
	struct psi_group *group = (void *)&psi_system;
	struct psi_group_cpu *account;
	struct stall_sum *sum = context;
	__u32 stalled = 0, busy = 0;
	__u64 stalled_for, busy_for;

	/* The compiler shall not move the bound away from what the verifier looks at. */
	barrier_var(index);
	if (index >= MAX_CPUS)
		return 1;
	bpf_probe_read_kernel(&base, sizeof(base),
			      (void *)group + bpf_core_field_offset(struct psi_group, pcpu));
	account = (void *)(base + offset);
	bpf_probe_read_kernel(&stalled, sizeof(stalled),
			      (void *)account + bpf_core_field_offset(struct psi_group_cpu, times) +
				      sizeof(__u32) * bpf_core_enum_value(enum psi_states, PSI_MEM_FULL));
	bpf_probe_read_kernel(&busy, sizeof(busy),
			      (void *)account + bpf_core_field_offset(struct psi_group_cpu, times) +
				      sizeof(__u32) * bpf_core_enum_value(enum psi_states, PSI_NONIDLE));
	stalled_for = (__u32)(stalled - stall_accounts[index].stalled) / MICROSECOND;
	busy_for = (__u32)(busy - stall_accounts[index].busy) / MICROSECOND;
	stall_accounts[index].stalled = stalled;
	stall_accounts[index].busy = busy;
	sum->weighed += stalled_for * busy_for;
	sum->busy += busy_for;
	return 0;
}

/* Nanoseconds of the last second; `window` is the time since the last call. */
static __always_inline __u64 stalled_of_second(__u64 window)
{
	struct stall_sum sum = {};
	__u64 stalled, all = 0;
	__u32 next = stall_window;

	bpf_loop(settings.cpus, add_cpu, &sum, 0);
	stalled = READ(stalls_known) && sum.busy ? sum.weighed / sum.busy * MICROSECOND : 0;
	WRITE(stalls_known, 1);
	/* Accounts are brought up to date when a task changes its state, which may be later than here. */
	if (stalled > window)
		stalled = window;
	if (next >= STALL_WINDOWS)
		next = 0;
	stalls[next] = stalled;
	stall_window = next + 1;
	for (__u32 index = 0; index < STALL_WINDOWS; index++)
		all += stalls[index];
	return all;
}

__noinline int look_at_memory(__u64 window)
{
	__u64 page = settings.page_bytes;

	if (!settings.sees_memory)
		return 0;
	sensor_set(settings.memory_available, available_pages() * page);
	sensor_set(settings.memory_available + 1, kernel_word(&_totalram_pages, 0) * page);
	sensor_set(settings.memory_available + 2, kernel_word(&nr_swap_pages, 0) * page);
	sensor_set(settings.memory_available + 3, kernel_word(&total_swap_pages, 0) * page);
	if (settings.sees_stalls)
		sensor_set(settings.memory_available + 4, stalled_of_second(window));
	return 0;
}

#endif
