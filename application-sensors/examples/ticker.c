/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* An application that does nothing but tick, as ticker.rs does:
 *
 *     cc -o ticker ticker.c -I ../include -L DIRECTORY_OF_THE_LIBRARY -lbackdoors_application_sensors
 *     ./ticker SOCKET NAME TICKS_PER_SECOND LIMIT_MS LEVEL [TICKS]
 */
#define _POSIX_C_SOURCE 200809L
#include "backdoors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* The level there is to be set, once there is one. */
static _Atomic(struct backdoors_sensor *) level;

/* Sets the level; 13 it refuses. */
static uint32_t set_level(void *data, uint64_t word)
{
	const uint64_t *unlucky = data;
	struct backdoors_sensor *sensor = level;
	if (!sensor)
		return 1;
	if (word == *unlucky)
		return 2;
	backdoors_set(sensor, word);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 6 && argc != 7) {
		fprintf(stderr, "usage: ticker SOCKET NAME TICKS_PER_SECOND LIMIT_MS LEVEL [TICKS]\n");
		return 2;
	}
	unsigned long long rate = strtoull(argv[3], NULL, 10);
	unsigned long long limit = strtoull(argv[4], NULL, 10);
	unsigned long long left = argc == 7 ? strtoull(argv[6], NULL, 10) : UINT64_MAX;
	const struct backdoors_sensor_spec sensors[] = {
		{ .name = "ticks", .sensor_class = BACKDOORS_PROGRESS, .limit = limit * 1000000 },
		{ .name = "level", .sensor_class = BACKDOORS_LEVEL, .limit = 1000 },
	};
	uint64_t unlucky = 13;
	const struct backdoors_hook_spec hooks[] = {
		{ .name = "level", .least = 0, .most = 1000, .callback = set_level, .data = &unlucky },
	};
	struct backdoors_application *app =
		backdoors_attach_with_hooks(argv[1], argv[2], sensors, 2, hooks, 1, BACKDOORS_WARN);
	if (!app) {
		fprintf(stderr, "ticker: %s\n", backdoors_error());
		return 1;
	}
	struct backdoors_sensor *ticks = backdoors_sensor(app, "ticks");
	level = backdoors_sensor(app, "level");
	backdoors_set(level, strtoull(argv[5], NULL, 10));
	printf("ticking\n");
	fflush(stdout);

	long long period = 1000000000LL / (long long)(rate ? rate : 1);
	struct timespec due;
	clock_gettime(CLOCK_MONOTONIC, &due);
	for (; left > 0; left--) {
		backdoors_add(ticks, 1);
		long long nanoseconds = due.tv_nsec + period;
		due.tv_sec += nanoseconds / 1000000000LL;
		due.tv_nsec = nanoseconds % 1000000000LL;
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
			;
	}
	if (backdoors_detach(app) != 0) {
		fprintf(stderr, "ticker: %s\n", backdoors_error());
		return 1;
	}
	return 0;
}
