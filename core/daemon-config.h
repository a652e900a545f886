/*
 * Configuration: /etc/imgd/daemon.json with Docker's key names, or the file
 * that --config names.  imgd-daemon.json(5).
 */
#ifndef CORE_DAEMON_CONFIG_H
#define CORE_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/gc-limits.h"
#include "core/signature-policy.h"
#include "imgd/driver.h"
#include "imgd/error.h"

/* Whether blobs are kept on the disk while they come, for another try. */
enum pull_spooling {
	PULL_SPOOL_NEVER,
	PULL_SPOOL_SLOW, /* of registries that were slow the last time */
	PULL_SPOOL_ALWAYS
};

struct config_mirror {
	char *url;
	char *registry; /* whose mirror it is: a domain, or "*" */
	bool with_ns;   /* it serves several and is told which is meant */
};

struct config {
	char *data_root;      /* NULL: the default */
	char *certs_dir;      /* NULL: the default */
	char *storage_driver; /* NULL: probe */
	char **storage_opts;  /* "KEY=VALUE" */
	size_t n_storage_opts;
	struct config_mirror *registry_mirrors;
	size_t n_registry_mirrors;
	char **insecure_registries; /* HOST[:PORT] or CIDR */
	size_t n_insecure_registries;
	char **v1_registries; /* HOST[:PORT] */
	size_t n_v1_registries;
	/* NULL: those of the verb that asks */
	char *http_proxy, *https_proxy, *no_proxy;
	unsigned int max_concurrent_downloads; /* >= 1 */
	unsigned int max_concurrent_uploads;   /* >= 1 */
	unsigned int max_download_attempts;    /* >= 1 */
	uint64_t max_bytes_per_s;   /* 0 = no limit */
	uint64_t max_partial_bytes; /* of all partial blobs */
	enum pull_spooling spooling;
	struct gc_limits gc;
	int64_t gc_interval_s; /* > 0 */
	struct signature_policy signatures;
};

#define CONFIG_DEFAULT_ROOT "/var/lib/imgd"

/* path NULL: the default file, which may be missing.  An unknown key or a
 * value of the wrong type is an error that names it. */
int config_load(const char *path, struct config *ret, struct imgd_error **err);
void config_done(struct config *c);

/* Append one "KEY=VALUE" to storage_opts. */
int config_add_storage_opt(struct config *c, const char *opt,
    struct imgd_error **err);

/* The config's keys, NULL-terminated, for the manual page's test. */
extern const char *const config_keys[];

#endif
