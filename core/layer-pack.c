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
	while ((r = poll(&p, 1, -1)) < 0 && errno == EINTR)
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

/* recipe_fd: -EBADF for the tree as it is, which has no diff_id. */
static int
run_packer(int sock, int tree_fd, int recipe_fd, int out_fd,
    char ret_diff_id[DIGEST_STR_SIZE], struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	const char *diff_id;
	int r;

	message_init(&m, 0);
	r = hear(sock, WORKER_READY, &m, err);
	if (r >= 0)
		r = message_end(&m, err);
	message_done(&m);
	if (r < 0)
		return r;
	message_init(&m, recipe_fd >= 0 ? PACK_START : PACK_TREE);
	message_put_fd(&m, tree_fd);
	if (recipe_fd >= 0)
		message_put_fd(&m, recipe_fd);
	message_put_fd(&m, out_fd);
	r = message_send(sock, &m, err);
	if (r >= 0)
		r = hear(sock, PACK_DONE, &m, err);
	if (r < 0)
		return r;
	diff_id = message_get_str(&m);
	r = message_end(&m, err);
	if (r < 0)
		return r;
	if (recipe_fd < 0 ? *diff_id != '\0' : !digest_is_valid(diff_id))
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "packer: malformed digest");
	(void)snprintf(ret_diff_id, DIGEST_STR_SIZE, "%s", diff_id);
	return 0;
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
pack(struct engine *e, struct driver *d, const char *key, bool is_tree,
    int out_fd, char ret_diff_id[DIGEST_STR_SIZE], struct imgd_error **err)
{
	cleanup_close int recipe_fd = -EBADF, tree_fd = -EBADF;
	cleanup_close int null_fd = -EBADF, sock = -EBADF;
	cleanup_error struct imgd_error *why = NULL;
	cleanup_free char *path = NULL;
	int pidfd = -EBADF, r = 0;

	if (out_fd < 0) {
		null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (null_fd < 0)
			return imgd_error_set(err, errno, "/dev/null: %s",
			    strerror(errno));
		out_fd = null_fd;
	}
	if (!is_tree)
		r = store_open_recipe(e->store, key, O_RDONLY, &recipe_fd,
		    &why);
	if (r < 0)
		return damaged(e, key, r, why, err);
	r = driver_get(d, key, IMGD_GET_TREE, &path, &why);
	if (r < 0) {
		layer_note_unreadable(e, d, key, r, imgd_error_msg(why));
		return imgd_error_set(err, -r, "%s", imgd_error_msg(why));
	}
	r = tree_clone(path, &tree_fd, &why);
	if (r >= 0)
		r = engine_spawn(e, SPAWN_PACKER, &sock, &pidfd, &why);
	if (r >= 0)
		r = run_packer(sock, tree_fd, recipe_fd, out_fd, ret_diff_id,
		    &why);
	close_fd(&sock);
	/* Its clone of the mount must be gone before the put. */
	worker_end(&pidfd);
	close_fd(&tree_fd);
	if (r < 0) {
		(void)driver_put(d, key, IMGD_GET_TREE, NULL);
		return is_tree
		    ? imgd_error_set(err, -r, "%s", imgd_error_msg(why))
		    : damaged(e, key, r, why, err);
	}
	return driver_put(d, key, IMGD_GET_TREE, err);
}

int
layer_pack(struct engine *e, struct driver *d, const char *key, int out_fd,
    char ret_diff_id[DIGEST_STR_SIZE], struct imgd_error **err)
{
	return pack(e, d, key, /* is_tree= */ false, out_fd, ret_diff_id,
	    err);
}

/* ---- beside the caller ---- */

static void *
pack_thread(void *arg)
{
	struct packing *k = arg;

	k->result = pack(k->engine, k->driver, k->key, k->is_tree,
	    k->out_fd, k->diff_id, &k->error);
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
