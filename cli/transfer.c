/* Verbs that move images from or to a registry. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/credentials.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"

static bool
is_retry(const char *text)
{
	uint64_t n;

	return strcmp(text, "forever") == 0 ||
	    (str_to_u64(text, UINT32_MAX - 1, &n) && n > 0);
}

int
transfer_run(struct cli *cli, const char *name, const struct transfer *t,
    const char *key, const char *value)
{
	cleanup(credentials_done) struct credentials cred = { 0 };
	cleanup(progress_freep) struct progress *progress = NULL;
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *result = NULL;
	uint64_t bytes;

	if (t->retry != NULL && !is_retry(t->retry))
		return usage_error(cli, "%s: not a number of attempts",
		    t->retry);
	if (t->limit_rate != NULL &&
	    (!str_to_size(t->limit_rate, &bytes) || bytes == 0))
		return usage_error(cli, "%s: not a rate", t->limit_rate);
	if (credentials_find(name, &cred, &err) < 0)
		return report(cli, name, err);
	{
		const char *const env[][2] = {
			{ "driver", t->driver },
			{ "all-tags", t->is_all ? "1" : NULL },
			{ "registry-v1", t->is_v1 ? "1" : NULL },
			{ "retry", t->retry },
			{ "limit-rate", t->limit_rate },
			{ "username", cred.username },
			{ "password", cred.password },
			{ "identity-token", cred.identity_token },
			{ key, value },
		};
		const struct job_request request = {
			.name = cli->cmd->name,
			.args = &name,
			.n_args = 1,
			.env = env,
			.n_env = sizeof(env) / sizeof(env[0]),
		};

		progress = progress_new(t->is_json ? PROGRESS_JSON
			: t->is_quiet		   ? PROGRESS_QUIET
						   : PROGRESS_PLAIN);
		if (cli_run(cli, &request,
			progress_output, progress, &result, &err) < 0)
			return report(cli, name, err);
	}
	if (!t->is_json)
		(void)puts(result);
	return 0;
}
