/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* Signs of life of every CPU. Each word has one writer, its CPU, so plain additions and stores do. */
#ifndef BACKDOORS_SENSORS_H
#define BACKDOORS_SENSORS_H

/* Order of a CPU's records; `src/kernel/shape.rs` lays them out so. What a context switch changes shares a cache line;
 * a record is left free, so that no line is two CPUs'. */
enum cpu_record {
	CPU_SWITCHES,
	CPU_BUSY,
	CPU_TICKS,
	CPU_INTERRUPTS,
	CPU_SOFTIRQS,
	CPU_FREE,
	CPU_RECORDS,
};

/* Every how many context switches a process is looked at. */
#define LOOK_EVERY 16
/* A tick later than this tells nothing about what ran in between. */
#define LONGEST_TICK 20000000ULL
#define MAX_CPUS 1024

static __u64 last_tick[MAX_CPUS];

static __always_inline struct bd_sensor *cpu_records(void)
{
	__u32 cpu = bpf_get_smp_processor_id();
	__u32 record = settings.first_cpu + cpu * CPU_RECORDS;

	if (cpu >= settings.cpus || record > MAX_RECORDS - CPU_RECORDS)
		return NULL;
	return &sensors.records[record];
}

static __always_inline __u64 *cpu_word(enum cpu_record which)
{
	struct bd_sensor *records = cpu_records();

	return records ? &records[which].value : NULL;
}

/* Only the idle tasks of all CPUs have the number 0. */
static __always_inline __u64 is_busy(struct task_struct *task)
{
	return task->pid != 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, _Bool preempt, struct task_struct *previous, struct task_struct *next)
{
	struct bd_sensor *records = cpu_records();
	__u64 count;

	if (!records)
		return 0;
	count = records[CPU_SWITCHES].value + 1;
	records[CPU_SWITCHES].value = count;
	records[CPU_BUSY].value = is_busy(next);
	if (!(count % LOOK_EVERY))
		look_at_running(previous, 0);
	if (READ(control.hunting))
		on_running(previous);
	return 0;
}

/* Run once on every CPU by the user half, when the hook above is in place: no switch tells what ran before it. */
SEC("raw_tp")
int look_whether_busy(void *context)
{
	__u64 *word = cpu_word(CPU_BUSY);

	if (!word)
		return 0;
	*word = is_busy(bpf_get_current_task_btf());
	return 1;
}

/* Exists on x86. */
SEC("tp_btf/local_timer_entry")
int BPF_PROG(on_tick)
{
	__u64 *word = cpu_word(CPU_TICKS);
	__u32 cpu = bpf_get_smp_processor_id();
	struct task_struct *task;
	__u64 now, elapsed;

	if (!word || cpu >= MAX_CPUS)
		return 0;
	*word += 1;
	now = bpf_ktime_get_ns();
	elapsed = now - last_tick[cpu];
	last_tick[cpu] = now;
	task = bpf_get_current_task_btf();
	look_at_running(task, elapsed < LONGEST_TICK ? elapsed : 0);
	if (READ(control.hunting))
		on_running(task);
	return 0;
}

SEC("tp_btf/irq_handler_entry")
int BPF_PROG(on_interrupt)
{
	__u64 *word = cpu_word(CPU_INTERRUPTS);

	if (word)
		*word += 1;
	return 0;
}

SEC("tp_btf/softirq_entry")
int BPF_PROG(on_softirq)
{
	__u64 *word = cpu_word(CPU_SOFTIRQS);

	if (word)
		*word += 1;
	return 0;
}

static __always_inline void count_oom(__u32 pid)
{
	if (pid && (!settings.scoped || bpf_map_lookup_elem(&tracked, &pid)))
		sensor_add(settings.oom_kills, 1);
}

/* Since 6.9 the victim is passed itself. */
SEC("tp_btf/mark_victim")
int BPF_PROG(on_oom_kill, struct task_struct *victim)
{
	count_oom(scope_pid(victim));
	return 0;
}

/* Before, its process id, as the whole machine numbers it: a narrower scope cannot tell whose it is. */
SEC("tp_btf/mark_victim")
int BPF_PROG(on_oom_kill_before_6_9, int pid)
{
	if (!settings.scoped)
		count_oom(pid);
	return 0;
}

#endif
