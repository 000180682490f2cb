/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* Commands that are judged here and carried out by the user half, because the kernel half has no way to. */
#ifndef BACKDOORS_ERRANDS_H
#define BACKDOORS_ERRANDS_H

#define STAGE_SEQUENCE(stage) ((stage) >> 16)
#define STAGE_REFUSAL(stage) ((__u8)((stage) >> 8))
#define STAGE(stage) ((__u8)(stage))

/* Ends a command that no sweep follows. */
__noinline int end_at_once(__u32 slot, __u32 state, __u32 reason, __u64 now)
{
	if (slot >= BD_COMMAND_SLOTS)
		return 0;
	runs[slot].answer.state = state;
	runs[slot].answer.reason = reason;
	runs[slot].answer.finished_at = now;
	publish(slot);
	enter(slot, BD_AUDIT_ENDED, now);
	return 0;
}

__noinline int send_errand(__u32 slot, __u64 now)
{
	struct bd_command *command;
	struct errand *errand;

	if (slot >= BD_COMMAND_SLOTS)
		return 0;
	command = &runs[slot].command;
	errand = &errands[slot];
	if (command->flags & BD_COMMAND_DRY_RUN)
		return end_at_once(slot, BD_STATE_DONE, BD_REFUSAL_NONE, now);
	WRITE(errand->opcode, command->opcode);
	WRITE(errand->subject, command->subject);
	WRITE(errand->start, is_of(command->opcode, OF_PROCESS) ? runs[slot].start : command->start);
	WRITE(errand->argument, command->argument);
	WRITE(errand->failure, 0);
	full_barrier();
	WRITE(errand->stage, command->sequence << 16 | ERRAND_ASKED);
	WRITE(control.errands, READ(control.errands) | slot_bit(slot));
	if (command->opcode == BD_OPCODE_CALL_HOOK)
		bpf_ringbuf_output(&calls, &now, sizeof(now), BPF_RB_FORCE_WAKEUP);
	else
		bpf_ringbuf_output(&wakeups, &now, sizeof(now), BPF_RB_FORCE_WAKEUP);
	return 0;
}

/* What was not taken yet is taken by nobody from here on. */
__noinline int call_off(__u32 slots)
{
	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++) {
		__u64 stage = READ(errands[slot].stage);

		if (slots & slot_bit(slot) && STAGE(stage) == ERRAND_ASKED)
			__sync_val_compare_and_swap(&errands[slot].stage, stage, 0);
	}
	WRITE(control.errands, READ(control.errands) & ~(__u64)slots);
	return 0;
}

/* Looks how far an errand is. */
__noinline int follow_errand(__u32 slot, __u64 now)
{
	__u32 state = BD_STATE_GAVE_UP, reason = BD_REFUSAL_NOT_CARRIED_OUT;
	struct run *run;
	__u64 stage;

	if (slot >= BD_COMMAND_SLOTS)
		return 0;
	run = &runs[slot];
	stage = READ(errands[slot].stage);
	if (STAGE(stage) == ERRAND_ENDED && STAGE_SEQUENCE(stage) == (run->command.sequence << 16 >> 16)) {
		full_barrier();
		reason = STAGE_REFUSAL(stage);
		run->answer.failure = READ(errands[slot].failure);
		if (!reason)
			state = BD_STATE_DONE;
		else if (reason != BD_REFUSAL_FAILED && reason != BD_REFUSAL_NOT_CARRIED_OUT)
			state = BD_STATE_REFUSED;
	} else if (now - run->answer.accepted_at < settings.give_up) {
		return 0;
	}
	call_off(slot_bit(slot));
	return end_at_once(slot, state, reason, now);
}

__noinline int follow_errands(__u64 now)
{
	for (__u32 slot = 0; slot < BD_COMMAND_SLOTS; slot++)
		if (READ(control.errands) & slot_bit(slot))
			follow_errand(slot, now);
	return 0;
}

#endif
