/* SPDX-License-Identifier: GPL-2.0-only OR MIT OR Apache-2.0 */
/* A pair of sensors (processes, fork rate) for every user that has processes. */
#ifndef BACKDOORS_USERS_H
#define BACKDOORS_USERS_H

#define SECOND 1000000000ULL
#define WINDOWS_PER_SECOND 10

enum pair_state {
	PAIR_FREE,
	/* Being made: known to nobody else. */
	PAIR_CLAIMED,
	PAIR_USED,
	/* Its id is zeroed, so that readers notice before the pair serves another user. */
	PAIR_RETIRED,
};

struct user_pair {
	__u32 state;
	__u32 user;
	/* Forks ever, and at the end of the last window. */
	__u64 forks;
	__u64 forks_before;
	/* Since when the user has no process, or the pair is retired. */
	__u64 since;
};

static struct user_pair pairs[USER_PAIRS];

static __always_inline struct bd_sensor *pair_records(__u32 pair)
{
	__u32 record = settings.first_user + 2 * pair;

	if (pair >= USER_PAIRS || record > MAX_RECORDS - 2)
		return NULL;
	return &sensors.records[record];
}

static __always_inline void describe(struct bd_sensor *sensor, __u8 class, __u8 unit, __u64 limit)
{
	sensor->class = class;
	sensor->unit = unit;
	sensor->limit = limit;
}

static __always_inline void publish_pair(struct bd_sensor *records, __u32 pair, __u32 user)
{
	__u32 count = settings.first_user + 2 * pair + 2;
	__u32 seen;

	describe(&records[0], BD_SENSOR_USER_PROCESSES_CLASS, BD_SENSOR_USER_PROCESSES_UNIT,
		 settings.user_processes_limit);
	describe(&records[1], BD_SENSOR_USER_FORK_RATE_CLASS, BD_SENSOR_USER_FORK_RATE_UNIT,
		 settings.user_fork_rate_limit);
	full_barrier();
	WRITE(records[0].id, (__u64)user << 32 | BD_SENSOR_USER_PROCESSES);
	WRITE(records[1].id, (__u64)user << 32 | BD_SENSOR_USER_FORK_RATE);
	full_barrier();
	for (int attempt = 0; attempt < 8; attempt++) {
		seen = READ(sensors.header.sensor_count);
		if (seen >= count || __sync_val_compare_and_swap(&sensors.header.sensor_count, seen, count) == seen)
			break;
	}
}

static long claim_pair(__u32 pair, void *context)
{
	__u32 *claimed = context;

	if (pair >= USER_PAIRS)
		return 1;
	if (READ(pairs[pair].state) != PAIR_FREE ||
	    __sync_val_compare_and_swap(&pairs[pair].state, PAIR_FREE, PAIR_CLAIMED) != PAIR_FREE)
		return 0;
	*claimed = pair;
	return 1;
}

/* The pair of a user, made if there is none; NONE if all are taken. */
__noinline __u32 pair_of(__u32 user)
{
	__u32 *known = bpf_map_lookup_elem(&users, &user);
	struct bd_sensor *records;
	/* What helpers were given a pointer to, the verifier no longer knows. */
	__u32 claimed = NONE, pair, value;
	long error;

	if (known)
		return *known;
	bpf_loop(USER_PAIRS, claim_pair, &claimed, 0);
	pair = claimed;
	value = claimed;
	if (pair >= USER_PAIRS)
		return NONE;
	records = pair_records(pair);
	if (!records)
		return NONE;
	pairs[pair].user = user;
	pairs[pair].forks_before = pairs[pair].forks;
	pairs[pair].since = 0;
	WRITE(records[0].value, 0);
	WRITE(records[1].value, 0);
	error = bpf_map_update_elem(&users, &user, &value, BPF_NOEXIST);
	if (error) {
		WRITE(pairs[pair].state, PAIR_FREE);
		known = bpf_map_lookup_elem(&users, &user);
		return known ? *known : NONE;
	}
	publish_pair(records, pair, user);
	WRITE(pairs[pair].state, PAIR_USED);
	return pair;
}

static __always_inline void count_user(__u32 pair, __s64 difference)
{
	if (pair < USER_PAIRS)
		sensor_add(settings.first_user + 2 * pair, difference);
}

/* Every tenth of a second: fork rates, and pairs that nobody needs any more. */
__noinline int tend_pair(__u32 pair, __u64 now)
{
	struct bd_sensor *records = pair_records(pair);
	__u32 user, again;
	__u64 forks;

	if (!records || pair >= USER_PAIRS)
		return 0;
	user = pairs[pair].user;
	again = pair;
	switch (READ(pairs[pair].state)) {
	case PAIR_USED:
		forks = READ(pairs[pair].forks);
		WRITE(records[1].value, (forks - pairs[pair].forks_before) * WINDOWS_PER_SECOND);
		pairs[pair].forks_before = forks;
		if (READ(records[0].value)) {
			pairs[pair].since = 0;
		} else if (!pairs[pair].since) {
			pairs[pair].since = now;
		} else if (now - pairs[pair].since >= SECOND) {
			bpf_map_delete_elem(&users, &user);
			WRITE(records[0].id, 0);
			WRITE(records[1].id, 0);
			pairs[pair].since = now;
			WRITE(pairs[pair].state, PAIR_RETIRED);
		}
		break;
	case PAIR_RETIRED:
		if (now - pairs[pair].since < SECOND)
			break;
		if (!READ(records[0].value))
			WRITE(pairs[pair].state, PAIR_FREE);
		else if (!bpf_map_update_elem(&users, &user, &again, BPF_NOEXIST)) {
			/* A fork found the pair just before it was retired: the user is still there. */
			publish_pair(records, pair, user);
			pairs[pair].since = 0;
			WRITE(pairs[pair].state, PAIR_USED);
		}
		break;
	}
	return 0;
}

#endif
