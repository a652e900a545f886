/* The daemon: an engine that stays, with the HTTP server beside it. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/lock.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/strbuf.h"
#include "server/server.h"

#define WANTED_FDS    8192
#define LOCK_PAUSE_MS 50
/* A verb's own engine may be at its last job. */
#define LOCK_WAIT_MS 10000

static int
take_lock(const char *root, int *ret_fd, struct imgd_error **err)
{
	cleanup_close int root_fd = -EBADF;
	int waited, r;

	r = store_open_root(root, /* is_readonly= */ false, &root_fd, err);
	if (r < 0)
		return r;
	for (waited = 0; waited < LOCK_WAIT_MS; waited += LOCK_PAUSE_MS) {
		const struct timespec pause = { 0, LOCK_PAUSE_MS * 1000000L };

		r = lock_try(root_fd, ret_fd, err);
		if (r != 0)
			return r;
		(void)nanosleep(&pause, NULL);
	}
	return imgd_error_set(err, EBUSY,
	    "%s is in use by another engine; its pid is in %s/lock", root,
	    root);
}

/* Whether stderr is the journal's, which reads levels. */
static bool
has_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream != NULL && fstat(STDERR_FILENO, &st) == 0 &&
	    sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
	    dev == (unsigned long long)st.st_dev &&
	    ino == (unsigned long long)st.st_ino;
}

static bool
set_level(const char *name)
{
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = {
		{ "warn", LOG_LEVEL_WARN },
		{ "info", LOG_LEVEL_INFO },
		{ "debug", LOG_LEVEL_DEBUG },
	};
	size_t i;

	for (i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (strcmp(levels[i].name, name) == 0) {
			log_set_daemon(levels[i].level, has_journal());
			return true;
		}
	return false;
}

static struct config *
reload(void *ctx)
{
	cleanup_error struct imgd_error *err = NULL;
	struct config *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	if (cli_read_config(ctx, c, &err) >= 0)
		return c;
	log_warn("%s, so the configuration stays as it is",
	    imgd_error_msg(err));
	config_done(c);
	free(c);
	return NULL;
}

/* Connections need descriptors; a thousand, as shells have it, are few. */
static void
raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 ||
	    limit.rlim_cur >= WANTED_FDS)
		return;
	limit.rlim_cur = limit.rlim_max < WANTED_FDS ? limit.rlim_max
						     : WANTED_FDS;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* What the options say. */
struct wanted {
	const char *group, *tcp, *key, *cert, *ca;
	uint64_t idle_s;
	bool has_metrics;
};

static int
read_pem(const char *path, char **ret, struct imgd_error **err)
{
	int r = fs_read_file(AT_FDCWD, path, LIMIT_CERT_BYTES, ret, NULL,
	    err);

	return r < 0 ? imgd_error_prefix(err, "%s", path) : 0;
}

static int
serve(struct cli *cli, const struct wanted *w, struct imgd_error **err)
{
	cleanup_free char *key = NULL, *cert = NULL, *ca = NULL;
	struct server_options so = {
		.socket_path = cli->host != NULL ? cli->host
						 : CLI_DEFAULT_HOST,
		.group = w->group,
		.tcp_address = w->tcp,
		.has_metrics = w->has_metrics,
		.reload = reload,
		.ctx = cli,
	};
	struct engine_options eo = {
		.root = cli->root,
		.config = &cli->config,
		.lock_fd = -EBADF,
		.ready_fd = -EBADF,
		.idle_ms = w->idle_s > 0 ? (int)w->idle_s * 1000 : -1,
		.service = &server_service,
	};
	struct server *server;
	int r;

	if (w->tcp != NULL) {
		r = read_pem(w->key, &key, err);
		if (r >= 0)
			r = read_pem(w->cert, &cert, err);
		if (r >= 0)
			r = read_pem(w->ca, &ca, err);
		if (r < 0)
			return r;
		so.tls_key = key;
		so.tls_cert = cert;
		so.tls_ca = ca;
	}
	r = take_lock(cli->root, &eo.lock_fd, err);
	if (r >= 0)
		r = server_new(&so, &server, err);
	if (r < 0) {
		close_fd(&eo.lock_fd);
		return r;
	}
	raise_limit();
	(void)!chdir("/");
	eo.ctx = server;
	r = engine_run(&eo, err);
	server_free(server);
	return r;
}

int
cmd_daemon(struct cli *cli, int argc, char **argv)
{
	cleanup_error struct imgd_error *err = NULL;
	const char *idle = NULL, *level = "info";
	struct wanted w = { .group = NULL };
	const struct option_spec specs[] = {
		{ 'G', "group", NULL, &w.group },
		{ 0, "idle-exit", NULL, &idle },
		{ 'l', "log-level", NULL, &level },
		{ 0, "metrics", &w.has_metrics, NULL },
		{ 0, "tcp", NULL, &w.tcp },
		{ 0, "tlscacert", NULL, &w.ca },
		{ 0, "tlscert", NULL, &w.cert },
		{ 0, "tlskey", NULL, &w.key },
		{ 0, NULL, NULL, NULL },
	};
	int n;

	if (parse_options(cli, argc, argv, specs, 0, 0, &n) < 0)
		return EXIT_USAGE;
	if (idle != NULL && (!str_to_u64(idle, 1000000, &w.idle_s) ||
				w.idle_s == 0))
		return usage_error(cli, "%s: not a number of seconds", idle);
	if (!set_level(level))
		return usage_error(cli, "%s: not warn, info or debug", level);
	if (w.tcp != NULL &&
	    (w.ca == NULL || w.cert == NULL || w.key == NULL))
		return usage_error(cli,
		    "--tcp needs --tlscacert, --tlscert and --tlskey: nobody "
		    "comes in without a certificate");
	if (serve(cli, &w, &err) < 0)
		return report(cli, NULL, err);
	return 0;
}
