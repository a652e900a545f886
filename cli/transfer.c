/* Verbs that move images from or to a registry. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/credentials.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/limits.h"
#include "lib/strbuf.h"

static bool
is_retry(const char *text)
{
	uint64_t n;

	return strcmp(text, "forever") == 0 ||
	    (str_to_u64(text, UINT32_MAX - 1, &n) && n > 0);
}

int
read_verify_key(const char *path, char **ret, struct imgd_error **err)
{
	cleanup_free char *pem = NULL;
	int r = fs_read_file(AT_FDCWD, path, LIMIT_KEY_BYTES, &pem, NULL, err);

	if (r < 0)
		return r;
	/* Here, where the file can be named. */
	if (strstr(pem, "-----BEGIN PUBLIC KEY-----") == NULL)
		return imgd_error_set(err, EINVAL,
		    "%s: not a public key in PEM form", path);
	*ret = take_ptr(&pem);
	return 0;
}

int
transfer_run(struct cli *cli, const char *name, const struct transfer *t,
    const char *key, const char *value)
{
	cleanup(credentials_done) struct credentials cred = { 0 };
	cleanup(progress_freep) struct progress *progress = NULL;
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *result = NULL, *pem = NULL;
	uint64_t bytes;

	if (t->retry != NULL && !is_retry(t->retry))
		return usage_error(cli, "%s: not a number of attempts",
		    t->retry);
	if (t->limit_rate != NULL &&
	    (!str_to_size(t->limit_rate, &bytes) || bytes == 0))
		return usage_error(cli, "%s: not a rate", t->limit_rate);
	if (t->is_any_name && t->verify_key == NULL)
		return usage_error(cli, "--any-name goes with --verify-key");
	if (t->verify_key != NULL &&
	    read_verify_key(t->verify_key, &pem, &err) < 0)
		return report(cli, NULL, err);
	if (credentials_find(name, &cred, &err) < 0)
		return report(cli, name, err);
	{
		const char *const env[][2] = {
			{ "driver", t->driver },
			{ "all-tags", t->is_all ? "1" : NULL },
			{ "registry-v1", t->is_v1 ? "1" : NULL },
			{ "retry", t->retry },
			{ "limit-rate", t->limit_rate },
			{ "verify-key", pem },
			{ "key-name", t->verify_key },
			{ "any-name", t->is_any_name ? "1" : NULL },
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
