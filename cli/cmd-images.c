#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/format.h"
#include "cli/images-tree.h"
#include "core/images-list.h"
#include "lib/cleanup-json.h"
#include "lib/digest.h"
#include "lib/strbuf.h"
#include "registry/reference.h"

/* Columns; also the names and headings of what --format knows. */
enum { REPOSITORY, TAG, DIGEST, ID, SINCE, AT, SIZE, DRIVER, CONTAINERS,
	SHARED, UNIQUE, VIRTUAL, N_COLUMNS };

static const struct format_field fields[] = {
	[REPOSITORY] = { "Repository", "REPOSITORY" },
	[TAG] = { "Tag", "TAG" },
	[DIGEST] = { "Digest", "DIGEST" },
	[ID] = { "ID", "IMAGE ID" },
	[SINCE] = { "CreatedSince", "CREATED" },
	[AT] = { "CreatedAt", "CREATED AT" },
	[SIZE] = { "Size", "SIZE" },
	[DRIVER] = { "Driver", "DRIVER" },
	[CONTAINERS] = { "Containers", "CONTAINERS" },
	[SHARED] = { "SharedSize", "SHARED SIZE" },
	[UNIQUE] = { "UniqueSize", "UNIQUE SIZE" },
	[VIRTUAL] = { "VirtualSize", "SIZE" },
	[N_COLUMNS] = { NULL, NULL },
};

#define PLAIN "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}" \
	"\t{{.Size}}\t{{.Driver}}"
#define WITH_DIGESTS "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}" \
	"\t{{.CreatedSince}}\t{{.Size}}\t{{.Driver}}"

struct listing {
	struct format *format; /* NULL: is_quiet, is_json or is_tree */
	/* what was asked */
	bool is_quiet, is_json, is_tree, wants_digests, is_long;
};

/* One image, and texts of it that all its rows share. */
struct row {
	struct json_object *image;
	char size[32], shared[32], unique[32], containers[24];
	char since[40], at[48];
	char drivers[256];
	const char *id;
};

static struct json_object *
get(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? v : NULL;
}

static int64_t
get_int(struct json_object *o, const char *key)
{
	return json_object_get_int64(get(o, key));
}

static void
json_row(const struct row *row, const char *repository, const char *tag,
    const char *digest)
{
	cleanup_json struct json_object *o = json_object_new_object();
	char created[32] = "";
	time_t t = (time_t)get_int(row->image, "Created");
	struct tm tm;

	if (t != 0 && gmtime_r(&t, &tm) != NULL)
		(void)strftime(created, sizeof(created), "%FT%TZ", &tm);
	json_object_object_add(o, "Repository",
	    json_object_new_string(repository));
	json_object_object_add(o, "Tag", json_object_new_string(tag));
	json_object_object_add(o, "Digest", json_object_new_string(digest));
	json_object_object_add(o, "ID", json_object_new_string(row->id));
	json_object_object_add(o, "CreatedAt",
	    json_object_new_string(created));
	json_object_object_add(o, "Size",
	    json_object_get(get(row->image, "Size")));
	json_object_object_add(o, "Drivers",
	    json_object_get(get(row->image, "Drivers")));
	print_json(o, false);
}

static void
put_row(const struct listing *l, const struct row *row,
    const char *repository, const char *tag, const char *digest)
{
	const char *values[N_COLUMNS] = {
		[REPOSITORY] = repository,
		[TAG] = tag,
		[DIGEST] = digest,
		[SINCE] = row->since,
		[AT] = row->at,
		[SIZE] = row->size,
		[DRIVER] = row->drivers,
		[CONTAINERS] = row->containers,
		[SHARED] = row->shared,
		[UNIQUE] = row->unique,
		[VIRTUAL] = row->size,
	};
	char id[DIGEST_STR_SIZE];

	if (l->is_json) {
		json_row(row, repository, tag, digest);
		return;
	}
	(void)snprintf(id, sizeof(id), "%.*s",
	    l->is_long ? DIGEST_STR_LEN : 12,
	    l->is_long ? row->id : digest_hex(row->id));
	values[ID] = id;
	format_row(l->format, values, NULL);
}

/* Split "repository:tag" or "repository@digest" at its end. */
static char *
split_name(struct json_object *names, size_t i, char separator,
    const char **ret_end)
{
	char *name = strdup(json_object_get_string(
	    json_object_array_get_idx(names, i)));
	char *end = name != NULL ? strrchr(name, separator) : NULL;

	if (end == NULL) {
		free(name);
		return NULL;
	}
	*end = '\0';
	*ret_end = end + 1;
	return name;
}

/* A row for each digest of the repository, or one without: how many. */
static size_t
digest_rows(const struct listing *l, const struct row *row,
    struct json_object *digests, const char *repository, const char *tag)
{
	size_t i, n = 0;

	for (i = 0; i < json_object_array_length(digests); i++) {
		const char *digest;
		cleanup_free char *of = split_name(digests, i, '@', &digest);

		if (of == NULL || strcmp(of, repository) != 0)
			continue;
		n++;
		put_row(l, row, repository, tag, digest);
		if (!l->wants_digests)
			break;
	}
	return n;
}

static bool
has_repository(struct json_object *names, size_t n, char separator,
    const char *repository)
{
	size_t i;

	for (i = 0; i < n; i++) {
		const char *end;
		cleanup_free char *of = split_name(names, i, separator, &end);

		if (of != NULL && strcmp(of, repository) == 0)
			return true;
	}
	return false;
}

/* docker's rule: a tag shows with each digest of its repository; a repository
 * without a tag shows by its digests. */
static void
image_rows(const struct listing *l, const struct row *row)
{
	struct json_object *tags = get(row->image, "RepoTags");
	struct json_object *digests = get(row->image, "RepoDigests");
	size_t i, n_tags = json_object_array_length(tags);
	size_t n_digests = json_object_array_length(digests);
	bool with_digests = l->wants_digests || l->is_json;

	for (i = 0; i < n_tags; i++) {
		const char *tag;
		cleanup_free char *of = split_name(tags, i, ':', &tag);

		if (of != NULL &&
		    (!with_digests ||
			digest_rows(l, row, digests, of, tag) == 0))
			put_row(l, row, of, tag, "<none>");
	}
	for (i = 0; i < n_digests; i++) {
		const char *digest;
		cleanup_free char *of = split_name(digests, i, '@', &digest);

		if (of != NULL && !has_repository(tags, n_tags, ':', of) &&
		    !has_repository(digests, i, '@', of))
			(void)digest_rows(l, row, digests, of, "<none>");
	}
	if (n_tags + n_digests == 0)
		put_row(l, row, "<none>", "<none>", "<none>");
}

static void
show_image(const struct listing *l, struct json_object *image)
{
	struct row row = { .image = image };
	struct json_object *drivers = get(image, "Drivers");
	uint64_t size = (uint64_t)get_int(image, "Size");
	uint64_t shared = (uint64_t)get_int(image, "SharedSize");
	int64_t created = get_int(image, "Created");
	char when[48];
	size_t i, n = 0;

	row.id = json_object_get_string(get(image, "Id"));
	if (l->is_quiet) {
		(void)printf("%.*s\n", l->is_long ? DIGEST_STR_LEN : 12,
		    l->is_long ? row.id : digest_hex(row.id));
		return;
	}
	for (i = 0; i < json_object_array_length(drivers) &&
	    n < sizeof(row.drivers);
	    i++)
		n += (size_t)snprintf(row.drivers + n,
		    sizeof(row.drivers) - n, "%s%s", i > 0 ? "," : "",
		    json_object_get_string(
			json_object_array_get_idx(drivers, i)));
	(void)str_size(size, row.size);
	(void)str_size(shared, row.shared);
	(void)str_size(size - shared, row.unique);
	(void)snprintf(row.containers, sizeof(row.containers), "%jd",
	    (intmax_t)get_int(image, "Containers"));
	(void)snprintf(row.since, sizeof(row.since), "%s",
	    ago(created, when));
	(void)snprintf(row.at, sizeof(row.at), "%s",
	    local_time(created, when));
	image_rows(l, &row);
}

/* "NAME[:TAG]" as a pattern for names as docker shows them. */
static char *
name_pattern(const char *typed)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	cleanup_free char *familiar = NULL;
	char *pattern;

	if (reference_parse(typed, 0, &ref, NULL) >= 0)
		familiar = reference_familiar(&ref);
	if (asprintf(&pattern, "reference=%s",
		familiar != NULL ? familiar : typed) < 0)
		return NULL;
	return pattern;
}

/* The array of Docker's summaries; the tree needs layers, too. */
static int
ask(struct cli *cli, const char *filters, bool is_tree,
    struct json_object **ret, struct imgd_error **err)
{
	const char *const env[][2] = {
		{ "filters", filters },
		{ "shared-size", "1" },
		{ "layers", is_tree ? "1" : NULL },
	};
	const struct images_query query = {
		.filters = filters,
		.wants_shared_size = true,
		.wants_layers = is_tree,
	};
	cleanup(store_closep) struct store *s = NULL;
	struct strbuf text = STRBUF_INIT;
	int r;

	if (cli->host != NULL)
		return cli_ask(cli, "images", NULL, env, 3, ret, err);
	r = cli_store(cli, &s, err);
	if (r >= 0)
		r = images_list(s, &query, &text, err);
	if (r >= 0) {
		*ret = json_tokener_parse(text.data);
		if (*ret == NULL)
			r = imgd_error_set(err, ENOMEM, "out of memory");
	}
	strbuf_done(&text);
	return r;
}

static int
list(struct cli *cli, const struct listing *l, const char *filters,
    struct imgd_error **err)
{
	cleanup_json struct json_object *images = NULL;
	size_t i;
	int r = ask(cli, filters, l->is_tree, &images, err);

	if (r < 0)
		return r;
	if (l->is_tree)
		return images_tree_print(images, l->is_long);
	for (i = 0; i < json_object_array_length(images); i++)
		show_image(l, json_object_array_get_idx(images, i));
	return l->format != NULL ? format_end(l->format) : 0;
}

int
cmd_images(struct cli *cli, int argc, char **argv)
{
	const char *filters[OPTION_LIST_MAX + 2] = { NULL };
	cleanup(format_freep) struct format *f = NULL;
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *pattern = NULL, *json = NULL;
	struct listing l = { .format = NULL };
	const char *format = NULL;
	bool is_all, has_filters = false;
	const struct option_spec specs[] = {
		{ 'a', "all", &is_all, NULL },
		{ 'q', "quiet", &l.is_quiet, NULL },
		{ 'f', "filter", &has_filters, filters },
		{ 0, "digests", &l.wants_digests, NULL },
		{ 0, "no-trunc", &l.is_long, NULL },
		{ 0, "format", NULL, &format },
		{ 0, "json", &l.is_json, NULL },
		{ 0, "tree", &l.is_tree, NULL },
		{ 0, NULL, NULL, NULL },
	};
	size_t n_filters = 0;
	int n, r;

	if (parse_options(cli, argc, argv, specs, 0, 1, &n) < 0)
		return EXIT_USAGE;
	if (l.is_tree &&
	    (l.is_quiet || l.is_json || l.wants_digests || format != NULL))
		return usage_error(cli, "--tree is a form of its own");
	while (filters[n_filters] != NULL)
		n_filters++;
	if (n == 1) {
		pattern = name_pattern(argv[1]);
		filters[n_filters] = pattern;
	}
	r = filters_from_options(filters, &json, &err);
	if (r >= 0 && !l.is_quiet && !l.is_json && !l.is_tree)
		r = format_parse(format != NULL && strcmp(format, "table") != 0
			? format
			: l.wants_digests ? WITH_DIGESTS
					  : PLAIN,
		    fields, &f, &err);
	l.format = f;
	/* Rows by digest are what such a format is for. */
	l.wants_digests = l.wants_digests ||
	    (format != NULL && strstr(format, ".Digest") != NULL);
	if (r >= 0)
		r = list(cli, &l, json, &err);
	return r < 0 ? report(cli, NULL, err) : 0;
}
