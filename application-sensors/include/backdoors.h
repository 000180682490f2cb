/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Made from application-sensors/src/c_header.rs; `UPDATE_HEADER=1 cargo test -p backdoors-application-sensors` makes it
 * anew.
 *
 * Sensors of an application's own, which monitors read over the network even when the application stands still, and
 * hooks, by which they have it do something.
 * Link with -lbackdoors_application_sensors. All functions may be called from any thread.
 */
#ifndef BACKDOORS_H
#define BACKDOORS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Classes of sensors, and what their limits mean. */
enum {
	BACKDOORS_PROGRESS = 1, /* must change at least every `limit` nanoseconds, 1 ms to 1 day */
	BACKDOORS_LEVEL = 2,    /* must not exceed `limit` */
	BACKDOORS_FLOOR = 3,    /* must not fall below `limit`, at least 1; starts there */
	BACKDOORS_PRESSURE = 4, /* counts bad events, of which `limit` may come before somebody is told */
};

/* What values count; 0 is BACKDOORS_COUNT, too. */
enum {
	BACKDOORS_COUNT = 1,
	BACKDOORS_PER_SECOND = 2,
	BACKDOORS_BYTES = 3,
	BACKDOORS_NANOSECONDS = 4,
};

/* What backdoors_attach does when there is no agent. */
enum {
	BACKDOORS_WARN = 0,   /* say so on standard error, once, and attach as soon as one comes */
	BACKDOORS_IGNORE = 1, /* attach as soon as one comes */
	BACKDOORS_REFUSE = 2, /* fail */
};

/* A limit that is never reached: the sensor is evidence only. Not for progress sensors. */
#define BACKDOORS_NO_LIMIT UINT64_C(0xffffffffffffffff)
/* Most sensors of an application. */
#define BACKDOORS_MAX_SENSORS 62

/* Most hooks of an application. Each takes the room of 2 sensors. */
#define BACKDOORS_MAX_HOOKS 31
/* The code of a hook of a Rust program that panicked. */
#define BACKDOORS_PANICKED UINT32_C(0xffffffff)

/* A sensor that is wanted. Names of sensors, hooks and applications have 1 to 32 letters, digits, '.', '_' or '-', with a
 * letter or digit first. */
struct backdoors_sensor_spec {
	const char *name;
	uint32_t sensor_class; /* BACKDOORS_PROGRESS, ... */
	uint32_t unit;         /* BACKDOORS_COUNT, ... */
	uint64_t limit;
};

/* A hook that is offered: monitors may call it with a word from `least` to `most`, if the agent's configuration lets
 * them. Then `callback` runs with `data` and the word, on a thread of this library that takes none of the process's
 * signals, never two of an application's at the same time. It returns 0 if it did what it is for, or else a code that
 * the application chooses, for those who called. Nothing may be thrown out of it. */
struct backdoors_hook_spec {
	const char *name;
	uint64_t least;
	uint64_t most;
	uint32_t (*callback)(void *data, uint64_t word);
	void *data;
};

struct backdoors_application;
struct backdoors_sensor;

/* Attaches this process, under this name, to the agent that listens at `socket`; without_agent says what to do if there
 * is none. Waits for the agent three seconds at most. Starts one thread, which attaches anew when the agent was restarted,
 * and which takes none of the process's signals. Call it after daemonizing, not before.
 * Returns NULL if it failed; then backdoors_error tells why. */
struct backdoors_application *backdoors_attach(const char *socket, const char *name,
					       const struct backdoors_sensor_spec *sensors, size_t count,
					       uint32_t without_agent);

/* The same, with hooks, and with one more thread if there are any. Sensors may be none then. Functions and data of hooks
 * must be good until the application is detached; names and the arrays are copied. */
struct backdoors_application *backdoors_attach_with_hooks(const char *socket, const char *name,
							  const struct backdoors_sensor_spec *sensors, size_t count,
							  const struct backdoors_hook_spec *hooks, size_t hook_count,
							  uint32_t without_agent);

/* The sensor with this name, or NULL if there is none (backdoors_error tells so) or `application` is NULL. It is good
 * until the application is detached. */
struct backdoors_sensor *backdoors_sensor(struct backdoors_application *application, const char *name);

/* Adds to the value, wrapping around: one atomic addition. Does nothing if `sensor` is NULL. */
void backdoors_add(struct backdoors_sensor *sensor, uint64_t value);

/* Sets the value: one atomic store. Does nothing if `sensor` is NULL. */
void backdoors_set(struct backdoors_sensor *sensor, uint64_t value);

/* Says goodbye and frees the application and its sensors, which nobody may use any more. Without this the end of the
 * process is taken for a failure. Waits for a hook that runs, unless it is called by it, and for the agent three seconds
 * at most. No hook runs after it. Returns 0 if the agent took note, else -1.
 * Does nothing if `application` is NULL. */
int backdoors_detach(struct backdoors_application *application);

/* Why the last call of this thread that failed did so. Good until the next one fails; never NULL. */
const char *backdoors_error(void);

#ifdef __cplusplus
}
#endif

#endif
