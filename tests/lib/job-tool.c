/*
 * Run any job in a store's engine, as the API's server does: for what no verb
 * shows as it is.  It stands beside imgd, where drivers and workers are found.
 *
 * usage: job-tool ROOT CONFIG JOB [ARGUMENT…] [-- KEY=VALUE…]
 *
 * Prints the objects of its output, one a line, and its result; a failure goes
 * to stdout, too, as {"error": text, "code": number}.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/client.h"
#include "core/role.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"

#define MAX_ENV 32

static void
print_output(void *ctx, const char *json)
{
	(void)ctx;
	(void)puts(json);
	(void)fflush(stdout);
}

int
main(int argc, char **argv)
{
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *result = NULL;
	const char *env[MAX_ENV][2];
	struct config config = { 0 };
	struct job_request q = { .env = env };
	struct strbuf sb = STRBUF_INIT;
	int i;

	/* An engine that begins here has workers, too. */
	i = argc > 0 ? role_run(argv[0]) : -1;
	if (i >= 0)
		return i;
	if (argc < 4 || config_load(argv[2], &config, &err) < 0)
		return 2;
	q.name = argv[3];
	q.args = (const char *const *)argv + 4;
	for (i = 4; i < argc && strcmp(argv[i], "--") != 0; i++)
		q.n_args++;
	for (i++; i < argc && q.n_env < MAX_ENV; i++) {
		char *equals = strchr(argv[i], '=');

		if (equals == NULL)
			return 2;
		*equals = '\0';
		env[q.n_env][0] = argv[i];
		env[q.n_env++][1] = equals + 1;
	}
	i = client_run(argv[1], &config, &q, print_output, NULL, &result,
	    &err);
	if (i >= 0) {
		(void)puts(result);
	} else {
		strbuf_puts(&sb, "{\"error\":");
		strbuf_json(&sb, imgd_error_msg(err));
		strbuf_printf(&sb, ",\"code\":%d}", imgd_error_code(err));
		(void)puts(sb.data);
		strbuf_done(&sb);
	}
	config_done(&config);
	return i < 0;
}
