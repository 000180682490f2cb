/* Everything that can be misused: a line with its number and its reason, each. Its argument is a path at which no agent
 * listens. */
#define _POSIX_C_SOURCE 200809L
#include "backdoors-sessions.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void failed(long result, int number)
{
	if (result != -number) {
		fprintf(stderr, "%ld instead of %d: %s\n", result, -number, backdoors_session_error());
		abort();
	}
	printf("%s: %s\n", strerror(number), backdoors_session_error());
}

static void refused(const char *socket, const char *service)
{
	if (backdoors_service_attach(socket, service))
		abort();
	printf("%s\n", backdoors_session_error());
}

static void check(int is_so, int line)
{
	if (!is_so) {
		fprintf(stderr, "line %d\n", line);
		abort();
	}
}
#define CHECK(what) check(what, __LINE__)

static int warnings;

static void hear(int level, const char *message)
{
	CHECK(level == 4 && strstr(message, "no agent"));
	warnings++;
}

int main(int argc, char **argv)
{
	char byte = 'x';
	size_t length = 7;
	int descriptors[2];
	struct backdoors_service *service = NULL;
	struct backdoors_session *session = NULL;

	CHECK(argc == 2 && backdoors_session_error()[0] == '\0');

	/* Nothing that is not there does anything. */
	failed(backdoors_service_listen(NULL, 0), EINVAL);
	failed(backdoors_service_descriptors(NULL, descriptors), EINVAL);
	failed(backdoors_service_set_nonblocking(NULL, 1), EINVAL);
	failed(backdoors_service_accept(NULL, &session), EINVAL);
	backdoors_service_leave(NULL);
	backdoors_service_leave(&service);
	failed(backdoors_session_descriptor(NULL), EINVAL);
	failed(backdoors_session_set_nonblocking(NULL, 1), EINVAL);
	failed(backdoors_session_read(NULL, &byte, 1), EINVAL);
	failed(backdoors_session_write(NULL, &byte, 1), EINVAL);
	failed(backdoors_session_flush(NULL), EINVAL);
	failed(backdoors_session_export(NULL, &byte, 1), EINVAL);
	failed(backdoors_session_hold_back(NULL), EINVAL);
	CHECK(!backdoors_session_is_protected(NULL) && !backdoors_session_is_recovered(NULL));
	CHECK(!backdoors_session_has_replay(NULL) && !backdoors_session_has_unsent(NULL));
	CHECK(!backdoors_session_output_to_repeat(NULL));
	CHECK(!backdoors_session_snapshot(NULL, &length) && length == 0 && !backdoors_session_snapshot(NULL, NULL));
	CHECK(backdoors_session_end(NULL) == 0 && backdoors_session_end(&session) == 0);

	/* Names. */
	refused(argv[1], NULL);
	refused(argv[1], "");
	refused(argv[1], "caf\xe9");
	refused(argv[1], "a name that is longer than any service can have it: 48");
	CHECK(warnings == 0);

	/* Sockets. */
	backdoors_session_log(hear);
	service = backdoors_service_attach(argv[1], "web");
	CHECK(service && warnings == 1);
	failed(backdoors_service_accept(service, &session), EINVAL);
	failed(backdoors_service_descriptors(service, descriptors), EINVAL);
	failed(backdoors_service_listen(service, -1), EBADF);
	failed(backdoors_service_listen(service, 1000), EBADF);
	failed(backdoors_service_listen(service, 1), EINVAL);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof address;
	CHECK(bind(listener, (struct sockaddr *)&address, size) == 0);
	failed(backdoors_service_listen(service, listener), EINVAL);
	CHECK(listen(listener, 8) == 0 && getsockname(listener, (struct sockaddr *)&address, &size) == 0);
	CHECK(backdoors_service_listen(service, listener) == 0);
	failed(backdoors_service_listen(service, listener), EALREADY);
	/* The library has its own. */
	close(listener);
	CHECK(backdoors_service_descriptors(service, descriptors) == 0 && descriptors[0] >= 0 && descriptors[1] >= 0);
	failed(backdoors_service_descriptors(service, NULL), EINVAL);

	/* Sessions. */
	CHECK(backdoors_service_set_nonblocking(service, 1) == 0);
	session = (struct backdoors_session *)&byte;
	failed(backdoors_service_accept(service, &session), EAGAIN);
	CHECK(session == NULL);
	failed(backdoors_service_accept(service, NULL), EINVAL);
	int client = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(connect(client, (struct sockaddr *)&address, size) == 0);
	CHECK(backdoors_service_set_nonblocking(service, 0) == 0 && backdoors_service_accept(service, &session) == 0);
	CHECK(!backdoors_session_is_protected(session) && !backdoors_session_is_recovered(session));
	CHECK(!backdoors_session_snapshot(session, &length) && length == 0);
	CHECK(backdoors_session_hold_back(session) == 0 && backdoors_session_export(session, NULL, 0) == 0);
	failed(backdoors_session_export(session, NULL, 1), EINVAL);
	failed(backdoors_session_write(session, NULL, 1), EINVAL);
	failed(backdoors_session_write(session, &byte, SIZE_MAX), EINVAL);
	failed(backdoors_session_read(session, NULL, 1), EINVAL);
	failed(backdoors_session_read(session, &byte, SIZE_MAX), EINVAL);
	CHECK(backdoors_session_set_nonblocking(session, 1) == 0);
	failed(backdoors_session_read(session, &byte, 1), EAGAIN);
	CHECK(backdoors_session_write(session, &byte, 1) == 1 && read(client, &byte, 1) == 1);
	CHECK(write(client, "abc", 3) == 3 && shutdown(client, SHUT_WR) == 0);
	CHECK(backdoors_session_set_nonblocking(session, 0) == 0);
	CHECK(backdoors_session_read(session, &byte, 1) == 1 && byte == 'a');

	/* Twice ended is once ended, and sessions may outlive the service. */
	backdoors_service_leave(&service);
	backdoors_service_leave(&service);
	CHECK(service == NULL && backdoors_session_flush(session) == 0);
	CHECK(backdoors_session_end(&session) == 0 && session == NULL);
	CHECK(backdoors_session_end(&session) == 0);

	/* It hears of nothing any more. */
	backdoors_session_log(NULL);
	service = backdoors_service_attach(argv[1], "web");
	CHECK(service && warnings == 1);
	return 0;
}
