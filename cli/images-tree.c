#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/images-tree.h"
#include "lib/cleanup-json.h"
#include "lib/digest.h"
#include "lib/strbuf.h"

/* A layer on top of its ancestors.  Node 0 is below all bases. */
struct node {
	const char *chain_id; /* borrowed; NULL of node 0 */
	uint64_t size_bytes;
	size_t child, last_child, next; /* 0: none */
	struct json_object *images; /* that end here; NULL: none */
};

struct tree {
	struct node *nodes;
	size_t n, size;
	struct json_object *by_chain_id; /* index of the node */
	bool is_failed;                  /* memory is out */
};

static void
tree_done(struct tree *t)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		(void)json_object_put(t->nodes[i].images);
	free(t->nodes);
	(void)json_object_put(t->by_chain_id);
}

static struct json_object *
get(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? v : NULL;
}

/* ---- building ---- */

/* Its index, or 0. */
static size_t
add_node(struct tree *t, const char *chain_id, uint64_t size_bytes)
{
	struct node *nodes = t->nodes;

	if (t->n == t->size) {
		nodes = reallocarray(nodes, t->size * 2 + 64, sizeof(*nodes));
		if (nodes == NULL) {
			t->is_failed = true;
			return 0;
		}
		t->nodes = nodes;
		t->size = t->size * 2 + 64;
	}
	nodes[t->n] = (struct node) { .chain_id = chain_id,
		.size_bytes = size_bytes };
	return t->n++;
}

/* The layer's node on that parent.  A chain's id tells its parent, too. */
static size_t
find_node(struct tree *t, size_t parent, struct json_object *layer)
{
	const char *chain_id = json_object_get_string(get(layer, "ChainId"));
	struct json_object *known = get(t->by_chain_id, chain_id);
	struct node *p;
	size_t i;

	if (known != NULL)
		return (size_t)json_object_get_int64(known);
	i = add_node(t, chain_id,
	    (uint64_t)json_object_get_int64(get(layer, "Size")));
	if (i == 0)
		return 0;
	p = &t->nodes[parent];
	if (p->child == 0)
		p->child = i;
	else
		t->nodes[p->last_child].next = i;
	p->last_child = i;
	json_object_object_add(t->by_chain_id, chain_id,
	    json_object_new_int64((int64_t)i));
	return i;
}

static void
add_image(struct tree *t, struct json_object *image)
{
	struct json_object *layers = get(image, "Layers");
	size_t i, node = 0, n = 0;

	if (json_object_is_type(layers, json_type_array))
		n = json_object_array_length(layers);
	for (i = 0; i < n && !t->is_failed; i++)
		node = find_node(t, node,
		    json_object_array_get_idx(layers, i));
	if (t->is_failed)
		return;
	if (t->nodes[node].images == NULL)
		t->nodes[node].images = json_object_new_array();
	(void)json_object_array_add(t->nodes[node].images,
	    json_object_get(image));
}

/* ---- drawing ---- */

struct lines {
	const char *branch, *last_branch, *trunk, *nothing;
};

static const struct lines utf8_lines = { "├─ ", "└─ ", "│  ", "   " };
static const struct lines ascii_lines = { "|- ", "`- ", "|  ", "   " };

struct drawing {
	const struct tree *tree;
	const struct lines *lines;
	struct table table;
	struct strbuf prefix; /* what stands before the children's branches */
	bool is_long;
};

/* A terminal whose user's locale says so: ours is UTF-8 always. */
static bool
is_utf8_terminal(void)
{
	static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };
	const char *value = NULL;
	size_t i;

	for (i = 0; i < 3 && (value == NULL || *value == '\0'); i++)
		value = getenv(names[i]);
	return value != NULL && isatty(STDOUT_FILENO) == 1 &&
	    (strcasestr(value, "utf-8") != NULL ||
		strcasestr(value, "utf8") != NULL);
}

/* Tags; digests if there are none. */
static void
names_cell(struct drawing *d, struct json_object *image)
{
	struct json_object *names = get(image, "RepoTags");
	struct strbuf sb = STRBUF_INIT;
	size_t i;

	if (json_object_array_length(names) == 0)
		names = get(image, "RepoDigests");
	for (i = 0; i < json_object_array_length(names); i++)
		strbuf_printf(&sb, "%s%s", i > 0 ? ", " : "",
		    json_object_get_string(
			json_object_array_get_idx(names, i)));
	d->table.is_failed = d->table.is_failed || sb.is_failed;
	table_cell(&d->table, "%s", sb.len > 0 ? sb.data : "<none>");
	strbuf_done(&sb);
}

static void
id_cell(struct drawing *d, const char *before, const char *id)
{
	table_cell(&d->table, "%s%.*s", before,
	    d->is_long ? DIGEST_STR_LEN : 12,
	    d->is_long ? id : digest_hex(id));
}

/* The images that end at the node: the first on the row that has begun. */
static void
image_cells(struct drawing *d, const struct node *node)
{
	size_t i, n = 0, c;

	if (node->images != NULL)
		n = json_object_array_length(node->images);
	for (i = 0; i < n; i++) {
		struct json_object *image = json_object_array_get_idx(
		    node->images, i);

		if (i > 0) {
			table_cell(&d->table, "%s%s",
			    d->prefix.len > 0 ? d->prefix.data : "",
			    node->child != 0 ? d->lines->trunk : "");
			for (c = 0; c < 3; c++)
				table_cell(&d->table, "%s", "");
		}
		id_cell(d, "", json_object_get_string(get(image, "Id")));
		names_cell(d, image);
	}
	for (c = 0; n == 0 && c < 2; c++)
		table_cell(&d->table, "%s", "");
}

/* The row of the run that begins with a node; returns its last one.  sum: of
 * all below; then with the run. */
static const struct node *
draw_run(struct drawing *d, const char *before, const struct node *node,
    uint64_t *sum)
{
	const struct node *nodes = d->tree->nodes;
	uint64_t size_bytes = node->size_bytes;
	char size[32], total[32];
	size_t n_layers = 1;

	while (node->images == NULL && node->child != 0 &&
	    nodes[node->child].next == 0) {
		node = &nodes[node->child];
		size_bytes += node->size_bytes;
		n_layers++;
	}
	*sum += size_bytes;
	id_cell(d, before, node->chain_id);
	table_cell(&d->table, "%zu", n_layers);
	table_cell(&d->table, "%s", str_size(size_bytes, size));
	table_cell(&d->table, "%s", str_size(*sum, total));
	return node;
}

static void
draw(struct drawing *d, size_t first, uint64_t sum, bool is_base)
{
	const struct node *nodes = d->tree->nodes;
	size_t i, len = d->prefix.len;

	for (i = first; i != 0; i = nodes[i].next) {
		bool is_last = nodes[i].next == 0;
		cleanup_free char *before = NULL;
		const struct node *tip;
		uint64_t with_run = sum;

		if (asprintf(&before, "%s%s", len > 0 ? d->prefix.data : "",
			is_base	      ? ""
			    : is_last ? d->lines->last_branch
				      : d->lines->branch) < 0) {
			before = NULL;
			d->table.is_failed = true;
			return;
		}
		tip = draw_run(d, before, &nodes[i], &with_run);
		if (!is_base)
			strbuf_puts(&d->prefix, is_last ? d->lines->nothing
							: d->lines->trunk);
		if (d->prefix.is_failed) {
			d->table.is_failed = true;
			return;
		}
		image_cells(d, tip);
		draw(d, tip->child, with_run, /* is_base= */ false);
		if (d->prefix.data != NULL)
			strbuf_truncate(&d->prefix, len);
	}
}

/* Images that have no layer at all. */
static void
draw_empty(struct drawing *d)
{
	const struct node *root = &d->tree->nodes[0];

	if (root->images == NULL)
		return;
	table_cell(&d->table, "-");
	table_cell(&d->table, "0");
	table_cell(&d->table, "0B");
	table_cell(&d->table, "0B");
	image_cells(d, &(struct node) { .images = root->images });
}

int
images_tree_print(struct json_object *images, bool is_long)
{
	static const char *const headings[] = { "CHAIN", "LAYERS", "SIZE",
		"TOTAL", "IMAGE ID", "NAMES", NULL };
	cleanup(tree_done) struct tree t = { .nodes = NULL };
	struct drawing d = { .tree = &t, .prefix = STRBUF_INIT,
		.is_long = is_long,
		.lines = is_utf8_terminal() ? &utf8_lines : &ascii_lines };
	size_t i;

	t.by_chain_id = json_object_new_object();
	(void)add_node(&t, /* chain_id= */ NULL, 0);
	for (i = 0; !t.is_failed && i < json_object_array_length(images); i++)
		add_image(&t, json_object_array_get_idx(images, i));
	table_init(&d.table, headings);
	d.table.is_failed = d.table.is_failed || t.is_failed;
	if (!d.table.is_failed) {
		draw(&d, t.nodes[0].child, 0, /* is_base= */ true);
		draw_empty(&d);
	}
	strbuf_done(&d.prefix);
	return table_print(&d.table);
}
