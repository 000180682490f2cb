/* A child adds, tries to detach, and ends; the parent adds once more, and detaches when its standard input ends. */
#define _POSIX_C_SOURCE 200809L
#include "backdoors.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const struct backdoors_sensor_spec spec = { .name = "p", .sensor_class = BACKDOORS_LEVEL, .limit = 50 };
	struct backdoors_application *app = backdoors_attach(argc == 2 ? argv[1] : NULL, "forked", &spec, 1,
							     BACKDOORS_REFUSE);

	if (!app)
		abort();
	struct backdoors_sensor *sensor = backdoors_sensor(app, "p");
	pid_t child = fork();
	if (child == 0) {
		backdoors_add(sensor, 10);
		_exit(backdoors_detach(app) == -1 ? 0 : 1);
	}
	int status;
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		abort();
	backdoors_add(sensor, 1);
	while (getchar() != EOF)
		;
	return backdoors_detach(app) == 0 ? 0 : 1;
}
