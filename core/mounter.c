/*
 * The mounter: the worker with the privileges that it takes to read layers
 * which another engine keeps on devices.  It parses what says where a layer is
 * and hands out trees; what is in them is for the adopter.
 *
 * It serves the adopter until that one is gone, then takes everything down.
 */
#include "config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "adopt/docker-pool.h"
#include "core/confine.h"
#include "core/protocol.h"
#include "core/role.h"
#include "lib/cleanup.h"
#include "lib/digest.h"
#include "lib/log.h"
#include "lib/message.h"

struct mounter {
	int sock;
	int dir_fd;
	char *prefix;
	struct docker_pool *pool; /* NULL: not yet needed */
};

static int
open_layer(struct mounter *mt, struct message *order, bool *ret_is_unclean,
    struct imgd_error **err)
{
	const char *dir = message_get_str(order);
	int r = message_end(order, err);

	if (r < 0)
		return r;
	if (!digest_is_hex(dir))
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "no name of a layer: \"%s\"", dir);
	if (mt->pool == NULL)
		r = docker_pool_open(mt->dir_fd, mt->prefix, &mt->pool, err);
	if (r < 0)
		return r;
	return docker_pool_layer(mt->pool, dir, ret_is_unclean, err);
}

static int
answer(struct mounter *mt, struct message *order, struct imgd_error **err)
{
	cleanup_error struct imgd_error *why = NULL;
	cleanup_close int tree_fd = -EBADF;
	bool is_unclean = false;
	struct message m;

	tree_fd = open_layer(mt, order, &is_unclean, &why);
	if (tree_fd < 0) {
		message_init(&m, MOUNTER_FAILED);
		message_put_error(&m, why);
	} else {
		message_init(&m, MOUNTER_TREE);
		message_put_u32(&m, is_unclean);
		message_put_fd(&m, tree_fd);
	}
	return message_send(mt->sock, &m, err);
}

static int
take_start(struct mounter *mt, struct message *m, struct imgd_error **err)
{
	mt->prefix = strdup(message_get_str(m));
	mt->dir_fd = message_get_fd(m);
	if (mt->prefix == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return message_end(m, err);
}

static int
serve(struct mounter *mt, struct imgd_error **err)
{
	for (;;) {
		cleanup(message_done) struct message m;
		bool is_first = mt->prefix == NULL;
		int r;

		message_init(&m, 0);
		r = message_recv(mt->sock, PROTOCOL_MAX_BYTES, &m, err);
		if (r <= 0)
			return r;
		if (m.type != (is_first ? MOUNTER_START : MOUNTER_OPEN))
			return imgd_error_set(err, IMGD_E_PROTOCOL,
			    "unexpected message %u", (unsigned int)m.type);
		r = is_first ? take_start(mt, &m, err) : answer(mt, &m, err);
		if (r < 0)
			return r;
	}
}

int
imgd_worker_main(int sock, unsigned int what)
{
	cleanup_error struct imgd_error *err = NULL;
	struct mounter mt = { .sock = sock, .dir_fd = -EBADF };
	int r;

	(void)what;
	/* It needs the machine: its devices, its mounts, udev's semaphores. */
	r = confine_watch(&err);
	if (r >= 0)
		r = serve(&mt, &err);
	/* An adopter that was killed is no failure of this one. */
	if (r < 0 && r != -EPIPE && r != -ECONNRESET)
		log_debug("worker", "mounter: %s", imgd_error_msg(err));
	docker_pool_close(mt.pool);
	close_fd(&mt.dir_fd);
	free(mt.prefix);
	return 0;
}
