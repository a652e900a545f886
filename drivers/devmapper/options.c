#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "drivers/devmapper/options.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"

const char options_help[] =
    "dm.basesize=SIZE              size of a layer's filesystem (10G)\n"
    "dm.fs=ext4|xfs                its type (ext4)\n"
    "dm.mkfsarg=ARG                one more argument for mkfs; may repeat\n"
    "dm.mountopt=OPTIONS           more mount options\n"
    "dm.loopdatasize=SIZE          size of the sparse data file (100G)\n"
    "dm.loopmetadatasize=SIZE      size of the sparse metadata file (1G)\n"
    "dm.datadev=DEVICE             block device for data\n"
    "dm.metadatadev=DEVICE         block device for metadata\n"
    "dm.thinpooldev=DEVICE         an existing thin pool\n"
    "dm.blocksize=SIZE             the pool's block size (64k)\n"
    "dm.blkdiscard=BOOL            discard removed layers (true for files)\n"
    "dm.min_free_space=N%          refuse new layers below this (10%)\n"
    "dm.use_deferred_removal=BOOL  do not wait for busy devices (false)\n"
    "dm.use_deferred_deletion=BOOL delete busy layers later (false)\n"
    "imgd.accept_transaction=N     repair: believe the pool's transaction id\n";

struct parse {
	struct options *options;
	const char *key, *value;
	struct imgd_error **err;
};

static int
nonsense(struct parse *p, const char *want)
{
	return imgd_error_set(p->err, EINVAL, "option %s=%s: %s", p->key,
	    p->value, want);
}

bool
options_size(const char *text, uint64_t *ret)
{
	static const char suffixes[] = "kmgt";
	size_t digits = strspn(text, "0123456789");
	uint64_t n, factor = 1;
	const char *suffix;
	char number[24];

	if (digits == 0 || digits >= sizeof(number))
		return false;
	memcpy(number, text, digits);
	number[digits] = '\0';
	if (!str_to_u64(number, UINT64_MAX, &n))
		return false;
	text += digits;
	suffix = *text != '\0' ? strchr(suffixes, tolower(
	    (unsigned char)*text)) : NULL;
	if (suffix != NULL) {
		factor = 1024ull << (10 * (suffix - suffixes));
		text++;
	}
	if (*text == 'b' || *text == 'B')
		text++;
	if (*text != '\0' || __builtin_mul_overflow(n, factor, &n))
		return false;
	*ret = n;
	return true;
}

static int
parse_size(struct parse *p, uint64_t *ret, uint64_t min, uint64_t max)
{
	char text[96];
	uint64_t n;

	if (!options_size(p->value, &n))
		return nonsense(p, "not a size, such as 10G");
	if (n < min || n > max) {
		(void)snprintf(text, sizeof(text),
		    "must be between %llu and %llu bytes",
		    (unsigned long long)min, (unsigned long long)max);
		return nonsense(p, text);
	}
	*ret = n;
	return 0;
}

static int
parse_bool(struct parse *p, bool *ret)
{
	static const char *const yes[] = { "true", "1", "t", "yes", "on" };
	static const char *const no[] = { "false", "0", "f", "no", "off" };
	size_t i;

	for (i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (strcasecmp(p->value, yes[i]) == 0 ||
		    strcasecmp(p->value, no[i]) == 0) {
			*ret = strcasecmp(p->value, yes[i]) == 0;
			return 0;
		}
	}
	return nonsense(p, "must be true or false");
}

static int
keep(struct parse *p, char **ret)
{
	free(*ret);
	*ret = strdup(p->value);
	return *ret != NULL ? 0
	    : imgd_error_set(p->err, ENOMEM, "out of memory");
}

static int
parse_device(struct parse *p, char **ret)
{
	if (p->value[0] != '/')
		return nonsense(p, "must be an absolute path");
	return keep(p, ret);
}

/* ---- one function per option that is not just a size, flag or device ---- */

static int
parse_fs(struct parse *p)
{
	if (strcmp(p->value, "ext4") != 0 && strcmp(p->value, "xfs") != 0)
		return nonsense(p, "must be ext4 or xfs");
	return keep(p, &p->options->fs);
}

static int
parse_mkfs_arg(struct parse *p)
{
	struct options *o = p->options;
	char **args;

	if (p->value[0] == '\0')
		return nonsense(p, "must not be empty");
	args = reallocarray(o->mkfs_args, o->n_mkfs_args + 2, sizeof(*args));
	if (args == NULL)
		return imgd_error_set(p->err, ENOMEM, "out of memory");
	o->mkfs_args = args;
	args[o->n_mkfs_args] = NULL;
	args[o->n_mkfs_args + 1] = NULL;
	return keep(p, &args[o->n_mkfs_args++]);
}

static int
parse_mount_options(struct parse *p)
{
	struct options *o = p->options;
	char *joined;

	if (p->value[0] == '\0')
		return nonsense(p, "must not be empty");
	if (asprintf(&joined, "%s%s%s",
		o->mount_options != NULL ? o->mount_options : "",
		o->mount_options != NULL ? "," : "", p->value) < 0)
		return imgd_error_set(p->err, ENOMEM, "out of memory");
	free(o->mount_options);
	o->mount_options = joined;
	return 0;
}

/* dm-thin takes multiples of 64 KiB up to 1 GiB. */
static int
parse_block_size(struct parse *p)
{
	int r = parse_size(p, &p->options->block_bytes, 64ull << 10,
	    1ull << 30);

	if (r == 0 && p->options->block_bytes % (64ull << 10) != 0)
		return nonsense(p, "must be a multiple of 64k");
	return r;
}

static int
parse_min_free(struct parse *p)
{
	size_t digits = strspn(p->value, "0123456789");

	if (digits == 0 || digits > 2 ||
	    strcmp(p->value + digits, "%") != 0)
		return nonsense(p, "must be between 0% and 99%");
	p->options->min_free_percent =
	    (unsigned int)strtoul(p->value, NULL, 10);
	return 0;
}

static int
parse_discard(struct parse *p)
{
	bool yes = false;
	int r = parse_bool(p, &yes);

	p->options->discard = yes;
	return r;
}

static int
parse_accept(struct parse *p)
{
	if (!str_to_u64(p->value, INT64_MAX, &p->options->accept_transaction))
		return nonsense(p, "not a transaction id");
	p->options->has_accept = true;
	return 0;
}

static int
parse_pool_device(struct parse *p)
{
	char **ret = &p->options->pool_device, *path;

	if (strncmp(p->value, "/dev/mapper/", 12) == 0 &&
	    p->value[12] != '\0')
		return keep(p, ret);
	if (p->value[0] == '\0' || strchr(p->value, '/') != NULL)
		return nonsense(p, "must be a name in /dev/mapper");
	if (asprintf(&path, "/dev/mapper/%s", p->value) < 0)
		return imgd_error_set(p->err, ENOMEM, "out of memory");
	free(*ret);
	*ret = path;
	return 0;
}

static int
parse_one(struct parse *p)
{
	struct options *o = p->options;
	const char *k = p->key;

	if (strcasecmp(k, "dm.basesize") == 0)
		return parse_size(p, &o->base_bytes, 16ull << 20, 1ull << 50);
	if (strcasecmp(k, "dm.loopdatasize") == 0)
		return parse_size(p, &o->data_bytes, 64ull << 20, 1ull << 60);
	if (strcasecmp(k, "dm.loopmetadatasize") == 0)
		return parse_size(p, &o->metadata_bytes, 2ull << 20,
		    METADATA_MAX_BYTES);
	if (strcasecmp(k, "dm.datadev") == 0)
		return parse_device(p, &o->data_device);
	if (strcasecmp(k, "dm.metadatadev") == 0)
		return parse_device(p, &o->metadata_device);
	if (strcasecmp(k, "dm.thinpooldev") == 0)
		return parse_pool_device(p);
	if (strcasecmp(k, "dm.use_deferred_removal") == 0)
		return parse_bool(p, &o->deferred_removal);
	if (strcasecmp(k, "dm.use_deferred_deletion") == 0)
		return parse_bool(p, &o->deferred_deletion);
	if (strcasecmp(k, "dm.fs") == 0)
		return parse_fs(p);
	if (strcasecmp(k, "dm.mkfsarg") == 0)
		return parse_mkfs_arg(p);
	if (strcasecmp(k, "dm.mountopt") == 0)
		return parse_mount_options(p);
	if (strcasecmp(k, "dm.blocksize") == 0)
		return parse_block_size(p);
	if (strcasecmp(k, "dm.min_free_space") == 0)
		return parse_min_free(p);
	if (strcasecmp(k, "dm.blkdiscard") == 0)
		return parse_discard(p);
	if (strcasecmp(k, "imgd.accept_transaction") == 0)
		return parse_accept(p);
	return imgd_error_set(p->err, EINVAL, "unknown option \"%s\"", k);
}

static int
check_together(const struct options *o, struct imgd_error **err)
{
	if (o->deferred_deletion && !o->deferred_removal)
		return imgd_error_set(err, EINVAL,
		    "option dm.use_deferred_deletion=true needs "
		    "dm.use_deferred_removal=true");
	if (o->pool_device != NULL &&
	    (o->data_device != NULL || o->metadata_device != NULL))
		return imgd_error_set(err, EINVAL,
		    "option dm.thinpooldev excludes dm.datadev and "
		    "dm.metadatadev");
	if (o->data_bytes > 0 &&
	    (o->data_device != NULL || o->pool_device != NULL))
		return imgd_error_set(err, EINVAL,
		    "option dm.loopdatasize: the data is on a given device");
	if (o->metadata_bytes > 0 &&
	    (o->metadata_device != NULL || o->pool_device != NULL))
		return imgd_error_set(err, EINVAL,
		    "option dm.loopmetadatasize: the metadata is on a given "
		    "device");
	return 0;
}

int
options_parse(struct options *ret, const struct imgd_env *env,
    struct imgd_error **err)
{
	uint32_t i;
	int r;

	*ret = (struct options){ .min_free_percent = 10, .discard = -1 };
	ret->mkfs_args = calloc(1, sizeof(*ret->mkfs_args));
	if (ret->mkfs_args == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < env->n_options; i++) {
		struct parse p = { ret, env->options[i].key,
			env->options[i].value, err };

		r = parse_one(&p);
		if (r < 0)
			return r;
	}
	return check_together(ret, err);
}

void
options_done(struct options *o)
{
	free(o->fs);
	str_list_free(o->mkfs_args, o->n_mkfs_args);
	free(o->mount_options);
	free(o->data_device);
	free(o->metadata_device);
	free(o->pool_device);
}
