/*
 * Configuration: /etc/imgd/daemon.json with Docker's key names, or the file
 * that --config names.  imgd-daemon.json(5).
 */
#ifndef CORE_DAEMON_CONFIG_H
#define CORE_DAEMON_CONFIG_H

#include <stddef.h>

#include "imgd/driver.h"
#include "imgd/error.h"

struct config {
	char *data_root;      /* NULL: the default */
	char *storage_driver; /* NULL: probe */
	char **storage_opts;  /* "KEY=VALUE" */
	size_t n_storage_opts;
	char **registry_mirrors; /* URLs */
	size_t n_registry_mirrors;
	char **insecure_registries; /* HOST[:PORT] or CIDR */
	size_t n_insecure_registries;
	unsigned int max_concurrent_downloads; /* >= 1 */
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
