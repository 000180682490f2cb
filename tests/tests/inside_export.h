/* Has a server stand still, or die, in the middle of an export: that of the number STANDS_STILL_AT, or DIES_AT. Its snapshot lies
 * across the end of a page, behind which nothing can be read. */
#define _DEFAULT_SOURCE
#define _POSIX_C_SOURCE 200809L
#include "../../continuation-box/c/include/backdoors-sessions.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };
static char *pages;

static void at_the_pages_end(int number)
{
	static const char word[] = "inside\n";
	(void)number;
	if (write(STDOUT_FILENO, word, sizeof word - 1) < 0 || getenv("DIES_AT"))
		raise(SIGKILL);
	raise(SIGSTOP);
	/* It goes on where it was. */
	mprotect(pages + PAGE, PAGE, PROT_READ | PROT_WRITE);
}

static int export_across_pages(struct backdoors_session *session, const void *snapshot, size_t length)
{
	static long exports;
	const char *dies = getenv("DIES_AT"), *stands = getenv("STANDS_STILL_AT"), *at = dies ? dies : stands;
	if (!at || ++exports != atol(at))
		return backdoors_session_export(session, snapshot, length);
	pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *start = pages + PAGE - length / 2;
	if (pages == MAP_FAILED || !memcpy(start, snapshot, length) || mprotect(pages + PAGE, PAGE, PROT_NONE) != 0)
		abort();
	signal(SIGSEGV, at_the_pages_end);
	return backdoors_session_export(session, start, length);
}

#define backdoors_session_export export_across_pages
