/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* Which processes are seen, and by which number. */
#ifndef BACKDOORS_SCOPE_H
#define BACKDOORS_SCOPE_H

/* Deepest nesting of pid namespaces the kernel allows. */
#define MAX_LEVEL 32

static __always_inline struct upid number_at(struct pid *pid, __u32 level)
{
	struct upid number = {};
	__u32 size = bpf_core_type_size(struct upid);

	bpf_core_read(&number.nr, sizeof(number.nr),
		      &((struct upid *)((void *)&pid->numbers[0] + level * size))->nr);
	bpf_core_read(&number.ns, sizeof(number.ns),
		      &((struct upid *)((void *)&pid->numbers[0] + level * size))->ns);
	return number;
}

/* The process id of the task's process as the scope numbers it; 0 if it lies outside. */
static __always_inline __u32 scope_pid(struct task_struct *task)
{
	struct pid *pid;
	struct upid number;
	__u32 level;

	if (!settings.scoped)
		return BPF_CORE_READ(task, tgid);
	level = control.scope_level;
	pid = BPF_CORE_READ(task, group_leader, thread_pid);
	if (!pid || level > MAX_LEVEL || BPF_CORE_READ(pid, level) < level)
		return 0;
	number = number_at(pid, level);
	if (!number.ns || BPF_CORE_READ(number.ns, ns.inum) != control.scope_namespace)
		return 0;
	return number.nr;
}

/* Run once by the user half: the scope is the pid namespace of whoever runs it. Level 0 is the whole machine. */
SEC("tc")
int find_scope(struct __sk_buff *packet)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);
	struct upid number;
	__u32 level;

	if (!pid)
		return 0;
	level = BPF_CORE_READ(pid, level);
	if (level > MAX_LEVEL)
		return 0;
	number = number_at(pid, level);
	control.scope_level = level;
	control.scope_namespace = number.ns ? BPF_CORE_READ(number.ns, ns.inum) : 0;
	return 1;
}

#endif
