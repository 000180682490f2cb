/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* Hooks on the life of a process: birth, new program, end. */
#ifndef BACKDOORS_LIFECYCLE_H
#define BACKDOORS_LIFECYCLE_H

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	struct tracked *from;
	__u32 pid, parent_pid, pair, depth = 0, tree = 0;
	__u64 owner;

	if (child->pid != child->tgid)
		return 0;
	pid = scope_pid(child);
	if (!pid)
		return 0;
	parent_pid = scope_pid(child->real_parent);
	from = bpf_map_lookup_elem(&tracked, &parent_pid);
	if (from) {
		if (!from->kernel)
			depth = from->depth + 1;
		tree = (__u32)READ(from->marks) >> 16;
		if (READ(from->owner) >> 32 != user_of(parent) && parent_pid == scope_pid(parent) && !from->kernel)
			follow_user(from, user_of(parent));
	}
	owner = child->flags & PF_KTHREAD ? NONE : owner_of(child);
	learn(child, pid, parent_pid, owner, depth, tree);
	if (!(child->flags & PF_KTHREAD)) {
		sensor_add(settings.forks, 1);
		pair = owner;
		if (pair < USER_PAIRS)
			__sync_fetch_and_add(&pairs[pair].forks, 1);
		else
			sensor_add(settings.users_lost, 1);
		if (READ(control.hunting))
			on_birth(child, pid);
	}
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task)
{
	__u32 pid = scope_pid(task);
	struct tracked *process = bpf_map_lookup_elem(&tracked, &pid);
	struct bd_process *record;
	__u64 guard;

	if (!pid)
		return 0;
	if (process && process->kernel && !(task->flags & PF_KTHREAD)) {
		/* The kernel started a program in what was one of its threads. */
		forget(pid, process->start);
		process = NULL;
	}
	if (!process) {
		learn(task, pid, scope_pid(task->real_parent), owner_of(task), 0, 0);
		return 0;
	}
	follow_user(process, user_of(task));
	record = table_entry(process->entry);
	if (!record)
		return 0;
	guard = take_guard(record);
	full_barrier();
	bpf_core_read(record->command, sizeof(record->command), &task->comm);
	/* Who starts a service moves it before it becomes one. */
	write_cgroup(record, task);
	release_guard(record, guard, pid);
	return 0;
}

/* A process has ended: those who watch the agent must know if it was that. */
static __always_inline void note_end(__u32 pid, __u64 started)
{
	__u64 start;

	if (pid != READ(control.agent.pid))
		return;
	start = READ(control.agent.start);
	if (!start || start == started)
		sensor_set(settings.agent_alive, 0);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	__u64 start;
	__u32 pid;

	if (task->signal->live.counter)
		return 0;
	pid = scope_pid(task);
	if (!pid)
		return 0;
	/* The last thread to go may be younger than its process. */
	start = task->group_leader->start_time;
	note_end(pid, start);
	forget(pid, start);
	return 0;
}

/* The kernel does not call a hook that already runs on the CPU. From 7.0 on these hooks can be preempted, so that whoever
 * forks or ends while another does goes unheard; before, they cannot, and nobody is missed. Where the timer can walk all
 * tasks (6.13 and later) it finds out, with no agent left alive. */
__u64 missed_births;
__u64 missed_ends;

/* Of the known processes, kernel threads aside: those that the walk met, and how many it did not. */
static __u32 met;
static __u32 unmet;

/* Somebody is there. */
static __noinline int meet(struct task_struct *task)
{
	__u32 pid = scope_pid(task), parent, depth = 0;
	struct tracked *known, *above;

	if (!pid || is_dead(task))
		return 0;
	known = bpf_map_lookup_elem(&tracked, &pid);
	if (known && known->start == task->start_time) {
		WRITE(known->seen, READ(walk));
		met += !known->kernel;
		return 0;
	}
	parent = scope_pid(task->real_parent);
	above = bpf_map_lookup_elem(&tracked, &parent);
	if (above && !above->kernel)
		depth = above->depth + 1;
	if (learn(task, pid, parent, task->flags & PF_KTHREAD ? NONE : owner_of(task), depth, 0)) {
		missed_births++;
		met += !(task->flags & PF_KTHREAD);
	}
	/* If it ended meanwhile, its end found nothing to forget. */
	if (is_dead(task))
		forget(pid, task->start_time);
	return 0;
}

/* Learns of all processes that are not known, and finds out whether all that are known are there. */
__noinline int walk_tasks(void)
{
	struct bpf_iter_task it;
	struct task_struct *task;

	/* Older kernels look at this function even if nothing calls it. */
	if (!settings.kills_all || settings.processes >= MAX_RECORDS)
		return 0;
	WRITE(walk, READ(walk) + 1);
	full_barrier();
	met = 0;
	bpf_iter_task_new(&it, NULL, 0);
	while ((task = bpf_iter_task_next(&it)))
		meet(task);
	bpf_iter_task_destroy(&it);
	unmet = READ(sensors.records[settings.processes].value) - met;
	return 0;
}

static long drop_if_gone(void *map, __u32 *key, struct tracked *process, void *context)
{
	__u64 start = process->start;
	__u32 pid = *key;

	if (READ(process->seen) == READ(walk))
		return 0;
	note_end(pid, start);
	if (forget(pid, start))
		missed_ends++;
	return 0;
}

/* Forgets whom the last walk did not meet. */
__noinline int forget_unmet(void)
{
	bpf_for_each_map_elem(&tracked, drop_if_gone, NULL, 0);
	unmet = 0;
	return 0;
}

/* What no hook tells: a new parent, a new name, protection, the memory and control group of who sleeps. Skipped if another writer is at work. */
static __always_inline void refresh(struct task_struct *task, __u32 pid, __u32 parent)
{
	struct tracked *process = bpf_map_lookup_elem(&tracked, &pid);
	struct bd_process *record = process ? table_entry(process->entry) : NULL;
	__u64 guard, name[2];
	__u32 flags;

	if (!record)
		return;
	write_memory(record, task);
	flags = is_protected(pid, process->start) ? BD_PROCESS_PROTECTED : 0;
	bpf_core_read(name, sizeof(name), &task->comm);
	if (record->parent == parent && record->flags == flags && record->cgroup == cgroup_of(task) &&
	    name[0] == *(__u64 *)&record->command[0] &&
	    name[1] == *(__u64 *)&record->command[8])
		return;
	guard = try_guard(record);
	if (guard & 1)
		return;
	full_barrier();
	if (guard >> 32 == pid) {
		record->parent = parent;
		record->flags = flags;
		__builtin_memcpy(record->command, name, sizeof(name));
		write_cgroup(record, task);
	}
	release_guard(record, guard, guard >> 32);
}

/* Read by the user half, first when the hooks above are in place: learns of what was there before. */
SEC("iter/task")
int seed(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task, *ancestor;
	__u32 pid, parent, depth = 0, next;
	struct tracked *known;

	if (!task || task->pid != task->tgid)
		return 0;
	pid = scope_pid(task);
	if (!pid || is_dead(task))
		return 0;
	ancestor = BPF_CORE_READ(task, real_parent);
	parent = scope_pid_of(ancestor);
	next = parent;
	for (int step = 0; step < MAX_DEPTH_WALK && next && next != pid; step++) {
		if (BPF_CORE_READ(ancestor, flags) & PF_KTHREAD)
			break;
		depth++;
		if (next == 1)
			break;
		ancestor = BPF_CORE_READ(ancestor, real_parent);
		next = scope_pid_of(ancestor);
	}
	known = bpf_map_lookup_elem(&tracked, &pid);
	if (known && known->start == task->start_time) {
		refresh(task, pid, parent);
		return 0;
	}
	learn(task, pid, parent, task->flags & PF_KTHREAD ? NONE : owner_of(task), depth, 0);
	/* If it ended meanwhile, its end found nothing to forget. */
	if (is_dead(task))
		forget(pid, task->start_time);
	return 0;
}

#endif
