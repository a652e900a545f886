#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "core/gc-plan.h"
#include "lib/cleanup.h"

static int
compare_use(const void *a, const void *b)
{
	const struct gc_item *x = *(struct gc_item *const *)a;
	const struct gc_item *y = *(struct gc_item *const *)b;

	if (x->used_at_ms != y->used_at_ms)
		return x->used_at_ms < y->used_at_ms ? -1 : 1;
	return x < y ? -1 : x > y;
}

/* Count who needs each layer. */
static void
count_users(struct gc_items *all)
{
	size_t i, k;

	for (i = 0; i < all->n_layers; i++)
		all->layers[i].n_users = all->layers[i].is_held;
	for (i = 0; i < all->n; i++)
		for (k = 0; k < all->list[i].n; k++)
			all->layers[all->links[all->list[i].first + k]]
			    .n_users++;
}

/* Take the item away; what that frees. */
static uint64_t
take(struct gc_items *all, struct gc_item *item)
{
	uint64_t bytes = 0;
	size_t k;

	for (k = 0; k < item->n; k++) {
		struct gc_layer *l =
		    &all->layers[all->links[item->first + k]];

		if (--l->n_users == 0)
			bytes += l->bytes;
	}
	return bytes;
}

/* Put it back; what that costs. */
static uint64_t
give_back(struct gc_items *all, struct gc_item *item)
{
	uint64_t bytes = 0;
	size_t k;

	for (k = 0; k < item->n; k++) {
		struct gc_layer *l =
		    &all->layers[all->links[item->first + k]];

		if (l->n_users++ == 0)
			bytes += l->bytes;
	}
	return bytes;
}

static uint64_t
choose(struct gc_items *all, struct gc_item *item)
{
	item->is_chosen = true;
	return take(all, item);
}

static bool
is_kept(const struct gc_item *item, const struct gc_policy *policy,
    size_t n_newer)
{
	if (item->is_due && !item->is_pinned)
		return false;
	if (item->is_pinned || item->used_at_ms >= policy->keep_since_ms)
		return true;
	/* Without a goal an age alone is a reason to drop a download. */
	if (item->is_partial)
		return !policy->has_goal &&
		    policy->keep_since_ms == INT64_MAX;
	return n_newer < policy->keep_last;
}

int
gc_plan(struct gc_items *all, const struct gc_policy *policy,
    uint64_t *ret_bytes, struct imgd_error **err)
{
	cleanup_free struct gc_item **order = NULL;
	size_t i, n_newer = 0, n = 0;
	uint64_t bytes = 0;

	order = calloc(all->n + 1, sizeof(*order));
	if (order == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	count_users(all);
	for (i = 0; i < all->n; i++) {
		all->list[i].is_chosen = false;
		order[i] = &all->list[i];
		n_newer += !all->list[i].is_partial;
	}
	qsort(order, all->n, sizeof(struct gc_item *), compare_use);
	for (i = 0; i < all->n; i++) {
		n_newer -= !order[i]->is_partial;
		if (!is_kept(order[i], policy, n_newer))
			order[n++] = order[i];
	}
	for (i = 0; i < n; i++)
		if (order[i]->is_due)
			bytes += choose(all, order[i]);
	for (i = 0; i < n; i++) {
		if (policy->has_goal && bytes >= policy->goal_bytes)
			break;
		if (!order[i]->is_chosen)
			bytes += choose(all, order[i]);
	}
	/* Those that are not needed for it come back, the newest first: one
	 * whose layers others have, too, would go for nothing. */
	while (policy->has_goal && i-- > 0) {
		uint64_t cost;

		if (order[i]->is_due)
			continue;
		cost = give_back(all, order[i]);
		order[i]->is_chosen = cost > 0 &&
		    bytes - cost < policy->goal_bytes;
		if (order[i]->is_chosen)
			(void)take(all, order[i]);
		else
			bytes -= cost;
	}
	*ret_bytes = bytes;
	return 0;
}

uint64_t
gc_freed(struct gc_items *all)
{
	uint64_t bytes = 0;
	size_t i;

	count_users(all);
	for (i = 0; i < all->n; i++)
		if (all->list[i].is_chosen)
			bytes += take(all, &all->list[i]);
	return bytes;
}

uint64_t
gc_freeable(struct gc_items *all)
{
	uint64_t bytes = 0;
	size_t i;

	count_users(all);
	for (i = 0; i < all->n; i++)
		if (!all->list[i].is_pinned)
			bytes += take(all, &all->list[i]);
	return bytes;
}
