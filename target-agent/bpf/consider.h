/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* Looking at command slots, and what is answered. */
#ifndef BACKDOORS_CONSIDER_H
#define BACKDOORS_CONSIDER_H

__noinline int publish(__u32 slot)
{
	struct bd_acknowledgement *answer, *shown;
	__u64 guard;

	if (slot >= BD_COMMAND_SLOTS)
		return 0;
	answer = &runs[slot].answer;
	shown = &acknowledgements[slot];
	guard = READ(shown->guard) | 1;
	WRITE(shown->guard, guard);
	full_barrier();
	shown->command = answer->command;
	shown->accepted = answer->accepted;
	shown->state = answer->state;
	shown->reason = answer->reason;
	shown->matched = READ(answer->matched);
	shown->signalled = READ(answer->signalled);
	shown->remaining = answer->remaining;
	shown->sweeps = answer->sweeps;
	shown->accepted_at = answer->accepted_at;
	shown->first_signal_at = READ(answer->first_signal_at);
	shown->last_death_at = READ(answer->last_death_at);
	shown->finished_at = answer->finished_at;
	shown->failure = answer->failure;
	full_barrier();
	WRITE(shown->guard, guard + 1);
	return 0;
}

/* What becomes of a command that is not refused. */
static __always_inline __u32 begun(struct run *run, __u32 slot, __u64 now)
{
	if (run->command.flags & BD_COMMAND_VOTE) {
		cast_vote(slot, now);
		return BD_STATE_VOTED;
	}
	if (run->command.opcode == BD_OPCODE_NOTHING)
		return BD_STATE_DONE;
	run->answer.finished_at = 0;
	/* The next tick weighs it. */
	return needs_agreement(&run->command) ? BD_STATE_AWAITING : BD_STATE_RUNNING;
}

/* Looks at a slot; returns 1 if a command that signals processes was accepted. */
__noinline int consider(__u32 slot, __u64 now)
{
	struct bd_command *given;
	struct run *run;
	__u64 sequence;
	int authentic;

	if (slot >= BD_COMMAND_SLOTS)
		return 0;
	run = &runs[slot];
	if (run->answer.state == BD_STATE_AWAITING) {
		__u32 wanted = run->answer.matched;

		weigh(slot, now);
		if (run->answer.state != BD_STATE_AWAITING || run->answer.matched != wanted)
			publish(slot);
		if (run->answer.state != BD_STATE_AWAITING)
			enter_judged(slot, now);
		return run->answer.state == BD_STATE_RUNNING;
	}
	given = &commands[slot];
	sequence = READ(given->sequence);
	if (sequence == run->looked)
		return 0;
	full_barrier();
	run->command.opcode = READ(given->opcode);
	run->command.flags = READ(given->flags);
	run->command.subject = READ(given->subject);
	run->command.start = READ(given->start);
	run->command.most_victims = READ(given->most_victims);
	run->command.argument = READ(given->argument);
	run->command.token = READ(given->token);
	run->command.mac[0] = READ(given->mac[0]);
	run->command.mac[1] = READ(given->mac[1]);
	for (int word = 0; word < REASON_WORDS; word++)
		run->command.reason[word] = READ(given->reason[word]);
	run->command.sequence = sequence;
	full_barrier();
	if (READ(given->sequence) != sequence)
		return 0;
	authentic = is_authentic(&run->command, slot);
	if (authentic) {
		run->looked = sequence;
		run->forged = 0;
	} else {
		/* It may be half of what is being written: so it is looked at again, as long as it is there, but told only
		 * once. */
		if (run->forged == sequence && run->forged_mac[0] == run->command.mac[0] &&
		    run->forged_mac[1] == run->command.mac[1])
			return 0;
		run->forged = sequence;
		run->forged_mac[0] = run->command.mac[0];
		run->forged_mac[1] = run->command.mac[1];
	}
	run->start = 0;
	run->quiet = 0;
	run->chosen = 0;
	run->answer.command = sequence;
	run->answer.matched = 0;
	run->answer.signalled = 0;
	run->answer.remaining = 0;
	run->answer.sweeps = 0;
	run->answer.accepted_at = now;
	run->answer.first_signal_at = 0;
	run->answer.last_death_at = 0;
	run->answer.finished_at = now;
	run->answer.failure = 0;
	run->answer.state = BD_STATE_REFUSED;
	if (!authentic) {
		run->answer.reason = BD_REFUSAL_NOT_AUTHENTIC;
	} else if (sequence != run->answer.accepted + 1) {
		run->answer.reason = BD_REFUSAL_STALE_SEQUENCE;
	} else {
		run->answer.accepted = sequence;
		run->answer.reason = refusal(run, slot);
		if (run->answer.reason == BD_REFUSAL_NONE)
			run->answer.state = begun(run, slot, now);
	}
	publish(slot);
	enter_judged(slot, now);
	return run->answer.state == BD_STATE_RUNNING;
}

#endif
