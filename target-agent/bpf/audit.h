/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* What was commanded, by whom and why, and what became of it. Only the timer writes records, so nobody waits for anybody.
 * The same records are written by src/executor/ledger.rs. */
#ifndef BACKDOORS_AUDIT_H
#define BACKDOORS_AUDIT_H

/* Refusals that use up no number can be had without end by who can write a slot and has no key for it: the second of
 * a slot is entered so long after the first at the earliest, each further one twice as long after the one before. */
#define FIRST_PAUSE 1000000000ULL
#define MOST_DOUBLINGS 12

/* Adds a record; readers know by the guard and by `written` which are whole (sensor-box/src/audit/layout.rs). */
__noinline int enter(__u32 slot, __u32 kind, __u64 now)
{
	struct seat *seat = seat_of(slot);
	struct bd_audit_record *record;
	struct bd_acknowledgement *answer;
	struct bd_command *command;
	__u64 number;

	if (slot >= BD_COMMAND_SLOTS)
		return 0;
	command = &runs[slot].command;
	answer = &runs[slot].answer;
	number = READ(audit.header.written) + 1;
	record = &audit.records[(number - 1) & (BD_AUDIT_RECORDS - 1)];
	WRITE(record->guard, number << 1 | 1);
	full_barrier();
	record->at = now;
	record->kind = kind;
	record->slot = slot;
	record->whose = seat && READ(seat->admitted) ? READ(seat->whose) : 0;
	record->opcode = command->opcode;
	record->flags = command->flags;
	record->subject = command->subject;
	record->start = command->start;
	record->most_victims = command->most_victims;
	record->argument = command->argument;
	record->sequence = command->sequence;
	record->state = answer->state;
	record->refusal = answer->reason;
	record->matched = READ(answer->matched);
	record->signalled = READ(answer->signalled);
	record->remaining = answer->remaining;
	record->left_out = runs[slot].left_out;
	record->failure = answer->failure;
	record->accepted_at = answer->accepted_at;
	record->first_signal_at = READ(answer->first_signal_at);
	record->last_death_at = READ(answer->last_death_at);
	record->finished_at = answer->finished_at;
#pragma clang loop unroll(disable)
	for (int word = 0; word < REASON_WORDS; word++)
		WRITE(record->reason[word], command->reason[word]);
	full_barrier();
	WRITE(record->guard, number << 1);
	full_barrier();
	WRITE(audit.header.written, number);
	runs[slot].left_out = 0;
	return 0;
}

/* Enters what was made of a command, unless its like has no number to use up and was entered a short while ago. */
__noinline int enter_judged(__u32 slot, __u64 now)
{
	struct run *run;
	__u32 doublings;

	if (slot >= BD_COMMAND_SLOTS)
		return 0;
	run = &runs[slot];
	if (run->answer.reason != BD_REFUSAL_NOT_AUTHENTIC && run->answer.reason != BD_REFUSAL_STALE_SEQUENCE) {
		run->unnumbered = 0;
		return enter(slot, BD_AUDIT_JUDGED, now);
	}
	doublings = run->unnumbered;
	if (doublings && now - run->unnumbered_at < FIRST_PAUSE << ((doublings - 1) & 15)) {
		run->left_out++;
		WRITE(audit.header.left_out, READ(audit.header.left_out) + 1);
		return 0;
	}
	run->unnumbered_at = now;
	if (doublings <= MOST_DOUBLINGS)
		run->unnumbered = doublings + 1;
	return enter(slot, BD_AUDIT_JUDGED, now);
}

#endif
