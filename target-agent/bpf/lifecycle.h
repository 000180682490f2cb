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
		forget(pid);
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
	if (pid == READ(control.agent.pid)) {
		start = READ(control.agent.start);
		/* The last thread to go may be younger than its process. */
		if (!start || start == task->group_leader->start_time)
			sensor_set(settings.agent_alive, 0);
	}
	forget(pid);
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
		forget(pid);
	return 0;
}

#endif
