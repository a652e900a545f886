#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/layer-damage.h"
#include "core/layer-pack.h"
#include "core/mount.h"
#include "core/protocol.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/message.h"

/* Receive the packer's next message; its failure becomes ours. */
static int
hear(int sock, uint32_t type, struct message *m, struct imgd_error **err)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	int r;

	/* The time-out of the socket is for within a message. */
	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	r = message_recv(sock, PROTOCOL_MAX_BYTES, m, err);
	if (r < 0)
		return r;
	if (r == 0)
		return imgd_error_set(err, EPIPE, "the packer died");
	if (m->type == WORKER_FAILED)
		return message_get_error(m, err);
	if (m->type != type)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "packer: unexpected message %u", (unsigned int)m->type);
	return 0;
}

/* What a packer is to do, and what came of it. */
struct order {
	uint32_t type; /* PACK_START, PACK_TREE, PACK_CHANGES */
	int in_fd;     /* recipe or list; borrowed; not for PACK_TREE */
	int out_fd;    /* borrowed */
	char diff_id[DIGEST_STR_SIZE]; /* of PACK_START; else "" */
	uint64_t tar_bytes;            /* of PACK_CHANGES */
};

static int
take_result(struct order *o, struct message *m, struct imgd_error **err)
{
	const char *diff_id = "";
	int r;

	if (o->type == PACK_CHANGES)
		o->tar_bytes = message_get_u64(m);
	else
		diff_id = message_get_str(m);
	r = message_end(m, err);
	if (r < 0)
		return r;
	if (o->type == PACK_START ? !digest_is_valid(diff_id)
				  : *diff_id != '\0')
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "packer: malformed digest");
	(void)snprintf(o->diff_id, sizeof(o->diff_id), "%s", diff_id);
	return 0;
}

static int
run_packer(int sock, int tree_fd, struct order *o, struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	int r;

	message_init(&m, 0);
	r = hear(sock, WORKER_READY, &m, err);
	if (r >= 0)
		r = message_end(&m, err);
	message_done(&m);
	if (r < 0)
		return r;
	message_init(&m, o->type);
	message_put_fd(&m, tree_fd);
	if (o->in_fd >= 0)
		message_put_fd(&m, o->in_fd);
	message_put_fd(&m, o->out_fd);
	r = message_send(sock, &m, err);
	if (r >= 0)
		r = hear(sock,
		    o->type == PACK_CHANGES ? PACK_CHANGES_DONE : PACK_DONE,
		    &m, err);
	return r < 0 ? r : take_result(o, &m, err);
}

/* What was read of the layer is not what it should be, perhaps. */
static int
damaged(struct engine *e, const char *key, int r, const struct imgd_error *why,
    struct imgd_error **err)
{
	if (layer_code_is_damage(r))
		layer_note_damage(e, key, imgd_error_msg(why));
	return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
}

static int
pack(struct engine *e, struct driver *d, const char *key, struct order *o,
    struct imgd_error **err)
{
	cleanup_close int tree_fd = -EBADF, sock = -EBADF;
	cleanup_error struct imgd_error *why = NULL;
	cleanup_free char *path = NULL;
	int pidfd = -EBADF, r;

	r = driver_get(d, key, IMGD_GET_TREE, &path, &why);
	if (r < 0) {
		layer_note_unreadable(e, d, key, r, imgd_error_msg(why));
		return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
	}
	r = tree_clone(path, &tree_fd, &why);
	if (r >= 0)
		r = engine_spawn(e, SPAWN_PACKER, &sock, &pidfd, &why);
	if (r >= 0)
		r = run_packer(sock, tree_fd, o, &why);
	close_fd(&sock);
	/* Its clone of the mount must be gone before the put. */
	worker_end(&pidfd);
	close_fd(&tree_fd);
	if (r < 0) {
		(void)driver_put(d, key, IMGD_GET_TREE, NULL);
		return o->type != PACK_START
		    ? imgd_error_set(err, -r, "%s", imgd_error_msg(why))
		    : damaged(e, key, r, why, err);
	}
	return driver_put(d, key, IMGD_GET_TREE, err);
}

int
layer_pack(struct engine *e, struct driver *d, const char *key, int out_fd,
    char ret_diff_id[DIGEST_STR_SIZE], struct imgd_error **err)
{
	cleanup_close int recipe_fd = -EBADF, null_fd = -EBADF;
	cleanup_error struct imgd_error *why = NULL;
	struct order o = { .type = PACK_START, .out_fd = out_fd };
	int r;

	if (out_fd < 0) {
		o.out_fd = null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (null_fd < 0)
			return imgd_error_set(err, errno, "/dev/null: %s",
			    strerror(errno));
	}
	r = store_open_recipe(e->store, key, O_RDONLY, &recipe_fd, &why);
	if (r < 0)
		return damaged(e, key, r, why, err);
	o.in_fd = recipe_fd;
	r = pack(e, d, key, &o, err);
	if (r >= 0)
		memcpy(ret_diff_id, o.diff_id, DIGEST_STR_SIZE);
	return r;
}

int
layer_pack_changes(struct engine *e, struct driver *d, const char *key,
    int list_fd, int out_fd, uint64_t *ret_bytes, struct imgd_error **err)
{
	struct order o = { .type = PACK_CHANGES, .in_fd = list_fd,
		.out_fd = out_fd };
	int r = pack(e, d, key, &o, err);

	if (r >= 0)
		*ret_bytes = o.tar_bytes;
	return r;
}

/* ---- beside the caller ---- */

static void *
pack_thread(void *arg)
{
	struct packing *k = arg;
	struct order o = { .type = PACK_TREE, .in_fd = -EBADF,
		.out_fd = k->out_fd };

	k->result = k->is_tree
	    ? pack(k->engine, k->driver, k->key, &o, &k->error)
	    : layer_pack(k->engine, k->driver, k->key, k->out_fd, k->diff_id,
		  &k->error);
	close_fd(&k->out_fd);
	return NULL;
}

int
packing_start(struct packing *k, struct engine *e, struct driver *d,
    const char *key, bool is_tree, int *ret_fd, struct imgd_error **err)
{
	pthread_attr_t attr;
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return imgd_error_set(err, errno, "pipe: %s", strerror(errno));
	*k = (struct packing) { .engine = e, .driver = d, .key = key,
		.is_tree = is_tree, .out_fd = fds[1] };
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, ENGINE_THREAD_STACK);
	r = pthread_create(&k->thread, &attr, pack_thread, k);
	(void)pthread_attr_destroy(&attr);
	if (r != 0) {
		close_fd(&fds[0]);
		close_fd(&k->out_fd);
		return imgd_error_set(err, r, "thread: %s", strerror(r));
	}
	k->is_running = true;
	*ret_fd = fds[0];
	return 0;
}

static void
join(struct packing *k)
{
	if (k->is_running)
		(void)pthread_join(k->thread, NULL);
	k->is_running = false;
}

int
packing_wait(struct packing *k, const char *diff_id, struct imgd_error **err)
{
	join(k);
	if (k->result < 0)
		return imgd_error_set(err, -k->result, "%s",
		    imgd_error_msg(k->error));
	if (strcmp(k->diff_id, diff_id) != 0)
		return imgd_error_set(err, IMGD_E_DIGEST,
		    "diff_id mismatch: the config says %s, the tar has %s",
		    diff_id, k->diff_id);
	return 0;
}

void
packing_done(struct packing *k)
{
	join(k);
	imgd_error_free(k->error);
	k->error = NULL;
}
