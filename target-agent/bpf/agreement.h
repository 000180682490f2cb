/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* Commands that are obeyed only if several monitors want them: the holder of the lease gives the command, others vote for
 * it, all within one window by this machine's clock (thesis, section 3.8: delayed write agreement). The same decisions are
 * in src/executor/agreement.rs. */
#ifndef BACKDOORS_AGREEMENT_H
#define BACKDOORS_AGREEMENT_H

struct vote {
	__u64 subject;
	__u64 start;
	__u64 most_victims;
	__u64 argument;
	/* Who voted, as its seat names it. */
	__u64 whose;
	/* 0: no vote. */
	__u64 at;
	__u32 opcode;
	__u32 reserved;
};

/* The last one of each slot; so no monitor has two. */
static struct vote votes[BD_COMMAND_SLOTS];

static __always_inline int needs_agreement(struct bd_command *command)
{
	return READ(control.agreement.needed) > 1 && command->opcode < 64 &&
	       READ(control.agreement.commands) >> command->opcode & 1 && !(command->flags & BD_COMMAND_DRY_RUN);
}

__noinline int cast_vote(__u32 slot, __u64 now)
{
	struct seat *seat = seat_of(slot);
	struct bd_command *command;

	if (slot >= BD_COMMAND_SLOTS || !seat)
		return 0;
	command = &runs[slot].command;
	votes[slot].subject = command->subject;
	votes[slot].start = command->start;
	votes[slot].most_victims = command->most_victims;
	votes[slot].argument = command->argument;
	votes[slot].opcode = command->opcode;
	votes[slot].whose = READ(seat->whose);
	votes[slot].at = now;
	return 0;
}

/* Whether a vote holds for a command: of a monitor that still may do that, and not too old. */
static __always_inline int holds(__u32 slot, struct bd_command *command, __u64 now)
{
	struct seat *seat = seat_of(slot);
	struct vote *vote = &votes[slot];

	return vote->at && vote->opcode == command->opcode && vote->subject == command->subject &&
	       vote->start == command->start && vote->argument == command->argument && now - vote->at <= READ(control.agreement.window) && seat &&
	       READ(seat->whose) == vote->whose && may(slot, vote->opcode);
}

/* How many monitors want what the command in this slot says, its own among them. */
__noinline __u32 agreeing(__u32 holder, __u64 now)
{
	__u32 count = 1;

	if (holder >= BD_COMMAND_SLOTS)
		return 0;
	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++)
		if (slot != holder && holds(slot, &runs[holder].command, now))
			count++;
	return count;
}

/* A vote is good for one command. The smallest bound on victims is everybody's. */
__noinline int use_votes(__u32 holder, __u64 now)
{
	struct bd_command *command;

	if (holder >= BD_COMMAND_SLOTS)
		return 0;
	command = &runs[holder].command;
	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++) {
		__u64 most = votes[slot].most_victims;

		if (slot == holder || !holds(slot, command, now))
			continue;
		if (most && (!command->most_victims || most < command->most_victims))
			command->most_victims = most;
		votes[slot].at = 0;
	}
	return 0;
}

/* Decides about a command that waits for others to want it, too. */
__noinline int weigh(__u32 slot, __u64 now)
{
	__u32 count = agreeing(slot, now);
	struct run *run;
	__u32 reason;
	__u64 start;

	if (slot >= BD_COMMAND_SLOTS)
		return 0;
	run = &runs[slot];
	start = run->start;
	reason = refusal(run, slot);
	if (!reason && run->start != start)
		reason = BD_REFUSAL_OTHER_PROCESS;
	if (!reason && count < READ(control.agreement.needed)) {
		run->answer.matched = count;
		if (now - run->answer.accepted_at < READ(control.agreement.window))
			return 0;
		reason = BD_REFUSAL_NO_AGREEMENT;
	}
	run->answer.reason = reason;
	run->answer.state = BD_STATE_REFUSED;
	run->answer.finished_at = now;
	if (!reason) {
		use_votes(slot, now);
		run->answer.state = BD_STATE_RUNNING;
		run->answer.accepted_at = now;
		run->answer.finished_at = 0;
		run->answer.matched = 0;
	}
	return 0;
}

#endif
