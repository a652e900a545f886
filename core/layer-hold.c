#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/layer-hold.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"

int
layer_hold(struct engine *e, struct driver *driver, const struct image *img,
    const char *what, struct layer_hold *ret, struct imgd_error **err)
{
	cleanup_free struct layer_intent *intents = NULL;
	struct tagstore *tags = e->store->tags;
	size_t i;
	int r = 0;

	ret->layers = calloc(img->n_layers + 1, sizeof(*ret->layers));
	intents = calloc(img->n_layers + 1, sizeof(*intents));
	if (ret->layers == NULL || intents == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < img->n_layers; i++) {
		cleanup(layer_row_done) struct layer_row row = { 0 };
		struct held_layer *l = &ret->layers[i];

		r = tagstore_layer(tags, driver_name(driver),
		    img->layers[i].chain_id, &row, err);
		if (r < 0)
			return r;
		(void)snprintf(l->key, sizeof(l->key), "%s", row.key);
		l->tar_bytes = row.tar_bytes;
		intents[i] = (struct layer_intent) {
			.key = l->key,
			.chain_id = img->layers[i].chain_id,
			.diff_id = img->layers[i].diff_id,
		};
	}
	r = str_random_key(ret->id, err);
	if (r >= 0)
		r = tagstore_pull_begin(tags, ret->id, what,
		    driver_name(driver), intents, img->n_layers, err);
	if (r >= 0)
		ret->engine = e;
	if (r >= 0)
		store_note_use(e->store, img->id);
	return r;
}

void
layer_hold_done(struct layer_hold *h)
{
	struct engine *e = h->engine;

	if (e != NULL) {
		pthread_mutex_lock(&e->plan_mutex);
		(void)tagstore_pull_abandon(e->store->tags, h->id, NULL);
		pthread_mutex_unlock(&e->plan_mutex);
		(void)engine_reap(e, NULL);
	}
	free(h->layers);
	*h = (struct layer_hold) { .engine = NULL };
}
