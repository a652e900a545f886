/* What the pool says of itself. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "drivers/devmapper/devmapper.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"

/* "USED/TOTAL" */
static bool
parse_pair(const char *word, uint64_t *ret_used, uint64_t *ret_total)
{
	const char *slash = strchr(word, '/');
	char used[24];

	if (slash == NULL || (size_t)(slash - word) >= sizeof(used))
		return false;
	memcpy(used, word, (size_t)(slash - word));
	used[slash - word] = '\0';
	return str_to_u64(used, UINT64_MAX, ret_used) &&
	    str_to_u64(slash + 1, UINT64_MAX, ret_total);
}

/* Documentation/admin-guide/device-mapper/thin-provisioning.rst, "Status":
 * ID USED/TOTAL USED/TOTAL ROOT ro|rw|out_of_data_space …, and somewhere
 * after that needs_check or "-". */
bool
pool_parse_status(const char *params, struct pool_status *ret)
{
	char text[MAPPER_PARAMS_SIZE];
	struct pool_status ps = { .mode = POOL_FAILED };
	char *save = NULL, *word;
	int i;

	if (strcmp(params, "Fail") == 0 || strcmp(params, "Error") == 0) {
		*ret = ps;
		return true;
	}
	(void)snprintf(text, sizeof(text), "%s", params);
	word = strtok_r(text, " ", &save);
	for (i = 0; word != NULL; i++, word = strtok_r(NULL, " ", &save)) {
		if ((i == 0 && !str_to_u64(word, UINT64_MAX,
			&ps.transaction)) ||
		    (i == 1 && !parse_pair(word, &ps.metadata_used,
			&ps.metadata_total)) ||
		    (i == 2 && !parse_pair(word, &ps.data_used,
			&ps.data_total)))
			return false;
		if (i == 4 && strcmp(word, "rw") == 0)
			ps.mode = POOL_WRITES;
		else if (i == 4 && strcmp(word, "ro") == 0)
			ps.mode = POOL_READ_ONLY;
		else if (i == 4 && strcmp(word, "out_of_data_space") == 0)
			ps.mode = POOL_OUT_OF_DATA;
		else if (i == 4)
			return false;
		if (i > 4 && strcmp(word, "needs_check") == 0)
			ps.needs_check = true;
	}
	if (i < 5)
		return false;
	*ret = ps;
	return true;
}

const char *
pool_mode_name(const struct pool_status *ps)
{
	static const char *const names[] = {
		[POOL_WRITES] = "read-write",
		[POOL_OUT_OF_DATA] = "out of data space",
		[POOL_READ_ONLY] = "read-only",
		[POOL_FAILED] = "failed",
	};

	return names[ps->mode];
}

int
pool_status(struct devmapper *d, struct pool_status *ret,
    struct imgd_error **err)
{
	struct mapper_line line;
	int r = d->mapper->status(d->pool, &line, err);

	if (r < 0)
		return r;
	if (strcmp(line.target, "thin-pool") != 0)
		return imgd_error_set(err, EINVAL,
		    "%s is no thin pool but a %s device", d->pool,
		    line.target);
	if (!pool_parse_status(line.params, ret))
		return imgd_error_set(err, EPROTO,
		    "pool %s: status not understood: %s", d->pool,
		    line.params);
	return 0;
}

static int
say_broken(struct devmapper *d, const struct pool_status *ps,
    struct imgd_error **err)
{
	if (ps->mode == POOL_OUT_OF_DATA)
		return imgd_error_set(err, ENOSPC,
		    "pool %s is out of data space (%llu of %llu blocks used): "
		    "remove images, or enlarge it (dm.loopdatasize)", d->pool,
		    (unsigned long long)ps->data_used,
		    (unsigned long long)ps->data_total);
	if (ps->metadata_total > 0 && ps->metadata_used >= ps->metadata_total)
		return imgd_error_set(err, ENOSPC,
		    "pool %s is out of metadata space: see imgd-devmapper(7), "
		    "\"Repair\"", d->pool);
	return imgd_error_set(err, EUCLEAN,
	    "pool %s is %s%s: stop imgd and run thin_check "
	    "--clear-needs-check-flag %s, see imgd-devmapper(7), \"Repair\"",
	    d->pool, pool_mode_name(ps),
	    ps->needs_check ? ", its metadata needs a check" : "",
	    d->metadata.path != NULL ? d->metadata.path : "METADATA");
}

int
pool_takes_changes(struct devmapper *d, struct imgd_error **err)
{
	struct pool_status ps;
	int r = pool_status(d, &ps, err);

	if (r < 0)
		return r;
	/* Without space nothing can be made, but things can be deleted. */
	if ((ps.mode == POOL_WRITES || ps.mode == POOL_OUT_OF_DATA) &&
	    !ps.needs_check)
		return 0;
	return say_broken(d, &ps, err);
}

int
pool_explain(struct devmapper *d, int r, const struct imgd_error *why,
    struct imgd_error **err)
{
	struct pool_status ps;

	if (r != -EBUSY && pool_status(d, &ps, NULL) == 0 &&
	    (ps.mode != POOL_WRITES || ps.needs_check))
		return say_broken(d, &ps, err);
	return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
}

static int
check_share(const char *what, const char *where, uint64_t used,
    uint64_t total, unsigned int percent, struct imgd_error **err)
{
	uint64_t left = used < total ? total - used : 0;
	char a[32], b[32];

	if (left >= total / 100 * percent + total % 100 * percent / 100)
		return 0;
	return imgd_error_set(err, ENOSPC,
	    "%s has %s of %s free %s, less than dm.min_free_space=%u%%",
	    where, str_size(left, a), str_size(total, b), what, percent);
}

int
pool_has_room(struct devmapper *d, struct imgd_error **err)
{
	unsigned int percent = d->options.min_free_percent;
	struct pool_status ps;
	struct statvfs sv;
	int r = pool_status(d, &ps, err);

	if (r < 0)
		return r;
	if (ps.mode != POOL_WRITES || ps.needs_check)
		return say_broken(d, &ps, err);
	if (percent == 0)
		return 0;
	r = check_share("for data", "the pool", ps.data_used * d->block_bytes,
	    ps.data_total * d->block_bytes, percent, err);
	if (r == 0)
		r = check_share("for metadata", "the pool",
		    ps.metadata_used * 4096, ps.metadata_total * 4096,
		    percent, err);
	if (r < 0 || (!d->data.is_file && !d->metadata.is_file))
		return r;
	/* Sparse files promise what the filesystem below may not have. */
	if (statvfs(d->home, &sv) < 0)
		return imgd_error_set(err, errno, "%s: %s", d->home,
		    strerror(errno));
	return check_share("below the pool's files", d->home,
	    (uint64_t)(sv.f_blocks - sv.f_bavail) * sv.f_frsize,
	    (uint64_t)sv.f_blocks * sv.f_frsize, percent, err);
}
