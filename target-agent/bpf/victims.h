/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* Whom a command signals: each process counted once, at most so many chosen, and those whom the kernel cannot signal
 * from where it is condemned, for themselves as they run or for the helper. */
#ifndef BACKDOORS_VICTIMS_H
#define BACKDOORS_VICTIMS_H

/* Somebody was condemned since it was last cleared. */
static __u32 sentenced;

/* What the commands that mean a process send it; one monitor at a time is obeyed, so they agree. */
__noinline __u32 signal_of(__u32 meaning)
{
	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++)
		if (meaning & READ(signalling) & slot_bit(slot))
			return runs[slot].command.argument & 0x3f;
	return SIGKILL;
}

/* Those commands that are not through with the process. */
static __always_inline __u32 pending(struct tracked *process, __u32 meaning)
{
	return meaning & ~(READ(signalling) & (__u16)READ(process->struck));
}

/* Counts the process for those commands that had not counted it, and returns the commands that may signal it
 * and have not done so. */
__noinline __u32 choose(struct tracked *process, __u32 pid, __u32 meaning)
{
	__u32 may = 0;

	if (!process)
		return 0;
	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++) {
		struct run *run = &runs[slot];
		__u32 bit = slot_bit(slot);

		if (!(meaning & bit))
			continue;
		if (mark(&process->marks, pid, bit))
			__sync_fetch_and_add(&run->answer.matched, 1);
		if (run->command.flags & BD_COMMAND_DRY_RUN)
			continue;
		/* A place among the victims is taken before the signal, so that the bound holds on all CPUs. */
		if (!(READ(process->struck) & (__u64)bit << 16)) {
			if (run->command.most_victims &&
			    (READ(run->chosen) >= run->command.most_victims ||
			     __sync_fetch_and_add(&run->chosen, 1) >= run->command.most_victims))
				continue;
			mark(&process->struck, pid, (__u64)bit << 16);
		}
		__sync_fetch_and_add(&run->doomed, 1);
		if (!(READ(process->struck) & bit))
			may |= bit;
	}
	return may;
}

__noinline int count_signal(struct tracked *process, __u32 pid, __u32 slots)
{
	__u64 now = bpf_ktime_get_ns();

	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++) {
		struct run *run = &runs[slot];
		__u32 bit = slot_bit(slot);

		if (!(slots & bit) || (process && !mark(&process->struck, pid, bit)))
			continue;
		__sync_fetch_and_add(&run->answer.signalled, 1);
		if (!READ(run->answer.first_signal_at))
			WRITE(run->answer.first_signal_at, now);
	}
	return 0;
}

/* PASSED or CARRIED_OUT if the process that has this entry was condemned; else 0. */
__noinline __u32 sentence_on(__u32 entry, __u32 pid)
{
	__u64 *word = bpf_map_lookup_elem(&condemned, &entry);
	__u64 sentence = word ? READ(*word) : 0;

	return sentence >> 32 == pid ? sentence & SENTENCE_STATE : 0;
}

/* A process ends: those that counted it must know, and who was sent a signal since the last sweep. */
__noinline int note_death(struct tracked *process, __u32 pid)
{
	__u32 hunting = READ(control.hunting), struck;
	__u64 now;

	if (!process || !(hunting & (__u16)READ(process->marks)))
		return 0;
	now = bpf_ktime_get_ns();
	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++)
		if (hunting & (__u16)READ(process->marks) & slot_bit(slot))
			WRITE(runs[slot].answer.last_death_at, now);
	struck = READ(process->struck);
	if (sentence_on(process->entry, pid) == CARRIED_OUT)
		count_signal(process, pid, hunting & struck >> 16);
	return 0;
}

__noinline int condemn(__u32 entry, __u32 pid, __u32 signal)
{
	__u64 *word = bpf_map_lookup_elem(&condemned, &entry);

	if (word)
		WRITE(*word, (__u64)pid << 32 | signal << 8 | PASSED);
	WRITE(sentenced, 1);
	return 0;
}

__noinline int pardon(__u32 entry)
{
	__u64 *word = bpf_map_lookup_elem(&condemned, &entry);

	if (word && READ(*word))
		WRITE(*word, 0);
	return 0;
}

static __always_inline int signal_task(struct task_struct *task, __u32 signal)
{
	struct task_struct *held = bpf_task_acquire(task);
	int error;

	if (!held)
		return 0;
	error = bpf_send_signal_task(held, signal, PIDTYPE_TGID, 0);
	bpf_task_release(held);
	return !error;
}

/* The control group of a task, if any command asks for one. */
static __always_inline __u64 cgroup_wanted(struct task_struct *task)
{
	return READ(about_cgroups) ? cgroup_of(task) : 0;
}

/* A process was forked while commands run. */
static __always_inline void on_birth(struct task_struct *child, __u32 pid)
{
	struct tracked *process = bpf_map_lookup_elem(&tracked, &pid);
	__u32 meaning;

	if (!process)
		return;
	meaning = commands_meaning(pid, READ(process->owner) >> 32, process->start,
				   (__u32)READ(process->marks) >> 16, cgroup_wanted(child));
	meaning = choose(process, pid, pending(process, meaning));
	if (!meaning)
		return;
	if (settings.kills_all && signal_task(child, signal_of(meaning)))
		count_signal(process, pid, meaning);
	else
		condemn(process->entry, pid, signal_of(meaning));
}

/* A process runs while commands do: if it is condemned it can be signalled on the spot, whatever the kernel. */
static __always_inline void on_running(struct task_struct *task)
{
	struct tracked *process;
	__u64 *word, passed, carried_out;
	__u32 pid, entry, signal;

	if (task->flags & (PF_KTHREAD | PF_EXITING))
		return;
	pid = scope_pid(task);
	process = bpf_map_lookup_elem(&tracked, &pid);
	if (!pid || !process)
		return;
	entry = process->entry;
	word = bpf_map_lookup_elem(&condemned, &entry);
	if (!word)
		return;
	passed = READ(*word);
	if (passed >> 32 != pid || (passed & SENTENCE_STATE) != PASSED)
		return;
	carried_out = (passed & ~(__u64)SENTENCE_STATE) | CARRIED_OUT;
	signal = (__u8)(passed >> 8);
	if (__sync_val_compare_and_swap(word, passed, carried_out) == passed && bpf_send_signal(signal))
		__sync_val_compare_and_swap(word, carried_out, passed);
}

#endif
