/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Made from continuation-box/c/src/header.rs; `UPDATE_HEADER=1 cargo test -p backdoors-sessions` makes it anew.
 *
 * Sessions of a server that outlive it: when it dies without having ended them, its clients notice nothing but silence, and
 * the next server of the same service goes on with each where it was exported last.
 * Link with -lbackdoors_sessions. continuation-box/examples/streaming-server.c is a whole server.
 *
 * Functions that return int or ssize_t return less than 0 if they fail: a number of <errno.h>, negative, and
 * backdoors_session_error tells the rest. NULL for a service or a session is -EINVAL, or no (0) as the answer to a question.
 * A service may be used by several threads at the same time, a session by one.
 */
#ifndef BACKDOORS_SESSIONS_H
#define BACKDOORS_SESSIONS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Most bytes of a service's name. */
#define BACKDOORS_MAX_SERVICE_NAME 48

struct backdoors_service;
struct backdoors_session;

/* Attaches this process as the server of a service to the agent that listens at `socket`; with NULL, to the one whose
 * socket the variable BACKDOORS_SERVICES names, and without that variable it serves alone: all sessions are plain
 * connections. They are so, too, as long as there is no agent; the server is attached as soon as one comes, and the sessions that are
 * accepted from then on are protected. Only one process serves a service: another that is just ending is waited for three seconds at
 * most. Starts one thread, which takes none of the process's signals. Attach after daemonizing, not before, and have
 * children hold none of the sockets.
 * Returns NULL if it failed; then backdoors_session_error tells why. */
struct backdoors_service *backdoors_service_attach(const char *socket, const char *service);

/* Accepts the connections of a TCP socket that listens already. The library makes a duplicate of it for itself: what is yours you
 * may close. Once for each service. The socket is in non-blocking mode afterwards. */
int backdoors_service_listen(struct backdoors_service *service, int socket);

/* Two descriptors, of which one is readable when there is something to be accepted; the second is -1, which poll passes over, in a
 * server that serves alone. They are good until the service is left. */
int backdoors_service_descriptors(struct backdoors_service *service, int descriptors[2]);

/* Whether backdoors_service_accept fails with -EAGAIN rather than waits. */
int backdoors_service_set_nonblocking(struct backdoors_service *service, int is_nonblocking);

/* The next session, new or recovered. It is in blocking mode. `*session` is NULL if it failed. */
int backdoors_service_accept(struct backdoors_service *service, struct backdoors_session **session);

/* Accepts no more, frees the service, and sets `*service` to NULL. When all sessions have ended, too, the server has left. One that ends
 * without that, in whatever way, has died, and its sessions are kept for the next: so a server that is to be replaced by another just
 * exits. Does nothing if there is none. */
void backdoors_service_leave(struct backdoors_service **service);

/* To wait at, and to set options of; not to read, write or close. */
int backdoors_session_descriptor(struct backdoors_session *session);

/* Whether reading, writing and flushing fail with -EAGAIN rather than wait. */
int backdoors_session_set_nonblocking(struct backdoors_session *session, int is_nonblocking);

/* Whether the connection outlives this server: the agent holds it. */
int backdoors_session_is_protected(struct backdoors_session *session);

/* Whether it was begun by another server, and goes on here. */
int backdoors_session_is_recovered(struct backdoors_session *session);

/* What a recovered session was exported last; of length 0 if it never was, which is the beginning. It is to be taken in before
 * anything is read or written. NULL if the session is new. It is good until the session is ended. */
const void *backdoors_session_snapshot(struct backdoors_session *session, size_t *length);

/* How many bytes before its snapshot a recovered session begins to write. Always 0 if the service's `output` is mirrored. */
uint64_t backdoors_session_output_to_repeat(struct backdoors_session *session);

/* Whether there are bytes to be read that the descriptor does not tell of: what the server before had read since its last
 * export. Look before each time that you wait. */
int backdoors_session_has_replay(struct backdoors_session *session);

/* Whether there are bytes that were written and for which the connection had no room: flush when the descriptor is writable. What is
 * held back does not count. */
int backdoors_session_has_unsent(struct backdoors_session *session);

/* As read(2) of a socket: 0 is the end of what the client sends. */
ssize_t backdoors_session_read(struct backdoors_session *session, void *buffer, size_t room);

/* As write(2): some of the bytes, and no signal where the client is gone. What a recovered session had written since its last export is to be
 * written again as it was, and is passed over. -ENOSPC if more is held back than there is room for. */
ssize_t backdoors_session_write(struct backdoors_session *session, const void *bytes, size_t length);

/* Writes what there was no room for. What is held back stays so. */
int backdoors_session_flush(struct backdoors_session *session);

/* Makes this the point at which the session goes on if this server ends. Waits for nothing, and asks the system for nothing unless
 * something is held back: that is written now. -EMSGSIZE if the service's `snapshot` is smaller; then the one before stands. */
int backdoors_session_export(struct backdoors_session *session, const void *snapshot, size_t length);

/* From here on what is written may come out otherwise if it is written again: it is kept until the next export, and no client sees
 * any of it before. What was written before this, since the last export, must come out again as it was.
 * -EOPNOTSUPP if the service's `output` is regenerated. Where there is no agent nothing is held back. */
int backdoors_session_hold_back(struct backdoors_session *session);

/* Sends what is unsent and the connection's end, frees the session, and sets `*session` to NULL, also if the
 * client is gone, of which the number tells. Only with -EAGAIN, which a session in non-blocking mode gives when not everything could
 * be sent, it is still there: wait until the descriptor is writable, and do it again. Does nothing if there is none. */
int backdoors_session_end(struct backdoors_session **session);

/* Why the last call of this thread that failed did so. Good until the next one fails; never NULL. */
const char *backdoors_session_error(void);

/* What the library has to say besides, such as that an agent is missing or that a session was lost, is told to this function instead of
 * standard error, from any thread; `level` is LOG_ERR or LOG_WARNING of <syslog.h>. NULL is standard error again. Call it
 * before attaching. Nothing may be thrown out of it. */
void backdoors_session_log(void (*log)(int level, const char *message));

#ifdef __cplusplus
}
#endif

#endif
