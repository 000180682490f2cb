/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A server whose streams outlive it: killed and started again it goes on with each client where it was.
 *
 *     cc -o streaming-server streaming-server.c $(pkg-config --cflags --libs backdoors-sessions)
 *     BACKDOORS_SERVICES=/run/backdoors/services.sock ./streaming-server SERVICE PORT
 *
 * A client says, a line each:
 *     STREAM rate count   send me so many lines, so many a second (rate is 1 to 100000, count 0 is without end)
 *     RATE rate           from here on at this rate
 *     TIME                what time is it?
 * and is sent, until it closes or has all of its lines:
 *     line 17 after 1763782000123456789 d1b5f1a3    number; time that was told last, 0 if none was; sum of the line
 *     time 1763782000123456789 9e3779b9
 *
 * What makes a server recoverable:
 *  1. All that a client's stream depends on is in one struct without pointers, which is exported. That includes what
 *     was read and not acted on yet. Descriptors, clocks and half-sent lines are not in it.
 *  2. A session goes on where it was exported last: what was read since is read again, and what was written since is to
 *     be written again, as it was; the library passes over it. So between two exports there is one step: a command that
 *     is obeyed, or a line that is written. A line depends on the struct alone, and never on when it is written.
 *  3. A recovered session begins with the line that it may have been killed at. No command is obeyed before.
 *  4. What would come out otherwise the next time, here the time, is held back until it is in a snapshot.
 * The service's output must be mirrored, which it is unless the agent's configuration says otherwise.
 */
#define _POSIX_C_SOURCE 200809L
#include "backdoors-sessions.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { MOST_CLIENTS = 256, LISTENERS = 2, LINES_AT_ONCE = 64 };

/* What is exported. The next server may be another build of this program, hence the version. */
struct state {
	uint32_t version;
	uint32_t rate;   /* lines a second; 0 before STREAM */
	uint64_t lines;  /* sent so far */
	uint64_t count;  /* to be sent; UINT64_MAX is without end */
	uint64_t told;   /* the time that was told last */
	uint32_t unread; /* bytes of `input` */
	char input[124]; /* what was read and not acted on */
};

struct client {
	struct backdoors_session *session; /* NULL: nobody */
	struct state state;
	int64_t due;     /* when the next line is, in nanoseconds */
	char output[96]; /* a line that is being written, and how far it is */
	size_t length, written;
	int is_closing;
};

static struct client clients[MOST_CLIENTS];

static int64_t now(clockid_t clock)
{
	struct timespec time;
	clock_gettime(clock, &time);
	return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

/* Puts the sum of the line that is there behind it (FNV-1a). */
static void finish_line(struct client *client)
{
	uint32_t sum = 2166136261u;
	size_t length = strlen(client->output);
	for (size_t i = 0; i < length; i++)
		sum = (sum ^ (unsigned char)client->output[i]) * 16777619u;
	snprintf(client->output + length, sizeof client->output - length, " %08" PRIx32 "\n", sum);
	client->length = strlen(client->output);
	client->written = 0;
}

static void begin_line(struct client *client)
{
	struct state *state = &client->state;
	state->lines++;
	snprintf(client->output, sizeof client->output, "line %" PRIu64 " after %" PRIu64, state->lines, state->told);
	finish_line(client);
	client->due += INT64_C(1000000000) / state->rate;
}

/* No two servers would say the same. So nobody sees it before it is exported; if that never happens it was never said. */
static int begin_time(struct client *client)
{
	struct state *state = &client->state;
	int failed = backdoors_session_hold_back(client->session);
	if (failed)
		return failed;
	state->told = (uint64_t)now(CLOCK_REALTIME);
	snprintf(client->output, sizeof client->output, "time %" PRIu64, state->told);
	finish_line(client);
	return 0;
}

static int has_ended(const struct state *state)
{
	return state->rate != 0 && state->lines == state->count;
}

/* Here the session goes on if this server is killed. */
static int export_state(struct client *client)
{
	return backdoors_session_export(client->session, &client->state, sizeof client->state);
}

/* Writes the line that there is, and exports when all of it is written. */
static int write_line(struct client *client)
{
	while (client->written < client->length) {
		ssize_t count = backdoors_session_write(client->session, client->output + client->written,
							client->length - client->written);
		if (count < 0)
			return (int)count;
		client->written += (size_t)count;
	}
	if (client->length > 0) {
		client->length = client->written = 0;
		int failed = export_state(client);
		if (failed)
			return failed;
	}
	return backdoors_session_flush(client->session);
}

/* Obeys the first command that was read, and says whether there was one. */
static int obey(struct client *client)
{
	struct state *state = &client->state;
	char *end = memchr(state->input, '\n', state->unread);
	if (!end)
		return state->unread == sizeof state->input ? -EPROTO : 0;
	*end = '\0';
	unsigned rate;
	uint64_t count;
	int is_time = strcmp(state->input, "TIME") == 0;
	if (!is_time) {
		if (state->rate == 0 && sscanf(state->input, "STREAM %u %" SCNu64, &rate, &count) == 2)
			state->count = count ? count : UINT64_MAX;
		else if (state->rate == 0 || sscanf(state->input, "RATE %u", &rate) != 1)
			return -EPROTO;
		if (rate < 1 || rate > 100000)
			return -EPROTO;
		state->rate = rate;
		client->due = now(CLOCK_MONOTONIC);
	}
	state->unread -= (uint32_t)(end + 1 - state->input);
	memmove(state->input, end + 1, state->unread);
	int failed = is_time ? begin_time(client) : export_state(client);
	return failed ? failed : 1;
}

/* Reads what the client says; first, what the server before had read since its last export. */
static int take_input(struct client *client)
{
	struct state *state = &client->state;
	ssize_t count = backdoors_session_read(client->session, state->input + state->unread,
					       sizeof state->input - state->unread);
	if (count == 0)
		return -ECONNRESET;
	if (count < 0)
		return count == -EAGAIN ? 0 : (int)count;
	state->unread += (uint32_t)count;
	return 0;
}

/* Does all that is to be done now. -EAGAIN: when the connection has room again. */
static int serve(struct client *client, int has_input)
{
	for (int lines = 0;;) {
		int result = write_line(client);
		if (result < 0)
			return result;
		if (has_ended(&client->state)) {
			client->is_closing = 1;
			return 0;
		}
		result = obey(client);
		if (result < 0)
			return result;
		if (result > 0)
			continue;
		if (has_input || backdoors_session_has_replay(client->session)) {
			has_input = 0;
			result = take_input(client);
			if (result < 0)
				return result;
		} else if (client->state.rate && client->due <= now(CLOCK_MONOTONIC) && lines++ < LINES_AT_ONCE) {
			begin_line(client);
		} else {
			return 0;
		}
	}
}

static void look_after(struct client *client, int has_input)
{
	int failed = client->is_closing ? 0 : serve(client, has_input);
	if (failed == -EAGAIN)
		return;
	if (failed && failed != -ECONNRESET && failed != -EPIPE)
		fprintf(stderr, "streaming-server: a client is hung up on: %s\n",
			failed == -EPROTO ? "it does not make sense" : backdoors_session_error());
	if (failed || client->is_closing) {
		/* If there is no room for the last of it the session is still there, and this is done again. */
		client->is_closing = 1;
		backdoors_session_end(&client->session);
	}
}

/* Takes in a session that another server began. */
static int import_state(struct client *client)
{
	struct state *state = &client->state;
	size_t length;
	const void *snapshot = backdoors_session_snapshot(client->session, &length);
	if (length == 0)
		return 0; /* nothing was exported yet: it is at its beginning */
	if (length != sizeof *state || backdoors_session_output_to_repeat(client->session) > 0)
		return -1;
	memcpy(state, snapshot, sizeof *state);
	if (state->version != 1 || state->unread > sizeof state->input)
		return -1;
	if (state->rate && !has_ended(state))
		begin_line(client);
	return 0;
}

static void accept_clients(struct backdoors_service *service)
{
	for (struct client *client = clients; client < clients + MOST_CLIENTS; client++) {
		if (client->session)
			continue;
		struct backdoors_session *session;
		int failed = backdoors_service_accept(service, &session);
		if (failed == -EAGAIN)
			return;
		if (failed) {
			fprintf(stderr, "streaming-server: %s\n", backdoors_session_error());
			return;
		}
		*client = (struct client){ .session = session, .state.version = 1, .due = now(CLOCK_MONOTONIC) };
		backdoors_session_set_nonblocking(session, 1);
		if (backdoors_session_is_recovered(session) && import_state(client) != 0) {
			fprintf(stderr, "streaming-server: a session of another kind of server is ended\n");
			backdoors_session_end(&client->session);
			continue;
		}
		look_after(client, 0);
	}
}

/* Waits until there is something to do, and does it. */
static void turn(struct backdoors_service *service)
{
	struct pollfd waiting[LISTENERS + MOST_CLIENTS];
	int listeners[LISTENERS], has_room = 0;
	int64_t next = INT64_MAX;
	for (int i = 0; i < MOST_CLIENTS; i++) {
		struct client *client = &clients[i];
		struct pollfd *socket = &waiting[LISTENERS + i];
		*socket = (struct pollfd){ .fd = -1 };
		if (!client->session) {
			has_room = 1;
			continue;
		}
		int is_blocked = client->is_closing || client->length > 0 || backdoors_session_has_unsent(client->session);
		socket->fd = backdoors_session_descriptor(client->session);
		/* Who does not take what it is sent is not listened to. */
		socket->events = is_blocked ? POLLOUT : POLLIN;
		if (!is_blocked && client->state.rate && client->due < next)
			next = client->due;
	}
	backdoors_service_descriptors(service, listeners);
	for (int i = 0; i < LISTENERS; i++)
		waiting[i] = (struct pollfd){ .fd = has_room ? listeners[i] : -1, .events = POLLIN };

	int64_t left = next - now(CLOCK_MONOTONIC);
	int timeout = next == INT64_MAX ? -1 : left <= 0 ? 0 : (int)((left + 999999) / 1000000);
	if (poll(waiting, LISTENERS + MOST_CLIENTS, timeout) < 0)
		return;
	for (int i = 0; i < MOST_CLIENTS; i++) {
		int events = waiting[LISTENERS + i].revents;
		int is_due = clients[i].state.rate && clients[i].due <= now(CLOCK_MONOTONIC);
		if (clients[i].session && (events || is_due))
			look_after(&clients[i], events & (POLLIN | POLLHUP | POLLERR));
	}
	if (waiting[0].revents || waiting[1].revents)
		accept_clients(service);
}

static int listen_at(unsigned short port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	int yes = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
	/* There may be connections to this port which have outlived the server before. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, SOMAXCONN) != 0) {
		perror("streaming-server");
		exit(1);
	}
	return fd;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: streaming-server SERVICE PORT\n");
		return 2;
	}
	struct backdoors_service *service = backdoors_service_attach(NULL, argv[1]);
	if (!service || backdoors_service_listen(service, listen_at((unsigned short)atoi(argv[2]))) != 0) {
		fprintf(stderr, "streaming-server: %s\n", backdoors_session_error());
		return 1;
	}
	backdoors_service_set_nonblocking(service, 1);
	printf("ready\n");
	fflush(stdout);
	/* However this ends, its sessions wait for the next server. */
	for (;;)
		turn(service);
}
