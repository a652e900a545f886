#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "core/inspect.h"
#include "lib/cleanup-json.h"
#include "lib/digest.h"
#include "lib/strbuf.h"
#include "registry/reference.h"

struct image_item {
	char *id, *created, *drivers;
	uint64_t size_bytes;
};

/* One name of an image, or none. */
struct name_item {
	char *repository; /* familiar */
	char *canonical;
	char *tag, *digest;
	char *image;
};

struct listing {
	struct image_item *images;
	size_t n_images;
	struct name_item *names;
	size_t n_names;
	/* what was asked */
	bool is_quiet, is_json, wants_digests, is_long;
	const char *repository, *tag; /* filter; NULL: all */
};

static void
listing_done(struct listing *l)
{
	size_t i;

	for (i = 0; i < l->n_images; i++) {
		free(l->images[i].id);
		free(l->images[i].created);
		free(l->images[i].drivers);
	}
	for (i = 0; i < l->n_names; i++) {
		free(l->names[i].repository);
		free(l->names[i].canonical);
		free(l->names[i].tag);
		free(l->names[i].digest);
		free(l->names[i].image);
	}
	free(l->images);
	free(l->names);
}

static int
add_image(void *ctx, const struct image_summary *s)
{
	struct listing *l = ctx;
	struct image_item *items, *to;

	items = reallocarray(l->images, l->n_images + 1, sizeof(*items));
	if (items == NULL)
		return -ENOMEM;
	l->images = items;
	to = &items[l->n_images++];
	*to = (struct image_item) {
		.id = strdup(s->id),
		.created = strdup(s->created),
		.drivers = strdup(s->drivers),
		.size_bytes = s->size_bytes,
	};
	return to->id && to->created && to->drivers ? 0 : -ENOMEM;
}

static int
add_name(void *ctx, const struct image_name *n)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	struct listing *l = ctx;
	struct name_item *items, *to;

	items = reallocarray(l->names, l->n_names + 1, sizeof(*items));
	if (items == NULL)
		return -ENOMEM;
	l->names = items;
	to = &items[l->n_names++];
	*to = (struct name_item) {
		.canonical = strdup(n->repository),
		.tag = strdup(n->tag),
		.digest = strdup(n->manifest_digest),
		.image = strdup(n->image),
	};
	if (reference_parse(n->repository, 0, &ref, NULL) >= 0)
		to->repository = reference_familiar_name(&ref);
	else
		to->repository = strdup(n->repository);
	return to->canonical && to->tag && to->digest && to->image &&
		to->repository
	    ? 0
	    : -ENOMEM;
}

static bool
is_wanted(const struct listing *l, const struct name_item *n)
{
	if (l->repository == NULL)
		return true;
	return n != NULL && strcmp(n->canonical, l->repository) == 0 &&
	    (l->tag == NULL || strcmp(n->tag, l->tag) == 0);
}

static void
row(const struct listing *l, struct table *t, const struct image_item *img,
    const struct name_item *n)
{
	char size[32], when[40];

	table_cell(t, "%s", n != NULL ? n->repository : "<none>");
	table_cell(t, "%s",
	    n != NULL && n->tag[0] != '\0' ? n->tag : "<none>");
	if (l->wants_digests)
		table_cell(t, "%s",
		    n != NULL && n->digest[0] != '\0' ? n->digest : "<none>");
	table_cell(t, "%.*s", l->is_long ? DIGEST_STR_LEN : 12,
	    l->is_long ? img->id : digest_hex(img->id));
	table_cell(t, "%s", ago(inspect_time(img->created), when));
	table_cell(t, "%s", str_size(img->size_bytes, size));
	table_cell(t, "%s", img->drivers);
}

static void
json_row(const struct image_item *img, const struct name_item *n)
{
	cleanup_json struct json_object *o = json_object_new_object();
	struct json_object *drivers = json_object_new_array();
	/* The image may have more names, each with a row. */
	cleanup_free char *list = strdup(img->drivers);
	char *save = NULL, *d;

	json_object_object_add(o, "Repository",
	    json_object_new_string(n != NULL ? n->repository : "<none>"));
	json_object_object_add(o, "Tag",
	    json_object_new_string(
		n != NULL && n->tag[0] != '\0' ? n->tag : "<none>"));
	json_object_object_add(o, "Digest",
	    json_object_new_string(
		n != NULL && n->digest[0] != '\0' ? n->digest : "<none>"));
	json_object_object_add(o, "ID", json_object_new_string(img->id));
	json_object_object_add(o, "CreatedAt",
	    json_object_new_string(img->created));
	json_object_object_add(o, "Size",
	    json_object_new_int64((int64_t)img->size_bytes));
	for (d = list != NULL ? strtok_r(list, ",", &save) : NULL; d != NULL;
	    d = strtok_r(NULL, ",", &save))
		(void)json_object_array_add(drivers,
		    json_object_new_string(d));
	json_object_object_add(o, "Drivers", drivers);
	print_json(o, false);
}

static void
show(const struct listing *l, struct table *t, struct image_item *img,
    const struct name_item *n, bool *is_shown)
{
	if (!is_wanted(l, n))
		return;
	if (l->is_json)
		json_row(img, n);
	else if (l->is_quiet && !*is_shown)
		(void)printf("%.*s\n", l->is_long ? DIGEST_STR_LEN : 12,
		    l->is_long ? img->id : digest_hex(img->id));
	else if (!l->is_quiet)
		row(l, t, img, n);
	*is_shown = true;
}

/* docker's rule: an image shows under its tags; under its digests only if
 * asked to, or if it has no tag. */
static void
show_image(const struct listing *l, struct table *t, struct image_item *img)
{
	bool has_tag = false, is_shown = false, has_name = false;
	size_t i;

	for (i = 0; i < l->n_names; i++) {
		const struct name_item *n = &l->names[i];

		if (strcmp(n->image, img->id) != 0)
			continue;
		if (n->tag[0] != '\0')
			has_tag = true;
		else if (has_tag)
			continue;
		has_name = true;
		show(l, t, img, n, &is_shown);
	}
	if (!has_name)
		show(l, t, img, NULL, &is_shown);
}

static int
print_listing(struct listing *l)
{
	static const char *const plain[] = { "REPOSITORY", "TAG", "IMAGE ID",
		"CREATED", "SIZE", "DRIVER", NULL };
	static const char *const with_digest[] = { "REPOSITORY", "TAG",
		"DIGEST", "IMAGE ID", "CREATED", "SIZE", "DRIVER", NULL };
	struct table t;
	size_t i;

	table_init(&t, l->wants_digests ? with_digest : plain);
	for (i = 0; i < l->n_images; i++)
		show_image(l, &t, &l->images[i]);
	if (!l->is_quiet && !l->is_json)
		return table_print(&t) < 0;
	table_done(&t);
	return 0;
}

int
cmd_images(struct cli *cli, int argc, char **argv)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	cleanup(listing_done) struct listing l = { .images = NULL };
	cleanup(store_closep) struct store *s = NULL;
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *name = NULL;
	const struct option_spec specs[] = {
		{ 'q', "quiet", &l.is_quiet, NULL },
		{ 0, "digests", &l.wants_digests, NULL },
		{ 0, "no-trunc", &l.is_long, NULL },
		{ 0, "json", &l.is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	int n, r;

	if (parse_options(cli, argc, argv, specs, 0, 1, &n) < 0)
		return EXIT_USAGE;
	if (n == 1) {
		if (reference_parse(argv[1], 0, &ref, &err) < 0)
			return report(cli, NULL, err);
		name = reference_name(&ref);
		l.repository = name;
		l.tag = ref.tag;
	}
	r = store_open(cli->root, &cli->config, /* is_readonly= */ true, &s,
	    &err);
	if (r >= 0 && s->tags != NULL)
		r = tagstore_images(s->tags, add_image, &l, &err);
	if (r >= 0 && s->tags != NULL)
		r = tagstore_names(s->tags, NULL, add_name, &l, &err);
	if (r < 0)
		return report(cli, NULL, err);
	return print_listing(&l);
}
