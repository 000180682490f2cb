/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* The process table and the counts that go with it. A process is a thread group: it starts with its first
 * thread and is gone when its last thread exits, whichever that is. */
#ifndef BACKDOORS_PROCESSES_H
#define BACKDOORS_PROCESSES_H

#define MAX_DEPTH_WALK 64
/* Writers of one entry meet for a few dozen instructions, unless an interrupt comes in between. */
#define GUARD_ATTEMPTS 65536

static __always_inline __u32 user_of(struct task_struct *task)
{
	return task->real_cred->uid.val;
}

static __always_inline int is_dead(struct task_struct *task)
{
	return task->signal->live.counter == 0;
}

/* Brings up to date how much memory the process has. */
static __always_inline void write_memory(struct bd_process *record, struct task_struct *task)
{
	struct mm_struct *mm = task->mm;
	struct mm_struct___before_6_2 *old = (void *)mm;
	__s64 pages = 0, swapped = 0;

	if (mm && bpf_core_type_exists(struct mm_rss_stat)) {
		/* Copied, because a typedef lies on the way that the verifier does not look through. */
		pages = BPF_CORE_READ(old, rss_stat.count[MM_FILEPAGES].counter) +
			BPF_CORE_READ(old, rss_stat.count[MM_ANONPAGES].counter) +
			BPF_CORE_READ(old, rss_stat.count[MM_SHMEMPAGES].counter);
		swapped = BPF_CORE_READ(old, rss_stat.count[MM_SWAPENTS].counter);
	} else if (mm && bpf_core_field_exists(mm->rss_stat[0].count)) {
		pages = mm->rss_stat[MM_FILEPAGES].count + mm->rss_stat[MM_ANONPAGES].count +
			mm->rss_stat[MM_SHMEMPAGES].count;
		swapped = mm->rss_stat[MM_SWAPENTS].count;
	}
	WRITE(record->rss, pages > 0 ? (__u64)pages * settings.page_bytes : 0);
	WRITE(record->swap, swapped > 0 ? (__u64)swapped * settings.page_bytes : 0);
}

/* Followed without a call for each step: a process has a control group as long as it is in a list of tasks. Should one of
 * these pointers lead nowhere all the same, what is read there is 0. */
static __always_inline struct kernfs_node *cgroup_node(struct task_struct *task)
{
	return task->cgroups->dfl_cgrp->kn;
}

static __always_inline __u64 cgroup_of(struct task_struct *task)
{
	return cgroup_node(task)->id;
}

/* Only for who holds the guard. */
static __always_inline void write_cgroup(struct bd_process *record, struct task_struct *task)
{
	struct kernfs_node *node = cgroup_node(task);

	record->cgroup = node->id;
	__builtin_memset(record->cgroup_name, 0, sizeof(record->cgroup_name));
	bpf_probe_read_kernel_str(record->cgroup_name, sizeof(record->cgroup_name), node->name);
}

/* The first word of an entry holds sequence and pid, so that both change at once. */
static __always_inline __u64 *guard_of(struct bd_process *entry)
{
	return (__u64 *)entry;
}

/* Makes the sequence odd; returns the guard as it was, or 1 if another writer holds it. */
static __always_inline __u64 try_guard(struct bd_process *entry)
{
	__u64 guard = READ(*guard_of(entry));

	if (guard & 1 || __sync_val_compare_and_swap(guard_of(entry), guard, guard | 1) != guard)
		return 1;
	return guard;
}

struct guard_wait {
	struct bd_process *entry;
	__u64 guard;
};

static long retry_guard(__u32 attempt, void *context)
{
	struct guard_wait *wait = context;

	wait->guard = try_guard(wait->entry);
	return !(wait->guard & 1);
}

static __always_inline __u64 take_guard(struct bd_process *entry)
{
	struct guard_wait wait = { .entry = entry, .guard = try_guard(entry) };

	if (!(wait.guard & 1))
		return wait.guard;
	bpf_loop(GUARD_ATTEMPTS, retry_guard, &wait, 0);
	/* If it is still held, whoever held it is gone for good, and nobody must wait for it any more. */
	return wait.guard & 1 ? READ(*guard_of(entry)) & ~1ULL : wait.guard;
}

static __always_inline void release_guard(struct bd_process *entry, __u64 guard, __u32 pid)
{
	full_barrier();
	WRITE(*guard_of(entry), (__u64)pid << 32 | (__u32)((__u32)guard + 2));
}

static __always_inline __u32 take_entry(void)
{
	struct bd_process_table_header *header = table_header();
	__u32 entry, high;

	if (!header || bpf_map_pop_elem(&free_entries, &entry))
		return NONE;
	for (int attempt = 0; attempt < 8; attempt++) {
		high = READ(header->high_water);
		if (high > entry || __sync_val_compare_and_swap(&header->high_water, high, entry + 1) == high)
			break;
	}
	return entry;
}

static __always_inline void give_back(__u32 entry)
{
	struct bd_process *record = table_entry(entry);
	__u64 *sentence = bpf_map_lookup_elem(&condemned, &entry);

	if (!record)
		return;
	release_guard(record, take_guard(record), 0);
	if (sentence)
		WRITE(*sentence, 0);
	bpf_map_push_elem(&free_entries, &entry, BPF_ANY);
}

static __always_inline void write_entry(__u32 entry, struct task_struct *task, __u32 pid, __u32 parent, __u32 user,
					__u32 depth)
{
	struct bd_process *record = table_entry(entry);
	__u64 guard;

	if (!record)
		return;
	guard = take_guard(record);
	full_barrier();
	record->parent = parent;
	record->user = user;
	record->depth = depth;
	record->flags = is_protected(pid, task->start_time) ? BD_PROCESS_PROTECTED : 0;
	record->start = task->start_time;
	record->cpu_time = 0;
	write_memory(record, task);
	write_cgroup(record, task);
	bpf_core_read(record->command, sizeof(record->command), &task->comm);
	release_guard(record, guard, pid);
}

/* In victims.h. */
__noinline int note_death(struct tracked *process, __u32 pid);

/* Number of the last walk through all tasks, see lifecycle.h. */
static __u32 walk;

/* Everybody who changes these bits changes each of them once. */
#define CLAIM_ATTEMPTS 32

/* Makes the process nobody's: of several who would forget it, one may. Returns its marks, or 0. */
static __always_inline __u64 claim(struct tracked *process, __u32 pid)
{
	__u64 marks;

	for (int attempt = 0; attempt < CLAIM_ATTEMPTS; attempt++) {
		marks = READ(process->marks);
		if (marks >> 32 != pid)
			return 0;
		if (__sync_val_compare_and_swap(&process->marks, marks, (__u32)marks) == marks)
			return marks;
	}
	return 0;
}

/* Forgets the process that had this number since then. Several threads may come here for one process, and the number may
 * have a new owner before they are through: only who claims the element takes it away, and only with what it holds. */
__noinline int forget(__u32 pid, __u64 start)
{
	struct tracked *process = bpf_map_lookup_elem(&tracked, &pid);
	__u32 entry, pair, kernel;
	__u64 marks;

	if (!process || process->start != start)
		return 0;
	marks = claim(process, pid);
	if (!marks)
		return 0;
	note_death(process, pid);
	entry = process->entry;
	pair = READ(process->owner);
	kernel = process->kernel;
	if (bpf_map_delete_elem(&tracked, &pid)) {
		/* The kernel would have had to wait for a lock. The next walk comes here again. */
		WRITE(process->marks, marks);
		return 0;
	}
	if (kernel)
		return 0;
	if (entry == NONE)
		sensor_add(settings.processes_lost, -1);
	else
		give_back(entry);
	sensor_add(settings.processes, -1);
	count_user(pair, -1);
	return 1;
}

static __always_inline __u64 owner_of(struct task_struct *task)
{
	__u32 user = user_of(task);

	return (__u64)user << 32 | pair_of(user);
}

static __always_inline long insert(__u32 pid, struct tracked *process)
{
	struct tracked *before;
	long error;

	/* Whoever is learned of is in the list of tasks by now: a walk that begins later than this look meets it. */
	full_barrier();
	process->seen = READ(walk);
	error = bpf_map_update_elem(&tracked, &pid, process, BPF_NOEXIST);
	if (error != -EEXIST)
		return error;
	before = bpf_map_lookup_elem(&tracked, &pid);
	if (!before || before->start == process->start)
		return error;
	/* Its end was missed; it must not stand in the way of the one that has its number now. */
	forget(pid, before->start);
	return bpf_map_update_elem(&tracked, &pid, process, BPF_NOEXIST);
}

/* Learns of a process; returns 1 if it was not known. `tree` are the commands whose tree it is born
 * into. */
static __always_inline int learn(struct task_struct *task, __u32 pid, __u32 parent, __u64 owner, __u32 depth,
				 __u32 tree)
{
	struct bd_process_table_header *header = table_header();
	struct tracked process = {
		.marks = (__u64)pid << 32 | (__u64)tree << 16,
		.struck = (__u64)pid << 32,
		.start = task->start_time,
		.entry = NONE,
		.depth = depth,
		.kernel = !!(task->flags & PF_KTHREAD),
	};
	long error;

	process.owner = owner;
	if (process.kernel)
		return !insert(pid, &process);
	process.entry = take_entry();
	if (process.entry != NONE)
		write_entry(process.entry, task, pid, parent, owner >> 32, depth);
	error = insert(pid, &process);
	if (error && process.entry != NONE)
		give_back(process.entry);
	if (error == -EEXIST)
		return 0;
	if (header && (error || process.entry == NONE))
		__sync_fetch_and_add(&header->lost, 1);
	if (error)
		return 0;
	if (process.entry == NONE)
		sensor_add(settings.processes_lost, 1);
	sensor_add(settings.processes, 1);
	count_user((__u32)owner, 1);
	return 1;
}

/* A process runs under another user than when it was last looked at. Its own threads may notice together. */
__noinline int follow_user(struct tracked *process, __u32 user)
{
	struct bd_process *record;
	__u64 before, after, guard;

	if (!process)
		return 0;
	before = READ(process->owner);
	if (before >> 32 == user)
		return 0;
	after = (__u64)user << 32 | pair_of(user);
	if (__sync_val_compare_and_swap(&process->owner, before, after) != before)
		return 0;
	count_user((__u32)before, -1);
	count_user((__u32)after, 1);
	record = table_entry(process->entry);
	if (record) {
		guard = take_guard(record);
		record->user = user;
		release_guard(record, guard, guard >> 32);
	}
	return 1;
}

/* A process is in another control group than when it was last looked at. */
static __noinline int follow_cgroup(struct bd_process *record, struct task_struct *task)
{
	__u64 guard;

	guard = try_guard(record);
	if (guard & 1)
		return 0;
	full_barrier();
	write_cgroup(record, task);
	release_guard(record, guard, guard >> 32);
	return 1;
}

/* Brings memory, CPU time, user and control group of a process up to date. Only for the task that runs on this CPU: then its
 * process cannot end meanwhile. `elapsed` nanoseconds went by since the last look, if it has several threads. */
static __always_inline void look_at_running(struct task_struct *task, __u64 elapsed)
{
	struct bd_process *record;
	struct tracked *process;
	__u32 pid, user;
	__u64 time;

	if (task->flags & (PF_EXITING | PF_KTHREAD))
		return;
	pid = scope_pid(task);
	if (!pid)
		return;
	process = bpf_map_lookup_elem(&tracked, &pid);
	if (!process)
		return;
	user = user_of(task);
	if (READ(process->owner) >> 32 != user)
		follow_user(process, user);
	record = table_entry(process->entry);
	if (!record)
		return;
	write_memory(record, task);
	if (cgroup_of(task) != READ(record->cgroup))
		follow_cgroup(record, task);
	if (task->signal->nr_threads == 1) {
		time = task->signal->sum_sched_runtime + task->se.sum_exec_runtime;
		if (time > READ(record->cpu_time))
			WRITE(record->cpu_time, time);
	} else if (elapsed) {
		__sync_fetch_and_add(&record->cpu_time, elapsed);
	}
}

#endif
