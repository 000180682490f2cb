/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* Refusing the forks of a user for a while. */
#ifndef BACKDOORS_FORKS_H
#define BACKDOORS_FORKS_H

#define CLONE_THREAD 0x10000
#define EAGAIN 11

static long drop_what_is_over(void *map, __u32 *user, __u64 *until, __u64 *now)
{
	if (*now >= READ(*until))
		bpf_map_delete_elem(map, user);
	return 0;
}

__noinline int refuse_forks(__u32 slot, __u64 now)
{
	struct bd_command *command;
	__u64 until;
	__u32 user;

	if (slot >= BD_COMMAND_SLOTS)
		return 0;
	command = &runs[slot].command;
	user = command->subject;
	until = now + command->argument;
	if (command->flags & BD_COMMAND_DRY_RUN)
		return end_at_once(slot, BD_STATE_DONE, BD_REFUSAL_NONE, now);
	bpf_for_each_map_elem(&refused, drop_what_is_over, &now, 0);
	if (command->argument && bpf_map_update_elem(&refused, &user, &until, BPF_ANY))
		/* So many users at once cannot be refused. */
		return end_at_once(slot, BD_STATE_REFUSED, BD_REFUSAL_NOT_POSSIBLE, now);
	if (!command->argument)
		bpf_map_delete_elem(&refused, &user);
	else if (until > READ(control.refusing_until))
		WRITE(control.refusing_until, until);
	return end_at_once(slot, BD_STATE_DONE, BD_REFUSAL_NONE, now);
}

/* The call of the kernel's security modules at a fork: where functions may be told what to return, its name is enough. */
SEC("fmod_ret/security_task_alloc")
int BPF_PROG(refuse_fork, struct task_struct *child, unsigned long clone_flags, int result)
{
	struct task_struct *parent = bpf_get_current_task_btf();
	__u64 now, *until;
	__u32 user;

	if (result || !READ(control.refusing_until) || clone_flags & CLONE_THREAD)
		return result;
	now = bpf_ktime_get_ns();
	user = user_of(parent);
	if (now >= READ(control.refusing_until) || !scope_pid(parent) || is_spared(user))
		return 0;
	until = bpf_map_lookup_elem(&refused, &user);
	if (!until || now >= READ(*until))
		return 0;
	sensor_add(settings.forks_refused, 1);
	return -EAGAIN;
}

#endif
