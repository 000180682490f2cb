/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* Which commands are obeyed, and whom they mean. Nothing here signals anybody. */
#ifndef BACKDOORS_COMMANDS_H
#define BACKDOORS_COMMANDS_H

/* One per command slot; changed by the timer only, but for the counters that hooks raise while it runs. */
struct run {
	/* The last sequence looked at that came with the right code, whatever came of it. */
	__u64 looked;
	/* What was last refused for its code: its sequence and that code. */
	__u64 forged;
	__u64 forged_mac[2];
	struct bd_command command;
	struct bd_acknowledgement answer;
	/* Of the process the command names. */
	__u64 start;
	/* Sweeps in a row that found nobody. */
	__u32 quiet;
	/* Processes chosen for victims: at most most_victims, if that is set. */
	__u32 chosen;
	/* Alive and matching, counted by the sweep that is going on; those without a mark, and those chosen for
	 * victims, among them. */
	__u32 alive;
	__u32 unmarked;
	__u32 doomed;
	/* Refusals in a row that used up no number and were entered in the audit ring; when the last one was; and how many
	 * were left out of it since anything of this slot was entered. */
	__u32 unnumbered;
	__u64 unnumbered_at;
	__u32 left_out;
	__u32 reserved;
};

static struct run runs[BD_COMMAND_SLOTS];

/* Kinds of opcodes, a bit for each; sensor-box/src/opcode.rs says the same. */
#define SET(opcode) (1ULL << BD_OPCODE_##opcode)
#define KILLING (SET(KILL_PROCESS) | SET(KILL_USER) | SET(KILL_TREE) | SET(KILL_CGROUP))
#define SIGNALLING (SET(SIGNAL_PROCESS) | SET(SIGNAL_USER) | SET(SIGNAL_TREE) | SET(SIGNAL_CGROUP))
#define SWEEPING (KILLING | SIGNALLING)
#define ERRANDS \
	(SET(FREEZE_CGROUP) | SET(THAW_CGROUP) | SET(SET_PRIORITY) | SET(SET_VARIABLE) | SET(CALL_HOOK))
#define OF_PROCESS (SET(KILL_PROCESS) | SET(SIGNAL_PROCESS) | SET(SET_PRIORITY))
#define OF_USER (SET(KILL_USER) | SET(SIGNAL_USER) | SET(REFUSE_FORKS))
#define OF_TREE (SET(KILL_TREE) | SET(SIGNAL_TREE))
#define OF_CGROUP (SET(KILL_CGROUP) | SET(SIGNAL_CGROUP) | SET(FREEZE_CGROUP) | SET(THAW_CGROUP))

static __always_inline int is_of(__u32 opcode, __u64 kind)
{
	return opcode < 64 && kind >> opcode & 1;
}

/* Bits of slots whose command signals once, and whose command is about a control group. */
static __u32 signalling;
static __u32 about_cgroups;

/* 1 << slot, out of memory that the verifier knows nothing about: it would follow every subset of slots else. */
static __u32 slot_bits[BD_COMMAND_SLOTS] = {
	1 << 0, 1 << 1, 1 << 2,	 1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,
	1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15,
};

static __always_inline __u32 slot_bit(__u32 slot)
{
	return slot < BD_COMMAND_SLOTS ? READ(slot_bits[slot]) : 0;
}

__noinline int is_spared(__u32 user)
{
	__u32 count = READ(control.spared_count);

	if (user == 0)
		return 1;
	for (__u32 index = 0; index < MAX_SPARED; index++) {
		if (index >= count)
			break;
		if (READ(control.spared[index]) == user)
			return 1;
	}
	return 0;
}

__noinline int is_protected(__u32 pid, __u64 start)
{
	for (__u32 index = 0; index < MAX_PROTECTED; index++) {
		if (READ(control.protected[index].pid) != pid)
			continue;
		if (!READ(control.protected[index].start) || READ(control.protected[index].start) == start)
			return 1;
	}
	return 0;
}

/* Which of the running commands mean this process. */
__noinline __u32 commands_meaning(__u32 pid, __u32 user, __u64 start, __u32 tree, __u64 cgroup)
{
	__u32 hunting = READ(control.hunting);
	__u32 meaning = 0;

	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++) {
		__u64 subject = runs[slot].command.subject;
		__u32 opcode = runs[slot].command.opcode;
		int means;

		if (!(hunting & slot_bit(slot)))
			continue;
		if (is_of(opcode, OF_PROCESS))
			means = subject == pid && runs[slot].start == start;
		else if (is_of(opcode, OF_USER))
			means = subject == user;
		else if (is_of(opcode, OF_CGROUP))
			means = subject == cgroup;
		else
			means = !!(tree & slot_bit(slot));
		if (means)
			meaning |= slot_bit(slot);
	}
	if (!meaning || pid == 1 || is_spared(user) || is_protected(pid, start))
		return 0;
	return meaning;
}

/* Sets bits in a word that carries a pid; returns 1 if they were not all set and the word still is that pid's. */
static __always_inline int mark(__u64 *word, __u32 pid, __u64 bits)
{
	for (int attempt = 0; attempt < 8; attempt++) {
		__u64 before = READ(*word);

		if (before >> 32 != pid || (before & bits) == bits)
			return 0;
		if (__sync_val_compare_and_swap(word, before, before | bits) == before)
			return 1;
	}
	return 0;
}

static __always_inline void unmark(__u64 *word, __u32 pid, __u64 bits)
{
	for (int attempt = 0; attempt < 8; attempt++) {
		__u64 before = READ(*word);

		if (before >> 32 != pid || !(before & bits) ||
		    __sync_val_compare_and_swap(word, before, before & ~bits) == before)
			return;
	}
}

/* Whether the lease is this slot's monitor's, by the term that it had in mind. Nothing else can tell a monitor that was
 * paused, and lost the lease meanwhile, from the one that holds it. */
static __always_inline int allows(__u64 word, __u32 slot, __u64 token)
{
	return token == (word & ~BD_LEASE_RENEWALS) && (__u8)(token >> BD_LEASE_HOLDER_SHIFT) == slot + 1;
}

/* Why a command may not have this argument; 0 if it may. */
static __always_inline __u32 wrong_argument(__u32 opcode, __u64 argument)
{
	if (is_of(opcode, SIGNALLING) && !is_of(argument < 64 ? argument : 64, BD_SIGNALS))
		return BD_REFUSAL_NOT_A_SIGNAL;
	if (opcode == BD_OPCODE_SET_PRIORITY && argument > BD_MOST_NICE)
		return BD_REFUSAL_OUT_OF_RANGE;
	if (opcode == BD_OPCODE_REFUSE_FORKS && argument > BD_MOST_REFUSED)
		return BD_REFUSAL_OUT_OF_RANGE;
	return BD_REFUSAL_NONE;
}

/* Why a command about no process in particular is not obeyed; 0 if it is. */
static __always_inline __u32 refusal_of_many(struct bd_command *command)
{
	if (command->opcode == BD_OPCODE_REFUSE_FORKS && !settings.refuses_forks)
		return BD_REFUSAL_NOT_POSSIBLE;
	if (is_of(command->opcode, OF_USER) && command->subject < NONE && is_spared(command->subject))
		return BD_REFUSAL_SPARED_USER;
	/* The root of all groups has number 1. */
	if (is_of(command->opcode, OF_CGROUP) && command->subject <= 1)
		return BD_REFUSAL_ROOT_CGROUP;
	return BD_REFUSAL_NONE;
}

/* Why a command is not obeyed; 0 if it is. */
static __always_inline __u32 refusal(struct run *run, __u32 slot)
{
	struct bd_command *command = &run->command;
	struct tracked *process;
	__u32 pid = command->subject, wrong;

	if (!(command->flags & BD_COMMAND_VOTE) && !allows(READ(lease.lease), slot, command->token))
		return BD_REFUSAL_NOT_THE_HOLDER;
	if (command->opcode == BD_OPCODE_NOTHING)
		return BD_REFUSAL_NONE;
	if (!is_of(command->opcode, SWEEPING | ERRANDS | SET(REFUSE_FORKS)))
		return BD_REFUSAL_UNKNOWN_OPCODE;
	if (!may(slot, command->opcode))
		return BD_REFUSAL_NOT_ALLOWED;
	wrong = wrong_argument(command->opcode, command->argument);
	if (wrong)
		return wrong;
	if (!is_of(command->opcode, OF_PROCESS | OF_TREE))
		return refusal_of_many(command);
	if (command->subject == 1)
		return BD_REFUSAL_INIT_PROCESS;
	process = command->subject < NONE ? bpf_map_lookup_elem(&tracked, &pid) : NULL;
	if (!process)
		return BD_REFUSAL_NO_SUCH_PROCESS;
	if (process->kernel)
		return BD_REFUSAL_KERNEL_THREAD;
	if (command->start && command->start != process->start)
		return BD_REFUSAL_OTHER_PROCESS;
	if (is_protected(pid, process->start))
		return BD_REFUSAL_PROTECTED;
	if (is_spared(process->owner >> 32))
		return BD_REFUSAL_SPARED_USER;
	run->start = process->start;
	return BD_REFUSAL_NONE;
}

#endif
