/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* Carrying commands out. Where the kernel can walk and signal all tasks, sweeps of the timer do it, and children
 * of culprits are signalled at birth. Elsewhere sweeps of the process table condemn entries: culprits that run are
 * signalled as they run, all others by the helper. So it is, too, where the timer interrupts an idle CPU or a kernel
 * thread: x86 kernels let no signal be sent from there (bpf_send_signal_common asks nmi_uaccess_okay). */
#ifndef BACKDOORS_STRIKE_H
#define BACKDOORS_STRIKE_H

enum sweep_kind {
	/* Take off the marks that earlier commands of the slots in `sweep_slots` left, and all sentences. */
	SWEEP_CLEAR,
	/* Lift all sentences; count whom those of the slots in `sweep_slots` have struck. */
	SWEEP_STOP,
	/* Find descendants. */
	SWEEP_TREE,
	SWEEP_KILL,
};

/* Sweeps that look for descendants of descendants before the first signal. */
#define MOST_TREE_SWEEPS 16

/* Of the sweep that goes on; only the timer sweeps. */
static __u32 sweep_kind;
static __u32 sweep_slots;
static __u32 sweep_found;

__noinline int count_alive(__u32 meaning, __u32 unmarked)
{
	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++)
		if (meaning & slot_bit(slot)) {
			runs[slot].alive++;
			runs[slot].unmarked += unmarked;
		}
	return 0;
}

/* Commands in whose tree the process is, after a look at its parent. */
__noinline __u32 inherit_tree(struct tracked *process, __u32 pid, __u32 parent)
{
	struct tracked *above = bpf_map_lookup_elem(&tracked, &parent);
	__u64 inherited;

	if (!process)
		return 0;
	/* A parent younger than its child has the number of the real one. */
	if (above && READ(above->marks) >> 32 == parent && above->start <= process->start) {
		inherited = READ(above->marks) & 0xffff0000U;
		if (inherited && mark(&process->marks, pid, inherited))
			sweep_found++;
	}
	return (__u32)READ(process->marks) >> 16;
}

static __always_inline int visit_marks(struct tracked *process, __u32 pid, __u32 parent)
{
	if (sweep_kind == SWEEP_CLEAR) {
		__u32 slots = sweep_slots & 0xffff;

		unmark(&process->marks, pid, slots | slots << 16);
		unmark(&process->struck, pid, slots | slots << 16);
		pardon(process->entry);
		return 0;
	}
	if (sweep_kind == SWEEP_STOP) {
		if (sentence_on(process->entry, pid) == CARRIED_OUT)
			count_signal(process, pid, sweep_slots & READ(process->struck) >> 16);
		pardon(process->entry);
		return 0;
	}
	return inherit_tree(process, pid, parent);
}

/* Returns 1 if nothing was done to the process yet. */
static __always_inline int visit_sentence(struct tracked *process, __u32 pid, __u32 meaning)
{
	if (!meaning) {
		pardon(process->entry);
		return 0;
	}
	count_alive(meaning, 0);
	if (sentence_on(process->entry, pid) == CARRIED_OUT) {
		count_signal(process, pid, choose(process, pid, meaning));
		return 0;
	}
	return 1;
}

static __always_inline int visit_task(struct task_struct *task)
{
	__u32 pid = scope_pid(task), user, tree, meaning;
	struct tracked *process;

	if (!pid || task->flags & PF_KTHREAD)
		return 0;
	process = bpf_map_lookup_elem(&tracked, &pid);
	/* A dead process that was not yet waited for has been forgotten already. */
	if (!process && is_dead(task))
		return 0;
	tree = process ? visit_marks(process, pid, scope_pid(task->real_parent)) : 0;
	if (sweep_kind != SWEEP_KILL)
		return 0;
	user = user_of(task);
	meaning = commands_meaning(pid, user, task->start_time, tree, cgroup_wanted(task));
	if (!process) {
		/* It found no room and carries no marks, so only commands may signal it that kill and have no bound. */
		count_alive(meaning, 1);
		if (meaning & ~sweep_slots && signal_task(task, SIGKILL))
			count_signal(process, pid, meaning & ~sweep_slots);
		return 0;
	}
	meaning = pending(process, meaning);
	if (!visit_sentence(process, pid, meaning))
		return 0;
	meaning = choose(process, pid, meaning);
	if (!meaning)
		return 0;
	if (signal_task(task, signal_of(meaning)))
		count_signal(process, pid, meaning);
	else
		condemn(process->entry, pid, signal_of(meaning));
	return 0;
}

__noinline int sweep_tasks(void)
{
	struct bpf_iter_task it;
	struct task_struct *task;

	/* Older kernels look at this function even if nothing calls it. */
	if (!settings.kills_all)
		return 0;
	bpf_iter_task_new(&it, NULL, 0);
	while ((task = bpf_iter_task_next(&it)))
		visit_task(task);
	bpf_iter_task_destroy(&it);
	return 0;
}

/* For kernels without that walk: the process table, and a sentence instead of a signal. */
static long visit_entry(__u32 entry, void *context)
{
	struct bd_process *record = table_entry(entry);
	struct tracked *process;
	__u32 pid, tree, meaning;
	__u64 guard;

	if (!record)
		return 1;
	guard = READ(*guard_of(record));
	pid = guard >> 32;
	if (!pid || guard & 1)
		return 0;
	process = bpf_map_lookup_elem(&tracked, &pid);
	if (!process || process->entry != entry)
		return 0;
	tree = visit_marks(process, pid, record->parent);
	if (sweep_kind != SWEEP_KILL)
		return 0;
	meaning = commands_meaning(pid, READ(process->owner) >> 32, process->start, tree, READ(record->cgroup));
	meaning = pending(process, meaning);
	if (visit_sentence(process, pid, meaning) && choose(process, pid, meaning))
		condemn(entry, pid, signal_of(meaning));
	return 0;
}

__noinline int sweep_table(void)
{
	struct bd_process_table_header *header = table_header();

	if (header)
		bpf_loop(header->high_water, visit_entry, NULL, 0);
	return 0;
}

static __always_inline void sweep(__u32 kind, __u32 slots)
{
	sweep_kind = kind;
	sweep_slots = slots;
	sweep_found = 0;
	if (settings.kills_all)
		sweep_tasks();
	else
		sweep_table();
}

/* A command is not given up before so many sweeps, however much time went by. */
#define LEAST_SWEEPS 500

__noinline int settle(__u32 slot, __u64 now)
{
	struct run *run;
	int over;

	if (slot >= BD_COMMAND_SLOTS)
		return 0;
	run = &runs[slot];
	run->answer.sweeps++;
	run->answer.remaining = run->alive;
	if (READ(run->answer.matched) < run->unmarked)
		WRITE(run->answer.matched, run->unmarked);
	/* One empty sweep may have missed a child born during it. */
	run->quiet = run->alive ? 0 : run->quiet + 1;
	if (run->quiet >= 2 || run->command.flags & BD_COMMAND_DRY_RUN)
		run->answer.state = BD_STATE_DONE;
	/* A machine that stood still has used up the time but not the sweeps; with nobody alive one more will tell. */
	else if (run->alive &&
		 ((now - run->answer.accepted_at >= settings.give_up && run->answer.sweeps >= LEAST_SWEEPS) ||
		  (run->command.most_victims && run->chosen >= run->command.most_victims && !run->doomed)))
		run->answer.state = BD_STATE_GAVE_UP;
	over = run->answer.state != BD_STATE_RUNNING;
	if (over) {
		run->answer.finished_at = now;
		__sync_fetch_and_and(&control.hunting, ~slot_bit(slot));
	}
	publish(slot);
	if (over)
		enter(slot, BD_AUDIT_ENDED, now);
	return 0;
}

/* Why the command of a slot goes on no longer: its monitor has lost the lease, or may not do that any more. */
static __always_inline __u32 objection(__u64 word, __u32 slot)
{
	if (!allows(word, slot, runs[slot].command.token))
		return BD_REFUSAL_NOT_THE_HOLDER;
	return may(slot, runs[slot].command.opcode) ? BD_REFUSAL_NONE : BD_REFUSAL_NOT_ALLOWED;
}

/* Which of these slots' commands are overtaken. */
__noinline __u32 overtaken(__u32 slots)
{
	__u64 word = READ(lease.lease);
	__u32 found = 0;

	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++)
		if (slots & slot_bit(slot) && objection(word, slot))
			found |= slot_bit(slot);
	return found;
}

/* Begins those of the accepted commands that need no sweep; returns the others. */
__noinline __u32 begin_at_once(__u32 accepted, __u64 now)
{
	__u32 others = 0;

	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++) {
		if (!(accepted & slot_bit(slot)))
			continue;
		if (is_of(runs[slot].command.opcode, ERRANDS))
			send_errand(slot, now);
		else if (runs[slot].command.opcode == BD_OPCODE_REFUSE_FORKS)
			refuse_forks(slot, now);
		else
			others |= slot_bit(slot);
	}
	return others;
}

/* Gives commands up that are overtaken, by what is known of lease and seats now. */
__noinline int stop(__u32 slots, __u64 now)
{
	__u32 hunting = __sync_fetch_and_and(&control.hunting, ~slots);
	__u64 word = READ(lease.lease);

	if (hunting & slots)
		sweep(SWEEP_STOP, hunting & slots);
	call_off(slots);
	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++) {
		if (!(slots & slot_bit(slot)))
			continue;
		runs[slot].answer.state = BD_STATE_GAVE_UP;
		/* Somebody may have got it back since. */
		runs[slot].answer.reason = objection(word, slot) ?: BD_REFUSAL_NOT_THE_HOLDER;
		runs[slot].answer.finished_at = now;
		publish(slot);
		enter(slot, BD_AUDIT_ENDED, now);
	}
	return 0;
}

/* A command was accepted: takes old marks off and finds the whole tree before anybody is signalled, because a
 * tree falls apart as its upper processes die. */
__noinline int prepare(__u32 accepted)
{
	__u32 pid;

	sweep(SWEEP_CLEAR, accepted);
	WRITE(signalling, READ(signalling) & ~accepted);
	WRITE(about_cgroups, READ(about_cgroups) & ~accepted);
	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++) {
		if (!(accepted & slot_bit(slot)))
			continue;
		if (is_of(runs[slot].command.opcode, SIGNALLING))
			WRITE(signalling, READ(signalling) | slot_bit(slot));
		if (is_of(runs[slot].command.opcode, OF_CGROUP))
			WRITE(about_cgroups, READ(about_cgroups) | slot_bit(slot));
	}
	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++) {
		struct run *run = &runs[slot];
		struct tracked *root;

		if (!(accepted & slot_bit(slot)) || !is_of(run->command.opcode, OF_TREE))
			continue;
		pid = run->command.subject;
		root = bpf_map_lookup_elem(&tracked, &pid);
		if (root && root->start == run->start)
			mark(&root->marks, pid, slot_bit(slot) << 16);
	}
	for (int round = 0; round < MOST_TREE_SWEEPS; round++) {
		sweep(SWEEP_TREE, accepted);
		if (!sweep_found)
			break;
	}
	return 0;
}

static __always_inline void obey(__u64 now)
{
	__u32 accepted = 0;
	__u32 bounded = 0;
	__u32 lapsed;

	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++)
		if (runs[slot].answer.state != BD_STATE_RUNNING && consider(slot, now))
			accepted |= slot_bit(slot);
	/* After commands were accepted, before anybody is signalled, and by one look at the lease: only so no two
	 * monitors are ever obeyed in one sweep (sensor-box/tests/loom_lease.rs). */
	lapsed = overtaken(READ(control.hunting) | READ(control.errands) | accepted);
	if (lapsed)
		stop(lapsed, now);
	accepted &= ~lapsed;
	if (accepted)
		accepted = begin_at_once(accepted, now);
	if (READ(control.errands))
		follow_errands(now);
	if (accepted) {
		prepare(accepted);
		__sync_fetch_and_or(&control.hunting, accepted);
	}
	if (!READ(control.hunting))
		return;
	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++) {
		runs[slot].alive = 0;
		runs[slot].unmarked = 0;
		runs[slot].doomed = 0;
		if (runs[slot].command.most_victims || runs[slot].command.flags & BD_COMMAND_DRY_RUN ||
		    is_of(runs[slot].command.opcode, SIGNALLING))
			bounded |= slot_bit(slot);
	}
	sentenced = 0;
	sweep(SWEEP_KILL, bounded);
	if (READ(sentenced))
		bpf_ringbuf_output(&wakeups, &now, sizeof(now), BPF_RB_FORCE_WAKEUP);
	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++)
		if (READ(control.hunting) & slot_bit(slot))
			settle(slot, now);
}

#endif
