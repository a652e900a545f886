/*
 * Deleting layers in the background: giving back the blocks of a large one
 * takes long.  The journal knows what is dying; a crash loses nothing.
 */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "drivers/devmapper/devmapper.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"

#define DISCARD_BYTES   (1ull << 30) /* at a time, so that others get a turn */
#define RETRY_SECONDS   30           /* for devices that somebody has open */

static bool
wants_discard(const struct devmapper *d)
{
	if (d->options.discard >= 0)
		return d->options.discard > 0;
	return d->data.is_file;
}

/* Without it the pool's file never shrinks: deleting a thin device frees its
 * blocks in the pool only. */
static int
discard(struct devmapper *d, const struct row *row, struct imgd_error **err)
{
	cleanup_error struct imgd_error *e = NULL;
	char path[DEVICE_PATH_SIZE];
	uint64_t pos, len;
	int r;

	r = thin_activate(d, row, /* is_readonly= */ false, &e);
	if (r == -ENODATA) /* a deletion that was cut got this far */
		return 0;
	if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(e));
	thin_path(d, row->id, path);
	for (pos = 0; pos < row->bytes && r == 0; pos += len) {
		len = row->bytes - pos < DISCARD_BYTES ? row->bytes - pos
		    : DISCARD_BYTES;
		if (atomic_load(&d->is_stopping))
			break;
		/* What cannot be discarded can still be deleted. */
		r = d->host->device_discard(path, pos, len, NULL);
	}
	return thin_deactivate(d, row->id, err);
}

static int
delete_device(struct devmapper *d, const struct row *row,
    struct imgd_error **err)
{
	struct change c = { .kind = CHANGE_DELETE, .row = *row };
	cleanup_lock m = devmapper_lock(d);

	return pool_change(d, &c, NULL, err);
}

static int
have_pool(struct devmapper *d, struct imgd_error **err)
{
	cleanup_lock m = devmapper_lock(d);

	return pool_up(d, err);
}

static int
reap(struct devmapper *d, const struct row *row, struct imgd_error **err)
{
	int r = have_pool(d, err);

	/* Never discard what somebody still has mounted. */
	if (r == 0)
		r = thin_is_active(d, row->device, err);
	if (r > 0)
		return imgd_error_set(err, EBUSY, "it is in use");
	if (r == 0 && wants_discard(d))
		r = discard(d, row, err);
	FAIL_POINT("devmapper-discarded");
	if (r < 0 || atomic_load(&d->is_stopping))
		return r;
	return delete_device(d, row, err);
}

static int
all_rows(struct devmapper *d, struct row **ret, size_t *ret_n,
    struct imgd_error **err)
{
	cleanup_lock m = devmapper_lock(d);

	return journal_rows(d->journal, ret, ret_n, err);
}

/* Delete what is dying.  Returns whether something is left for later. */
static bool
pass(struct devmapper *d)
{
	cleanup_error struct imgd_error *e = NULL;
	cleanup_free struct row *rows = NULL;
	bool is_left = false;
	size_t i, n = 0;
	int r;

	r = all_rows(d, &rows, &n, &e);
	for (i = 0; r >= 0 && i < n; i++) {
		if (rows[i].state != ROW_DYING)
			continue;
		if (atomic_load(&d->is_stopping))
			break;
		r = reap(d, &rows[i], &e);
		if (r == -EBUSY) {
			is_left = true;
			imgd_error_free(take_ptr(&e));
			r = 0;
		}
	}
	if (r < 0)
		d->env->log(IMGD_LOG_WARN, "devmapper: delete what was "
		    "removed: %s, left to the next start", imgd_error_msg(e));
	return is_left;
}

static void *
reaper_thread(void *arg)
{
	struct devmapper *d = arg;
	bool is_left = false;

	(void)pthread_mutex_lock(&d->reaper_lock);
	while (!atomic_load(&d->is_stopping)) {
		if (d->is_kicked) {
			d->is_kicked = false;
			(void)pthread_mutex_unlock(&d->reaper_lock);
			is_left = pass(d);
			(void)pthread_mutex_lock(&d->reaper_lock);
			continue;
		}
		d->is_idle = true;
		(void)pthread_cond_broadcast(&d->reaper_changed);
		if (is_left) {
			struct timespec until;

			(void)clock_gettime(CLOCK_REALTIME, &until);
			until.tv_sec += RETRY_SECONDS;
			if (pthread_cond_timedwait(&d->reaper_changed,
				&d->reaper_lock, &until) == ETIMEDOUT)
				d->is_kicked = true;
		} else {
			(void)pthread_cond_wait(&d->reaper_changed,
			    &d->reaper_lock);
		}
		if (d->is_kicked)
			d->is_idle = false;
	}
	d->is_idle = true;
	(void)pthread_cond_broadcast(&d->reaper_changed);
	(void)pthread_mutex_unlock(&d->reaper_lock);
	return NULL;
}

int
reaper_kick(struct devmapper *d, struct imgd_error **err)
{
	sigset_t all, old;
	int e = 0;

	(void)pthread_mutex_lock(&d->reaper_lock);
	d->is_kicked = true;
	d->is_idle = false;
	if (!d->has_reaper) {
		/* Signals are the program's. */
		(void)sigfillset(&all);
		(void)pthread_sigmask(SIG_SETMASK, &all, &old);
		e = pthread_create(&d->reaper, NULL, reaper_thread, d);
		(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
		d->has_reaper = e == 0;
	}
	(void)pthread_cond_broadcast(&d->reaper_changed);
	(void)pthread_mutex_unlock(&d->reaper_lock);
	return e == 0 ? 0 : imgd_error_set(err, e, "start thread: %s",
	    strerror(e));
}

void
reaper_wait(struct devmapper *d)
{
	(void)pthread_mutex_lock(&d->reaper_lock);
	while (d->has_reaper && !d->is_idle)
		(void)pthread_cond_wait(&d->reaper_changed, &d->reaper_lock);
	(void)pthread_mutex_unlock(&d->reaper_lock);
}

void
reaper_stop(struct devmapper *d)
{
	if (!d->has_reaper)
		return;
	atomic_store(&d->is_stopping, true);
	(void)pthread_mutex_lock(&d->reaper_lock);
	(void)pthread_cond_broadcast(&d->reaper_changed);
	(void)pthread_mutex_unlock(&d->reaper_lock);
	(void)pthread_join(d->reaper, NULL);
	d->has_reaper = false;
}
