#include "config.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "core/role.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/strbuf.h"

const struct cmd cmds[] = {
	{ "pull", cmd_pull,
	    "[-a] [-q] [--driver D] [--platform P] [--retry N|forever] "
	    "[--limit-rate RATE] [--registry-v1] [--verify-key KEY [--any-name]] "
	    "[--json] NAME[:TAG|@DIGEST]",
	    "fetch an image from a registry" },
	{ "push", cmd_push,
	    "[-a] [-q] [--driver D] [--compression gzip|zstd] "
	    "[--retry N|forever] [--limit-rate RATE] [--json] NAME[:TAG]",
	    "send an image to a registry" },
	{ "search", cmd_search, "[--limit N] [--no-trunc] [--json] TERM",
	    "look for images in a registry" },
	{ "login", cmd_login, "[-u USER] [--password-stdin] [SERVER]",
	    "keep credentials for a registry" },
	{ "logout", cmd_logout, "[SERVER]", "forget them" },
	{ "adopt", cmd_adopt, "[--driver D] [-q] [--json] DIR [IMAGE...]",
	    "take over images of Docker or podman" },
	{ "save", cmd_save,
	    "[-o FILE|DIR/] [--format docker|oci] [--driver D] [--platform P] "
	    "IMAGE...",
	    "write images to an archive" },
	{ "load", cmd_load,
	    "[-q] [--driver D] [--platform P] [-i FILE|DIR] [--json]",
	    "load images from an archive" },
	{ "import", cmd_import,
	    "[-c CHANGE]... [-m TEXT] [--platform P] [--driver D] "
	    "FILE|- [NAME[:TAG]]",
	    "make an image of a root filesystem's tar" },
	{ "export", cmd_export,
	    "[-o FILE] [--driver D] [--format tar|ext4|squashfs|erofs] "
	    "[--size N] [--verity] [--json] IMAGE|NAME",
	    "write the files of an image or a writable layer to a file" },
	{ "images", cmd_images,
	    "[-a] [-q] [--digests] [--no-trunc] [-f KEY=VALUE] "
	    "[--format FORMAT] [--json] [--tree] [NAME[:TAG]]",
	    "list images" },
	{ "inspect", cmd_inspect, "IMAGE...", "tell everything about images" },
	{ "history", cmd_history, "[-q] [--no-trunc] [--format FORMAT] [--json] IMAGE",
	    "show how an image came about" },
	{ "tag", cmd_tag, "IMAGE NAME[:TAG]", "give an image another name" },
	{ "rmi", cmd_rmi, "[-f] [--no-prune] [--driver D] IMAGE...",
	    "remove names and images" },
	{ "create", cmd_create,
	    "[--json] | [--driver D] [--size N] NAME IMAGE",
	    "make a writable layer on an image, or list them" },
	{ "mount", cmd_mount,
	    "[--json] | [--driver D] [--block] IMAGE|NAME [TARGET]",
	    "mount an image or a writable layer, or list mounts" },
	{ "bundle", cmd_bundle,
	    "[--driver D] [--name NAME] [-t] [--json] IMAGE DIR "
	    "[COMMAND...] | --mount DIR... | --rm DIR...",
	    "make a bundle that an OCI runtime runs" },
	{ "umount", cmd_umount, "TARGET|IMAGE|NAME...", "undo a mount" },
	{ "diff", cmd_diff, "[--json] NAME",
	    "tell what was changed in a writable layer" },
	{ "commit", cmd_commit,
	    "[-a AUTHOR] [-c CHANGE]... [-m TEXT] NAME [IMAGE[:TAG]]",
	    "make an image of a writable layer" },
	{ "rm", cmd_rm, "NAME...", "remove writable layers" },
	{ "migrate", cmd_migrate,
	    "[--keep] [-q] [--json] --from D --to D --all|IMAGE...",
	    "move images to another driver" },
	{ "verify", cmd_verify,
	    "[--key KEY [--any-name]] [--offline] [--json] IMAGE",
	    "tell whether an image was signed" },
	{ "fsck", cmd_fsck,
	    "[--deep] [--repair] [--from ARCHIVE|REGISTRY] [--json]",
	    "check the store, and mend it" },
	{ "driver", cmd_driver,
	    "ls [--json] | info NAME|PATH | test [OPTIONS] NAME|PATH",
	    "list, describe and test storage drivers" },
	{ "df", cmd_df, "[-v] [--format FORMAT] [--json]",
	    "tell what takes space" },
	{ "prune", cmd_prune, "[-a] [-f] [--filter KEY=VALUE] [--json]",
	    "remove images that nobody uses" },
	{ "gc", cmd_gc,
	    "[--max-size SIZE] [--min-free SIZE] [--keep-last N] "
	    "[--keep-since DURATION] [--dry-run] [--json]",
	    "remove images that were not used for long" },
	{ "jobs", cmd_jobs, "[--json] | cancel ID",
	    "list what the engine is at, or cancel it" },
	{ "events", cmd_events,
	    "[--since TIME] [--until TIME] [-f KEY=VALUE] "
	    "[--format FORMAT] [--json]",
	    "tell what happens in the store, as it happens" },
	{ "info", cmd_info, "[--json]", "describe this store" },
	{ "daemon", cmd_daemon,
	    "[-G GROUP] [--idle-exit SECONDS] [-l warn|info|debug] "
	    "[--metrics] "
	    "[--tcp ADDRESS:PORT --tlscacert FILE --tlscert FILE --tlskey FILE]",
	    "serve Docker's API on a unix socket" },
	{ "version", cmd_version, "[--json]", "print version numbers" },
	{ "help", cmd_help, "[VERB]", "print this list, or a verb's usage" },
	{ NULL, NULL, NULL, NULL },
};

int
cmd_help(struct cli *cli, int argc, char **argv)
{
	const struct cmd *c;
	int n;

	if (parse_options(cli, argc, argv, NULL, 0, 1, &n) < 0)
		return EXIT_USAGE;
	if (n == 1) {
		for (c = cmds; c->name != NULL; c++)
			if (strcmp(c->name, argv[1]) == 0)
				break;
		if (c->name == NULL)
			return usage_error(cli, "no such verb: %s", argv[1]);
		(void)printf("usage: imgd %s %s\n\n%s; see imgd-%s(1)\n",
		    c->name, c->usage, c->summary, c->name);
		return 0;
	}
	(void)printf("usage: imgd [--root DIR] [--host PATH] [--config FILE] "
		     "[--driver-opt K=V]\n"
		     "            [--debug AREAS] VERB [OPTIONS] [ARGUMENTS]\n\n");
	for (c = cmds; c->name != NULL; c++)
		(void)printf("  %-9s %s\n", c->name, c->summary);
	(void)printf("\nimgd help VERB tells a verb's usage; "
		     "imgd(8) has the rest.\n");
	return 0;
}

static int
bad_usage(const char *text, const char *what)
{
	(void)fprintf(stderr, "imgd: %s%s; try imgd help\n", text, what);
	return EXIT_USAGE;
}

/* Parse what stands before the verb.  Returns the verb's place in argv, or a
 * negative exit status. */
static int
parse_globals(int argc, char **argv, struct globals *g)
{
	int i;

	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		const char *value = strchr(argv[i], '=');
		size_t n = value != NULL ? (size_t)(value - argv[i])
					 : strlen(argv[i]);
		const char *a = argv[i];

		if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0)
			argv[i] = (char *)(uintptr_t) "help";
		if (strcmp(a, "--version") == 0 || strcmp(a, "-v") == 0)
			argv[i] = (char *)(uintptr_t) "version";
		if (argv[i] != a)
			return i;
		if (value == NULL && i + 1 < argc)
			value = argv[++i];
		else if (value != NULL)
			value++;
		if (value == NULL)
			return -bad_usage("option without a value: ", a);
		if (strncmp(a, "--root", n) == 0 && n == 6)
			g->root = value;
		else if (strncmp(a, "--config", n) == 0 && n == 8)
			g->config = value;
		else if ((strncmp(a, "--host", n) == 0 && n == 6) ||
		    strcmp(a, "-H") == 0)
			g->host = value;
		else if (strncmp(a, "--debug", n) == 0 && n == 7)
			(void)setenv("IMGD_DEBUG", value, 1);
		else if (strncmp(a, "--driver-opt", n) == 0 && n == 12 &&
		    g->n_opts < 64)
			g->opts[g->n_opts++] = value;
		else
			return -bad_usage("unknown option ", a);
	}
	if (i == argc)
		return -bad_usage("no verb given", "");
	return i;
}

int
cli_read_config(const struct cli *cli, struct config *ret,
    struct imgd_error **err)
{
	const struct globals *g = cli->globals;
	size_t i;
	int r;

	r = config_load(g->config, ret, err);
	for (i = 0; i < g->n_opts && r >= 0; i++)
		r = config_add_storage_opt(ret, g->opts[i], err);
	return r;
}

/* A path, or one behind "unix://". */
static int
find_host(struct cli *cli, struct imgd_error **err)
{
	const char *host = cli->globals->host;

	if (host == NULL)
		host = getenv("IMGD_HOST");
	if (host == NULL || *host == '\0') {
		/* Who may not enter the store asks whom it belongs to. */
		if (geteuid() != 0 && cli->globals->root == NULL &&
		    access(CLI_DEFAULT_HOST, R_OK | W_OK) == 0)
			cli->host = CLI_DEFAULT_HOST;
		return 0;
	}
	if (str_starts(host, "unix://"))
		host += strlen("unix://");
	if (host[0] != '/')
		return imgd_error_set(err, EINVAL,
		    "host %s: neither an absolute path nor unix://PATH", host);
	cli->host = host;
	return 0;
}

static int
load_config(struct cli *cli, struct imgd_error **err)
{
	const struct globals *g = cli->globals;
	cleanup_free char *cwd = NULL;
	char *root;
	int r;

	r = cli_read_config(cli, &cli->config, err);
	if (r >= 0)
		r = find_host(cli, err);
	if (r < 0)
		return r;
	cli->root = g->root != NULL		? g->root
	    : cli->config.data_root != NULL ? cli->config.data_root
					    : CONFIG_DEFAULT_ROOT;
	if (cli->root[0] == '/')
		return 0;
	/* The engine lives in another directory. */
	cwd = getcwd(NULL, 0);
	if (cwd == NULL || asprintf(&root, "%s/%s", cwd, cli->root) < 0)
		return imgd_error_set(err, errno, "%s: %s", cli->root,
		    strerror(errno));
	free(cli->config.data_root);
	cli->root = cli->config.data_root = root;
	return 0;
}

int
main(int argc, char **argv)
{
	cleanup_error struct imgd_error *err = NULL;
	struct globals g = { .root = NULL };
	struct cli cli = { .globals = &g };
	const struct cmd *c;
	int verb, status;

	if (argc < 1)
		return EXIT_USAGE;
	status = role_run(argv[0]);
	if (status >= 0)
		return status;
	(void)setlocale(LC_CTYPE, "C.UTF-8");
	(void)signal(SIGPIPE, SIG_IGN);
	verb = parse_globals(argc, argv, &g);
	if (verb < 0)
		return -verb;
	log_set_areas(getenv("IMGD_DEBUG"));
	for (c = cmds; c->name != NULL; c++)
		if (strcmp(c->name, argv[verb]) == 0)
			break;
	if (c->name == NULL)
		return bad_usage("no such verb: ", argv[verb]);
	cli.cmd = c;
	if (load_config(&cli, &err) < 0) {
		status = report(&cli, NULL, err);
	} else {
		status = c->run(&cli, argc - verb, argv + verb);
		if (fflush(stdout) != 0 || ferror(stdout)) {
			(void)fprintf(stderr, "imgd: %s: write: %s\n",
			    c->name, strerror(errno));
			status = 1;
		}
	}
	config_done(&cli.config);
	return status;
}
