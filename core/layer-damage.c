#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/layer-damage.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/strbuf.h"
#include "tagstore/health.h"

bool
layer_code_is_damage(int code)
{
	return code == -EUCLEAN || code == -ENOENT || code == -EIO ||
	    code == -ENOTDIR || code == -ENODATA;
}

/* Who tells of it names driver and layer again. */
static const char *
skip_place(const char *problem)
{
	const char *rest = str_starts(problem, "driver ")
	    ? strstr(problem, ": layer ")
	    : NULL;

	rest = rest != NULL ? strstr(rest + 2, ": ") : NULL;
	return rest != NULL ? rest + 2 : problem;
}

void
layer_note_damage(struct engine *e, const char *key, const char *problem)
{
	cleanup_error struct imgd_error *why = NULL;

	if (tagstore_layer_damaged(e->store->tags, key, skip_place(problem),
		&why) < 0)
		log_warn("layer %.12s: %s, ignoring", key,
		    imgd_error_msg(why));
}

/* From a layer down to its base. */
struct chain {
	struct strbuf keys; /* 65 bytes each */
	char next[65];
};

static int
add_link(void *ctx, const struct layer_row *row)
{
	struct chain *c = ctx;

	/* Children come before their parents. */
	if (strcmp(row->key, c->next) != 0)
		return 0;
	strbuf_append(&c->keys, row->key, 65);
	(void)snprintf(c->next, sizeof(c->next), "%s", row->parent);
	return 0;
}

static bool
is_lost(struct driver *d, const char *key)
{
	cleanup_free char *path = NULL;
	uint32_t whiteouts;
	struct stat st;

	if (driver_exists(d, key, NULL) == 0)
		return true;
	return driver_has_own_dir(d) &&
	    (driver_own_dir(d, key, &path, &whiteouts, NULL) < 0 ||
		lstat(path, &st) < 0 || !S_ISDIR(st.st_mode));
}

void
layer_note_unreadable(struct engine *e, struct driver *d, const char *key,
    int code, const char *problem)
{
	struct chain c = { .keys = STRBUF_INIT };
	const char *lost = key;
	size_t pos;

	if (!layer_code_is_damage(code))
		return;
	(void)snprintf(c.next, sizeof(c.next), "%s", key);
	(void)tagstore_layers(e->store->tags, driver_name(d), "ready",
	    add_link, &c, NULL);
	for (pos = 0; pos < c.keys.len; pos += 65)
		if (is_lost(d, c.keys.data + pos))
			lost = c.keys.data + pos;
	layer_note_damage(e, lost, problem);
	strbuf_done(&c.keys);
}
