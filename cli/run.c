/* How a verb reaches the engine: by the store's own door, or by HTTP. */
#include "config.h"

#include <errno.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/lock.h"
#include "core/store.h"
#include "lib/cleanup-json.h"
#include "server/client.h"

/* Whether an engine runs is not known here, so a stale lock file of this
 * namespace does no harm. */
int
cli_check_namespace(struct cli *cli, struct imgd_error **err)
{
	cleanup_close int root_fd = -EBADF, lock_fd = -EBADF;
	int r;

	r = store_open_root(cli->root, /* is_readonly= */ false, &root_fd,
	    err);
	if (r >= 0)
		r = lock_try(root_fd, &lock_fd, err);
	/* Owned by nobody: the engine will be our own child. */
	return r != 0 ? r : lock_check_mnt_ns(root_fd, err);
}

int
cli_run(struct cli *cli, const struct job_request *request,
    job_output_cb *cb, void *ctx, char **ret_result, struct imgd_error **err)
{
	if (cli->host != NULL)
		return server_client_run(cli->host, request, cb, ctx,
		    ret_result, err);
	return client_run(cli->root, &cli->config, request, cb, ctx,
	    ret_result, err);
}

int
cli_store(struct cli *cli, struct store **ret, struct imgd_error **err)
{
	if (cli->host != NULL)
		return imgd_error_set(err, EOPNOTSUPP,
		    "not by --host, only with the store at hand");
	return store_open(cli->root, &cli->config, /* is_readonly= */ true,
	    ret, err);
}

int
cli_ask(struct cli *cli, const char *name, const char *arg,
    const char *const (*env)[2], size_t n_env, struct json_object **ret,
    struct imgd_error **err)
{
	cleanup_free char *result = NULL;
	const struct job_request request = {
		.name = name,
		.args = &arg,
		.n_args = arg != NULL,
		.env = env,
		.n_env = n_env,
	};
	int r = cli_run(cli, &request, NULL, NULL, &result, err);

	if (r < 0)
		return r;
	*ret = json_tokener_parse(result);
	if (*ret == NULL)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "%s: the daemon's answer is not JSON", cli->host);
	return 0;
}
