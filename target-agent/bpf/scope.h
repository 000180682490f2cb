/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* Which processes are seen, and by which number. */
#ifndef BACKDOORS_SCOPE_H
#define BACKDOORS_SCOPE_H

/* Deepest nesting of pid namespaces the kernel allows. */
#define MAX_LEVEL 32

/* The number that a pid has at this level, if the namespace there is the scope's; else 0. */
static __always_inline __u32 number_in_scope(struct pid *pid, __u32 level)
{
	__u32 size = bpf_core_type_size(struct upid), namespace = 0;
	struct upid *number = (void *)&pid->numbers[0] + level * size;
	struct pid_namespace *ns = NULL;
	int nr = 0;

	bpf_core_read(&nr, sizeof(nr), &number->nr);
	bpf_core_read(&ns, sizeof(ns), &number->ns);
	bpf_core_read(&namespace, sizeof(namespace), &ns->ns.inum);
	return namespace == control.scope_namespace ? nr : 0;
}

/* The process id of the task's process as the scope numbers it; 0 if it lies outside. For tasks that the kernel
 * handed to the program, hence without a copy for every step. */
static __always_inline __u32 scope_pid(struct task_struct *task)
{
	__u32 level;
	struct pid *pid;

	if (!settings.scoped)
		return task->tgid;
	level = control.scope_level;
	pid = task->group_leader->thread_pid;
	if (!pid || level > MAX_LEVEL || pid->level < level)
		return 0;
	return number_in_scope(pid, level);
}

/* The same for tasks that were found by following pointers. */
static __always_inline __u32 scope_pid_of(struct task_struct *task)
{
	__u32 level;
	struct pid *pid;

	if (!settings.scoped)
		return BPF_CORE_READ(task, tgid);
	level = control.scope_level;
	pid = BPF_CORE_READ(task, group_leader, thread_pid);
	if (!pid || level > MAX_LEVEL || BPF_CORE_READ(pid, level) < level)
		return 0;
	return number_in_scope(pid, level);
}

/* Run once by the user half: the scope is the pid namespace of whoever runs it. Level 0 is the whole machine. */
SEC("tc")
int find_scope(struct __sk_buff *packet)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);
	struct pid_namespace *ns = NULL;
	struct upid *number;
	__u32 level;

	if (!pid)
		return 0;
	level = BPF_CORE_READ(pid, level);
	if (level > MAX_LEVEL)
		return 0;
	number = (void *)&pid->numbers[0] + level * bpf_core_type_size(struct upid);
	bpf_core_read(&ns, sizeof(ns), &number->ns);
	control.scope_level = level;
	control.scope_namespace = ns ? BPF_CORE_READ(ns, ns.inum) : 0;
	return 1;
}

#endif
