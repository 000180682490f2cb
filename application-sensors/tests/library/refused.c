/* Everything that can be refused, one reason a line. */
#include "backdoors.h"
#include <stdio.h>
#include <stdlib.h>

static void refused(const char *socket, const char *name, struct backdoors_sensor_spec spec, size_t count,
		    uint32_t without_agent)
{
	if (backdoors_attach(socket, name, &spec, count, without_agent))
		abort();
	printf("%s\n", backdoors_error());
}

static uint32_t hook(void *data, uint64_t word)
{
	(void)data;
	(void)word;
	return 0;
}

static void hook_refused(const char *socket, const struct backdoors_hook_spec *spec, size_t count)
{
	if (backdoors_attach_with_hooks(socket, "web", NULL, 0, spec, count, BACKDOORS_REFUSE))
		abort();
	printf("%s\n", backdoors_error());
}

int main(int argc, char **argv)
{
	const struct backdoors_sensor_spec good = { .name = "p", .sensor_class = BACKDOORS_LEVEL, .limit = 5 };
	struct backdoors_sensor_spec bad = good;

	if (argc != 2 || backdoors_error()[0] != '\0')
		abort();
	refused(NULL, "web", good, 1, BACKDOORS_REFUSE);
	refused(argv[1], "web", good, 1, 99);
	bad.sensor_class = BACKDOORS_PROGRESS;
	bad.limit = 0;
	refused(argv[1], "web", bad, 1, BACKDOORS_REFUSE);
	bad = good;
	bad.sensor_class = 99;
	refused(argv[1], "web", bad, 1, BACKDOORS_REFUSE);
	bad = good;
	bad.unit = 99;
	refused(argv[1], "web", bad, 1, BACKDOORS_REFUSE);
	refused(argv[1], "web", good, 1000000, BACKDOORS_REFUSE);
	refused(argv[1], "caf\xe9", good, 1, BACKDOORS_REFUSE);
	refused("/nowhere/at-all.sock", "web", good, 1, BACKDOORS_REFUSE);

	struct backdoors_hook_spec bad_hook = { .name = "h", .least = 1, .most = 2, .callback = NULL };
	hook_refused(argv[1], NULL, 1);
	hook_refused(argv[1], &bad_hook, 1000000);
	hook_refused(argv[1], &bad_hook, 1);
	bad_hook.callback = hook;
	bad_hook.name = NULL;
	hook_refused(argv[1], &bad_hook, 1);
	bad_hook.name = "h";
	bad_hook.least = 2;
	bad_hook.most = 1;
	hook_refused(argv[1], &bad_hook, 1);

	struct backdoors_application *app = backdoors_attach(argv[1], "web", &good, 1, BACKDOORS_REFUSE);
	if (!app || backdoors_sensor(app, "q"))
		abort();
	printf("%s\n", backdoors_error());
	refused(argv[1], "web", good, 1, BACKDOORS_REFUSE);

	/* Nothing happens to what is not there. */
	backdoors_add(NULL, 1);
	backdoors_set(NULL, 1);
	if (backdoors_sensor(NULL, "p") || backdoors_detach(NULL) != 0 || backdoors_detach(app) != 0)
		abort();
	return 0;
}
