#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/engine.h"
#include "core/hear.h"
#include "core/image-file.h"
#include "core/mount.h"
#include "core/protocol.h"
#include "core/role.h"
#include "lib/cleanup.h"
#include "lib/digest.h"
#include "lib/message.h"

#define ID_BYTES 32

static int
send_order(int sock, int tree_fd, const struct image_file *f,
    struct imgd_error **err)
{
	unsigned char id[ID_BYTES];
	struct message m;
	size_t i;

	for (i = 0; i < ID_BYTES; i++)
		if (sscanf(f->id + 2 * i, "%2hhx", &id[i]) != 1)
			return imgd_error_set(err, EINVAL, "%s: no id", f->id);
	message_init(&m, MAKER_START);
	message_put_str(&m, f->format);
	message_put_bytes(&m, id, sizeof(id));
	message_put_u64(&m, (uint64_t)f->time);
	message_put_u64(&m, f->size_bytes);
	message_put_u32(&m, f->has_verity);
	message_put_fd(&m, tree_fd);
	message_put_fd(&m, f->out_fd);
	return message_send(sock, &m, err);
}

static int
take_answer(struct job *job, int sock, struct image_file *f,
    struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	const char *uuid, *root_hash;
	int r;

	message_init(&m, 0);
	r = hear_for_job(job, sock, "maker", PROTOCOL_MAX_BYTES, &m, err);
	if (r < 0)
		return r;
	if (m.type != MAKER_DONE)
		return hear_unexpected("maker", &m, err);
	f->file_bytes = message_get_u64(&m);
	uuid = message_get_str(&m);
	root_hash = message_get_str(&m);
	f->hash_offset = message_get_u64(&m);
	if (strlen(uuid) != sizeof(f->uuid) - 1 ||
	    (f->has_verity ? !digest_is_hex(root_hash) : *root_hash != '\0'))
		m.is_bad = true;
	(void)snprintf(f->uuid, sizeof(f->uuid), "%s", uuid);
	(void)snprintf(f->root_hash, sizeof(f->root_hash), "%s", root_hash);
	return message_end(&m, err);
}

static int
run_maker(struct job *job, int tree_fd, struct image_file *f,
    struct imgd_error **err)
{
	cleanup_close int sock = -EBADF;
	int pair[2], pidfd = -EBADF;
	int r = message_pair(pair, PROTOCOL_TIMEOUT_S, err);

	if (r < 0)
		return r;
	sock = pair[0];
	r = engine_exec(job->engine, ROLE_MAKER, pair[1], &pidfd, err);
	close_fd(&pair[1]);
	if (r >= 0)
		r = send_order(sock, tree_fd, f, err);
	if (r >= 0)
		r = take_answer(job, sock, f, err);
	/* Its mount of the tree must be gone before the put. */
	worker_end(&pidfd);
	return r;
}

int
image_file_make(struct job *job, struct driver *d, const char *key,
    struct image_file *f, struct imgd_error **err)
{
	cleanup_close int tree_fd = -EBADF;
	cleanup_free char *path = NULL;
	int r = driver_get(d, key, IMGD_GET_TREE, &path, err);

	if (r < 0)
		return r;
	r = tree_clone_mount(path, &tree_fd, err);
	if (r >= 0)
		r = run_maker(job, tree_fd, f, err);
	close_fd(&tree_fd);
	if (r < 0) {
		(void)driver_put(d, key, IMGD_GET_TREE, NULL);
		return r;
	}
	return driver_put(d, key, IMGD_GET_TREE, err);
}
