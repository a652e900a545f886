/*
 * What the verbs share.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/client.h"
#include "core/daemon-config.h"
#include "core/store.h"
#include "imgd/error.h"

struct store; /* core/store.h */

/* Exit status of wrong usage; a verb returns it after usage_error. */
#define EXIT_USAGE 2

/* Where a daemon listens unless it is told otherwise. */
#define CLI_DEFAULT_HOST "/run/imgd.sock"

/* What stands before the verb. */
struct globals {
	const char *root, *config, *host; /* NULL: not given */
	const char *opts[64]; /* of the drivers, "KEY=VALUE" */
	size_t n_opts;
};

struct cli {
	const struct globals *globals;
	struct config config;
	const char *root;
	const char *host; /* a socket's path; NULL: not given */
	const struct cmd *cmd; /* the verb that runs */
};

typedef int cmd_fn(struct cli *cli, int argc, char **argv);

struct cmd {
	const char *name;
	cmd_fn *run; /* argv[0] is the verb; returns the exit status */
	const char *usage;   /* what follows the verb */
	const char *summary; /* one line */
};

extern const struct cmd cmds[]; /* ended by a NULL name */

cmd_fn cmd_adopt, cmd_bundle, cmd_commit, cmd_create, cmd_daemon, cmd_df,
    cmd_diff, cmd_driver, cmd_events, cmd_export, cmd_fsck, cmd_gc, cmd_help,
    cmd_history, cmd_images, cmd_import, cmd_info, cmd_inspect, cmd_jobs,
    cmd_load, cmd_login, cmd_logout, cmd_migrate, cmd_mount, cmd_prune,
    cmd_pull, cmd_push, cmd_rm, cmd_rmi, cmd_save, cmd_search, cmd_tag,
    cmd_umount, cmd_verify, cmd_version;

/* ---- main.c ---- */

/* The configuration file and what was said beside it; ret: zeroed before. */
int cli_read_config(const struct cli *cli, struct config *ret,
    struct imgd_error **err);

/* ---- run.c ---- */

/* Fail unless the store's engine, which mounts for us, is or will be in our
 * mount namespace. */
int cli_check_namespace(struct cli *cli, struct imgd_error **err);

/* Run a job: in the engine of the store, or in the daemon that --host names.
 * See client_run(). */
int cli_run(struct cli *cli, const struct job_request *request,
    job_output_cb *cb, void *ctx, char **ret_result, struct imgd_error **err);

/* Open the store to read, unless --host names a daemon: then that is to be
 * asked. */
int cli_store(struct cli *cli, struct store **ret, struct imgd_error **err);

/* Run a job whose result is JSON; arg may be NULL.  *ret is a new
 * reference. */
int cli_ask(struct cli *cli, const char *name, const char *arg,
    const char *const (*env)[2], size_t n_env, struct json_object **ret,
    struct imgd_error **err);

/* ---- usage.c ---- */

/* More of one option are refused. */
#define OPTION_LIST_MAX 32

/* One option of a verb: takes a value if value is not NULL.  With a flag as
 * well it may be given several times: value is then the first of
 * OPTION_LIST_MAX + 1 pointers, all NULL. */
struct option_spec {
	char letter;          /* 0: none */
	const char *name;     /* without "--" */
	bool *flag;           /* set to true, or */
	const char **value;   /* set to the argument */
};

/*
 * Parse a verb's options, which may stand before and after its arguments.
 *
 * On return argv[1] up to argv[*ret_n] are the arguments.  Returns 0, or -1
 * after a message if an option is unknown or the number of arguments is not
 * between min and max.
 */
int parse_options(struct cli *cli, int argc, char **argv,
    const struct option_spec *specs, int min, int max, int *ret_n);

/*
 * Filters as the API takes them, of those that --filter gave: KEY=VALUE each.
 *
 * list: ended by NULL.  *ret_json: malloc'ed; NULL if there are none.
 */
int filters_from_options(const char *const *list, char **ret_json,
    struct imgd_error **err);

/* What such an option was given, one a line; *ret is malloc'ed. */
int lines_from_options(const char *const *list, char **ret,
    struct imgd_error **err);

/* "imgd: VERB: text" and the verb's usage on stderr; returns EXIT_USAGE. */
int usage_error(const struct cli *cli, const char *fmt, ...)
    IMGD_PRINTF(2, 3);

/* "imgd: VERB [what: ]message" on stderr; returns 1. */
int report(const struct cli *cli, const char *what,
    const struct imgd_error *err);

/* ---- output.c ---- */

/* Print a JSON value and a newline. */
void print_json(struct json_object *o, bool is_pretty);

/* A table whose columns are as wide as their widest cell, as docker prints:
 * cells apart by three blanks.  Cells are escaped. */
struct table {
	char **cells;
	size_t n_cells, n_columns;
	bool is_failed;
};
void table_init(struct table *t, const char *const *headings);
void table_cell(struct table *t, const char *fmt, ...) IMGD_PRINTF(2, 3);
/* Print and free; 0, or -1 if memory was out. */
int table_print(struct table *t);
void table_done(struct table *t);

/* A local time as docker writes it, of seconds since the epoch:
 * "2014-04-16 22:00:00 +0200 CEST"; "N/A" of 0.  In buf. */
const char *local_time(int64_t when, char buf[48]);

/* "2 weeks ago" of seconds since the epoch, as docker words it; in buf. */
const char *ago(int64_t when, char buf[40]);

/* Print s with control characters escaped. */
void print_escaped(const char *s);

/* ---- progress.c ---- */

enum progress_style { PROGRESS_QUIET, PROGRESS_PLAIN, PROGRESS_JSON };

struct progress;
/* Bars on a terminal, lines elsewhere, objects as they come for JSON. */
struct progress *progress_new(enum progress_style style);
/* A job_output_cb; ctx is the struct progress. */
void progress_output(void *ctx, const char *json);
void progress_free(struct progress *p);
static inline void
progress_freep(struct progress **p)
{
	progress_free(*p);
}

/* ---- transfer.c ---- */

/* What is common to verbs that speak to a registry. */
struct transfer {
	bool is_all, is_quiet, is_json, is_v1;
	const char *driver, *retry, *limit_rate; /* NULL: not given */
	const char *verify_key; /* path of a public key; NULL: not given */
	bool is_any_name; /* that it was signed under */
};

/* Read a file of public keys for the job's variable verify-key; *ret is
 * malloc'ed. */
int read_verify_key(const char *path, char **ret, struct imgd_error **err);

/* Run the verb's job for an image's name, with credentials, progress and one
 * more variable; returns the exit status. */
int transfer_run(struct cli *cli, const char *name, const struct transfer *t,
    const char *key, const char *value);

#endif
