/* Has a server die at the step that the variable DIES_AT numbers, before it. */
#define _POSIX_C_SOURCE 200809L
#include "../../../continuation-box/c/include/backdoors-sessions.h"
#include <signal.h>
#include <stdlib.h>

static void step(void)
{
	static long steps;
	const char *last = getenv("DIES_AT");
	if (last && ++steps == atol(last))
		raise(SIGKILL);
}

#define backdoors_session_read(...) (step(), backdoors_session_read(__VA_ARGS__))
#define backdoors_session_write(...) (step(), backdoors_session_write(__VA_ARGS__))
#define backdoors_session_export(...) (step(), backdoors_session_export(__VA_ARGS__))
#define backdoors_session_hold_back(...) (step(), backdoors_session_hold_back(__VA_ARGS__))
#define backdoors_session_flush(...) (step(), backdoors_session_flush(__VA_ARGS__))
