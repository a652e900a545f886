#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/engine.h"
#include "core/filters.h"
#include "core/images-list.h"
#include "core/inspect.h"
#include "core/job.h"
#include "lib/cleanup-json.h"
#include "registry/reference.h"

#define NS 1000000000LL

/* ---- rendered lists ---- */

#define CACHE_ENTRIES   4
#define CACHE_MAX_BYTES (512u << 10) /* of one list */

struct cached {
	char *key;
	uint64_t version;
	struct strbuf text;
};

struct images_cache {
	pthread_mutex_t mutex;
	struct cached entries[CACHE_ENTRIES];
	size_t next; /* the one that is replaced */
};

struct images_cache *
images_cache_new(void)
{
	struct images_cache *cache = calloc(1, sizeof(*cache));

	if (cache != NULL)
		(void)pthread_mutex_init(&cache->mutex, NULL);
	return cache;
}

void
images_cache_free(struct images_cache *cache)
{
	size_t i;

	if (cache == NULL)
		return;
	for (i = 0; i < CACHE_ENTRIES; i++) {
		free(cache->entries[i].key);
		strbuf_done(&cache->entries[i].text);
	}
	(void)pthread_mutex_destroy(&cache->mutex);
	free(cache);
}

static bool
cache_get(struct images_cache *cache, const char *key, uint64_t version,
    struct strbuf *ret)
{
	bool is_hit = false;
	size_t i;

	pthread_mutex_lock(&cache->mutex);
	for (i = 0; i < CACHE_ENTRIES && !is_hit; i++) {
		const struct cached *c = &cache->entries[i];

		if (c->key == NULL || c->version != version ||
		    strcmp(c->key, key) != 0)
			continue;
		strbuf_append(ret, c->text.data, c->text.len);
		is_hit = true;
	}
	pthread_mutex_unlock(&cache->mutex);
	return is_hit;
}

/* text: taken. */
static void
cache_put(struct images_cache *cache, const char *key, uint64_t version,
    struct strbuf *text)
{
	struct cached *c = NULL;
	size_t i;

	pthread_mutex_lock(&cache->mutex);
	for (i = 0; i < CACHE_ENTRIES && c == NULL; i++)
		if (cache->entries[i].key != NULL &&
		    strcmp(cache->entries[i].key, key) == 0)
			c = &cache->entries[i];
	if (c == NULL) {
		c = &cache->entries[cache->next];
		cache->next = (cache->next + 1) % CACHE_ENTRIES;
	}
	free(c->key);
	strbuf_done(&c->text);
	c->key = strdup(key);
	c->version = version;
	c->text = *text;
	*text = (struct strbuf)STRBUF_INIT;
	pthread_mutex_unlock(&cache->mutex);
}

/* ---- what the store has ---- */

struct item {
	char *id, *drivers;
	struct json_object *labels; /* NULL: none */
	int64_t created;            /* seconds since the epoch; 0: unknown */
	uint64_t size_bytes, shared_bytes, n_containers;
	size_t first_name, n_names;
	size_t first_layer, n_layers;
};

struct layer {
	char *chain_id;
	uint64_t size_bytes;
};

/* A name as docker shows it. */
struct name {
	char *image;
	char *repository; /* familiar */
	char *full;       /* with tag or digest */
	bool is_tag;
};

struct list {
	struct item *items;
	size_t n_items, items_size;
	struct name *names; /* by image; tags first */
	size_t n_names, names_size;
	struct layer *layers; /* of one image after the other, if wanted */
	size_t n_layers, layers_size;
	struct filters filters;
	const struct images_query *query;

	/* what the filters say */
	bool has_dangling, is_dangling;
	int64_t before_ns, since_ns, until_ns;
	bool has_before, has_since, has_until;
};

static void
list_done(struct list *l)
{
	size_t i;

	for (i = 0; i < l->n_items; i++) {
		free(l->items[i].id);
		free(l->items[i].drivers);
		(void)json_object_put(l->items[i].labels);
	}
	for (i = 0; i < l->n_names; i++) {
		free(l->names[i].image);
		free(l->names[i].repository);
		free(l->names[i].full);
	}
	for (i = 0; i < l->n_layers; i++)
		free(l->layers[i].chain_id);
	free(l->items);
	free(l->names);
	free(l->layers);
	filters_done(&l->filters);
}

/* Room for one more of an array that doubles. */
static void *
grow(void *items, size_t n, size_t *size, size_t item_size)
{
	void *more;

	if (n < *size)
		return items;
	more = reallocarray(items, *size * 2 + 16, item_size);
	if (more != NULL)
		*size = *size * 2 + 16;
	return more;
}

static int
add_item(void *ctx, const struct image_summary *s)
{
	struct list *l = ctx;
	struct item *items, *to;

	items = grow(l->items, l->n_items, &l->items_size, sizeof(*items));
	if (items == NULL)
		return -ENOMEM;
	l->items = items;
	to = &items[l->n_items++];
	*to = (struct item) {
		.id = strdup(s->id),
		.drivers = strdup(s->drivers),
		.labels = s->labels[0] == '{' ? json_tokener_parse(s->labels)
					      : NULL,
		.created = inspect_time(s->created),
		.size_bytes = s->size_bytes,
		.shared_bytes = s->shared_bytes,
		.n_containers = s->n_containers,
	};
	return to->id != NULL && to->drivers != NULL ? 0 : -ENOMEM;
}

static int
add_name(void *ctx, const struct image_name *n)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	bool is_tag = n->tag[0] != '\0';
	struct list *l = ctx;
	struct name *names, *to;

	names = grow(l->names, l->n_names, &l->names_size, sizeof(*names));
	if (names == NULL)
		return -ENOMEM;
	l->names = names;
	to = &names[l->n_names++];
	*to = (struct name) { .image = strdup(n->image), .is_tag = is_tag };
	if (reference_parse(n->repository, 0, &ref, NULL) >= 0)
		to->repository = reference_familiar_name(&ref);
	else
		to->repository = strdup(n->repository);
	if (to->image == NULL || to->repository == NULL ||
	    asprintf(&to->full, "%s%c%s", to->repository, is_tag ? ':' : '@',
		is_tag ? n->tag : n->manifest_digest) < 0) {
		to->full = NULL;
		return -ENOMEM;
	}
	return 0;
}

/* Items are sorted by id meanwhile, as these come. */
struct layers_of {
	struct list *list;
	size_t item;
};

static int
add_layer(void *ctx, const struct layer_summary *s)
{
	struct layers_of *of = ctx;
	struct list *l = of->list;
	struct layer *layers;
	struct item *item;

	while (of->item < l->n_items &&
	    strcmp(l->items[of->item].id, s->image) < 0)
		of->item++;
	/* Of an image that has come since. */
	if (of->item == l->n_items ||
	    strcmp(l->items[of->item].id, s->image) != 0)
		return 0;
	layers = grow(l->layers, l->n_layers, &l->layers_size,
	    sizeof(*layers));
	if (layers == NULL)
		return -ENOMEM;
	l->layers = layers;
	layers += l->n_layers;
	*layers = (struct layer) { strdup(s->chain_id), s->size_bytes };
	item = &l->items[of->item];
	if (item->n_layers++ == 0)
		item->first_layer = l->n_layers;
	l->n_layers++;
	return layers->chain_id != NULL ? 0 : -ENOMEM;
}

static int
by_id(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	return strcmp(x->id, y->id);
}

static int
load_layers(struct store *s, struct list *l, struct imgd_error **err)
{
	struct layers_of of = { l, 0 };

	if (l->n_items > 0)
		qsort(l->items, l->n_items, sizeof(*l->items), by_id);
	return tagstore_layer_summaries(s->tags, add_layer, &of, err);
}

static int
by_image(const void *a, const void *b)
{
	const struct name *x = a, *y = b;
	int r = strcmp(x->image, y->image);

	if (r == 0)
		r = (int)y->is_tag - (int)x->is_tag;
	return r != 0 ? r : strcmp(x->full, y->full);
}

static int
by_age(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->created != y->created)
		return x->created < y->created ? 1 : -1;
	return strcmp(x->id, y->id);
}

/* The first name of the image, by halving. */
static void
find_names(const struct list *l, struct item *item)
{
	size_t low = 0, high = l->n_names;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (strcmp(l->names[mid].image, item->id) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	item->first_name = low;
	while (low < l->n_names && strcmp(l->names[low].image, item->id) == 0)
		low++;
	item->n_names = low - item->first_name;
}

static int
load(struct store *s, struct list *l, struct imgd_error **err)
{
	size_t i;
	int r;

	r = tagstore_images(s->tags, add_item, l, err);
	if (r >= 0)
		r = tagstore_names(s->tags, NULL, add_name, l, err);
	if (r >= 0 && l->query->wants_layers)
		r = load_layers(s, l, err);
	if (r == -ENOMEM)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (r < 0)
		return r;
	if (l->n_names > 0)
		qsort(l->names, l->n_names, sizeof(*l->names), by_image);
	if (l->n_items > 0)
		qsort(l->items, l->n_items, sizeof(*l->items), by_age);
	for (i = 0; i < l->n_items; i++)
		find_names(l, &l->items[i]);
	return 0;
}

/* ---- filters ---- */

static const char *const known_filters[] = { "dangling", "label", "label!",
	"before", "since", "until", "reference", NULL };

/* Of several images that a key names, the one that leaves least. */
static int
read_age(struct store *s, struct list *l, const struct filter *f,
    struct imgd_error **err)
{
	bool is_before = strcmp(f->key, "before") == 0;
	cleanup_free char *id = NULL;
	int64_t ns = 0;
	size_t i;
	int r;

	r = store_find_image(s, f->value, &id, NULL, err);
	if (r < 0)
		return r;
	for (i = 0; i < l->n_items; i++)
		if (strcmp(l->items[i].id, id) == 0)
			ns = l->items[i].created * NS;
	if (is_before) {
		if (!l->has_before || ns < l->before_ns)
			l->before_ns = ns;
		l->has_before = true;
	} else {
		if (!l->has_since || ns > l->since_ns)
			l->since_ns = ns;
		l->has_since = true;
	}
	return 0;
}

static int
read_filters(struct store *s, struct list *l, struct imgd_error **err)
{
	size_t i;
	int r;

	l->has_dangling = filters_has(&l->filters, "dangling");
	l->has_until = filters_has(&l->filters, "until");
	r = filters_bool(&l->filters, "dangling", false, &l->is_dangling, err);
	if (r >= 0)
		r = filters_time(&l->filters, "until", &l->until_ns, err);
	for (i = 0; i < l->filters.n && r >= 0; i++) {
		const struct filter *f = &l->filters.items[i];

		if (strcmp(f->key, "reference") == 0)
			r = filter_check_glob(f->value, err);
		else if (strcmp(f->key, "before") == 0 ||
		    strcmp(f->key, "since") == 0)
			r = read_age(s, l, f, err);
	}
	return r;
}

static bool
is_of_age(const struct list *l, const struct item *item)
{
	int64_t ns = item->created * NS;

	return (!l->has_before || ns < l->before_ns) &&
	    (!l->has_since || ns > l->since_ns) &&
	    (!l->has_until || ns < l->until_ns);
}

static bool
matches_reference(const struct list *l, const struct name *n)
{
	size_t i;

	for (i = 0; i < l->filters.n; i++) {
		const struct filter *f = &l->filters.items[i];

		if (strcmp(f->key, "reference") == 0 &&
		    (filter_glob(f->value, n->full) ||
			filter_glob(f->value, n->repository)))
			return true;
	}
	return false;
}

static bool
is_name_wanted(const struct list *l, const struct item *item,
    const struct name *n)
{
	size_t i;

	if (!filters_has(&l->filters, "reference") || matches_reference(l, n))
		return true;
	for (i = 0; !n->is_tag && i < item->n_names; i++) {
		const struct name *tag = &l->names[item->first_name + i];

		if (tag->is_tag &&
		    strcmp(tag->repository, n->repository) == 0 &&
		    matches_reference(l, tag))
			return true;
	}
	return false;
}

static bool
has_labels(const struct list *l, const struct item *item)
{
	return filters_match_labels(&l->filters, "label", item->labels) &&
	    !(filters_has(&l->filters, "label!") &&
		filters_match_labels(&l->filters, "label!", item->labels));
}

/* ---- the text ---- */

/* The names of a kind in an array; returns how many. */
static size_t
put_names(struct strbuf *sb, const struct list *l, const struct item *item,
    bool is_tag)
{
	size_t i, n = 0;

	strbuf_putc(sb, '[');
	for (i = 0; i < item->n_names; i++) {
		const struct name *name = &l->names[item->first_name + i];

		if (name->is_tag != is_tag || !is_name_wanted(l, item, name))
			continue;
		if (n++ > 0)
			strbuf_putc(sb, ',');
		strbuf_json(sb, name->full);
	}
	strbuf_putc(sb, ']');
	return n;
}

static void
put_drivers(struct strbuf *sb, const char *list)
{
	const char *p = list;

	strbuf_putc(sb, '[');
	while (*p != '\0') {
		size_t n = strcspn(p, ",");
		cleanup_free char *name = strndup(p, n);

		if (p != list)
			strbuf_putc(sb, ',');
		strbuf_json(sb, name != NULL ? name : "");
		p += n;
		p += *p == ',';
	}
	strbuf_putc(sb, ']');
}

static void
put_labels(struct strbuf *sb, struct json_object *labels)
{
	bool is_first = true;

	if (!json_object_is_type(labels, json_type_object)) {
		strbuf_puts(sb, "null");
		return;
	}
	strbuf_putc(sb, '{');
	json_object_object_foreach(labels, key, value) {
		if (!json_object_is_type(value, json_type_string))
			continue;
		if (!is_first)
			strbuf_putc(sb, ',');
		is_first = false;
		strbuf_json(sb, key);
		strbuf_putc(sb, ':');
		strbuf_json(sb, json_object_get_string(value));
	}
	strbuf_putc(sb, '}');
}

static void
put_layers(struct strbuf *sb, const struct list *l, const struct item *item)
{
	size_t i;

	strbuf_puts(sb, ",\"Layers\":[");
	for (i = 0; i < item->n_layers; i++) {
		const struct layer *layer = &l->layers[item->first_layer + i];

		strbuf_printf(sb, "%s{\"ChainId\":\"%s\",\"Size\":%ju}",
		    i > 0 ? "," : "", layer->chain_id,
		    (uintmax_t)layer->size_bytes);
	}
	strbuf_putc(sb, ']');
}

/* Whether the image shows under the names that it has left. */
static bool
is_shown(const struct list *l, const struct item *item, size_t n_tags,
    size_t n_digests)
{
	if (n_tags + n_digests > 0)
		return !l->is_dangling || n_tags == 0;
	return !(l->has_dangling && !l->is_dangling) &&
	    !filters_has(&l->filters, "reference") && item->n_names == 0;
}

static void
put_item(struct strbuf *sb, const struct list *l, const struct item *item)
{
	bool is_first = sb->len > 0 && sb->data[sb->len - 1] == '[';
	size_t n_tags, n_digests;
	struct strbuf tags = STRBUF_INIT, digests = STRBUF_INIT;

	n_tags = put_names(&tags, l, item, true);
	n_digests = put_names(&digests, l, item, false);
	if (is_shown(l, item, n_tags, n_digests)) {
		bool is_none = n_tags + n_digests == 0 &&
		    l->query->wants_none_names;

		strbuf_printf(sb, "%s{\"Containers\":%ju,\"Created\":%jd,"
				  "\"Drivers\":",
		    is_first ? "" : ",", (uintmax_t)item->n_containers,
		    (intmax_t)item->created);
		put_drivers(sb, item->drivers);
		strbuf_puts(sb, ",\"Id\":");
		strbuf_json(sb, item->id);
		strbuf_puts(sb, ",\"Labels\":");
		put_labels(sb, item->labels);
		strbuf_printf(sb,
		    ",\"ParentId\":\"\",\"RepoDigests\":%s,\"RepoTags\":%s,"
		    "\"SharedSize\":%jd,\"Size\":%ju",
		    is_none ? "[\"<none>@<none>\"]" : digests.data,
		    is_none ? "[\"<none>:<none>\"]" : tags.data,
		    l->query->wants_shared_size
			? (intmax_t)item->shared_bytes
			: -1,
		    (uintmax_t)item->size_bytes);
		if (l->query->wants_virtual_size)
			strbuf_printf(sb, ",\"VirtualSize\":%ju",
			    (uintmax_t)item->size_bytes);
		if (l->query->wants_layers)
			put_layers(sb, l, item);
		strbuf_putc(sb, '}');
	}
	sb->is_failed = sb->is_failed || tags.is_failed || digests.is_failed;
	strbuf_done(&tags);
	strbuf_done(&digests);
}

static int
render(struct store *s, struct list *l, struct strbuf *ret,
    struct imgd_error **err)
{
	size_t i;
	int r;

	r = load(s, l, err);
	if (r >= 0)
		r = read_filters(s, l, err);
	if (r < 0)
		return r;
	strbuf_putc(ret, '[');
	for (i = 0; i < l->n_items; i++)
		if (is_of_age(l, &l->items[i]) && has_labels(l, &l->items[i]))
			put_item(ret, l, &l->items[i]);
	strbuf_putc(ret, ']');
	return ret->is_failed
	    ? imgd_error_set(err, ENOMEM, "out of memory")
	    : 0;
}

/* Render, and keep what may be asked for again. */
static int
render_and_keep(struct store *s, struct list *l, const char *key,
    uint64_t version, struct strbuf *ret, struct imgd_error **err)
{
	struct strbuf text = STRBUF_INIT;
	int r = render(s, l, &text, err);

	if (r >= 0)
		strbuf_append(ret, text.data, text.len);
	/* What "until" means is another thing by then. */
	if (r >= 0 && text.len <= CACHE_MAX_BYTES && !l->has_until)
		cache_put(s->images_cache, key, version, &text);
	strbuf_done(&text);
	return r;
}

int
images_list(struct store *s, const struct images_query *q, struct strbuf *ret,
    struct imgd_error **err)
{
	cleanup(list_done) struct list l = { .query = q };
	cleanup_free char *key = NULL;
	uint64_t version;
	int r;

	if (s->tags != NULL && s->images_cache != NULL) {
		if (asprintf(&key, "%d%d%d%d%s\n%s", q->wants_shared_size,
			q->wants_none_names, q->wants_virtual_size,
			q->wants_layers,
			q->name != NULL ? q->name : "",
			q->filters != NULL ? q->filters : "") < 0) {
			key = NULL;
			return imgd_error_set(err, ENOMEM, "out of memory");
		}
		/* Before all else: what changes meanwhile may be in the list
		 * already, but must not be taken to be. */
		r = tagstore_version(s->tags, &version, err);
		if (r < 0)
			return r;
		if (cache_get(s->images_cache, key, version, ret))
			return 0;
	}
	r = filters_parse(q->filters, known_filters, &l.filters, err);
	if (r >= 0 && q->name != NULL)
		r = filters_add(&l.filters, "reference", q->name, err);
	if (r < 0)
		return r;
	if (s->tags == NULL) {
		r = read_filters(s, &l, err);
		strbuf_puts(ret, "[]");
		return r;
	}
	return key != NULL ? render_and_keep(s, &l, key, version, ret, err)
			   : render(s, &l, ret, err);
}

int
job_images(struct job *job, struct imgd_error **err)
{
	const char *text = job_getenv(job, "api-minor");
	uint64_t minor = 0;
	const struct images_query q = {
		.filters = job_getenv(job, "filters"),
		.name = job_getenv(job, "filter"),
		.wants_shared_size = job_getenv(job, "shared-size") != NULL,
		.wants_none_names = text != NULL &&
		    str_to_u64(text, UINT32_MAX, &minor) && minor < 43,
		.wants_virtual_size = text == NULL || minor < 44,
		.wants_layers = job_getenv(job, "layers") != NULL,
	};

	return images_list(job->engine->store, &q, &job->result, err);
}
