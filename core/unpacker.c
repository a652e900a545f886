/*
 * The unpacker and its reverse, the packer: worker processes that the spawner
 * forks, one per layer.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/confine.h"
#include "core/protocol.h"
#include "core/role.h"
#include "lib/cleanup.h"
#include "lib/digest.h"
#include "lib/log.h"
#include "lib/message.h"
#include "lib/tar.h"

struct worker {
	int sock;
	int in_fd, out_fd;
	int parent_fd;
};

static int64_t
read_tar(void *ctx, void *buf, uint64_t len, struct imgd_error **err)
{
	struct worker *w = ctx;

	for (;;) {
		ssize_t n = read(w->in_fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return imgd_error_set(err, errno, "read tar: %s",
			    strerror(errno));
		return n;
	}
}

static int
write_tar(void *ctx, const void *buf, uint64_t len, struct imgd_error **err)
{
	const char *p = buf;
	struct worker *w = ctx;

	while (len > 0) {
		ssize_t n = write(w->out_fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return imgd_error_set(err, errno, "write tar: %s",
			    strerror(errno));
		p += n;
		len -= (uint64_t)n;
	}
	return 0;
}

/* Receive the engine's answer to a question; it may be a failure. */
static int
answer(struct worker *w, uint32_t type, struct message *m,
    struct imgd_error **err)
{
	int r = message_recv(w->sock, PROTOCOL_MAX_BYTES, m, err);

	if (r < 0)
		return r;
	if (r == 0)
		return imgd_error_set(err, ECANCELED, "the engine gave up");
	if (m->type == WORKER_FAILED)
		return message_get_error(m, err);
	if (m->type != type)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unexpected message %u", (unsigned int)m->type);
	return 0;
}

static int
need_parent(void *ctx, bool for_root, int *ret_tree_fd,
    struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	struct worker *w = ctx;
	int r;

	message_init(&m, UNPACK_NEED_PARENT);
	message_put_u32(&m, for_root);
	r = message_send(w->sock, &m, err);
	if (r >= 0)
		r = answer(w, UNPACK_PARENT, &m, err);
	if (r < 0)
		return r;
	w->parent_fd = message_get_fd(&m);
	r = message_end(&m, err);
	if (r >= 0)
		*ret_tree_fd = w->parent_fd;
	return r;
}

static int
set_trusted(void *ctx, int fd, const char *name, const void *value, size_t len,
    struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	struct worker *w = ctx;
	int r;

	message_init(&m, UNPACK_SET_TRUSTED);
	message_put_str(&m, name);
	message_put_bytes(&m, value, len);
	message_put_fd(&m, fd);
	r = message_send(w->sock, &m, err);
	if (r >= 0)
		r = answer(w, UNPACK_TRUSTED_SET, &m, err);
	return r < 0 ? r : message_end(&m, err);
}

static int
match_trusted(void *ctx, int fd, int from_fd, struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	struct worker *w = ctx;
	int r;

	message_init(&m, UNPACK_MATCH_TRUSTED);
	message_put_u32(&m, from_fd >= 0);
	message_put_fd(&m, fd);
	if (from_fd >= 0)
		message_put_fd(&m, from_fd);
	r = message_send(w->sock, &m, err);
	if (r >= 0)
		r = answer(w, UNPACK_TRUSTED_SET, &m, err);
	return r < 0 ? r : message_end(&m, err);
}

static int
unpack(struct worker *w, struct message *start, struct imgd_error **err)
{
	struct imgd_source source = { sizeof(source), w, read_tar };
	struct tar_unpack params = {
		.whiteouts = message_get_u32(start),
		.is_base = message_get_u32(start) != 0,
		.source = &source,
		.need_parent = need_parent,
		.set_trusted = set_trusted,
		.match_trusted = match_trusted,
		.ctx = w,
	};
	struct tar_result result;
	struct message m;
	int r;

	params.root_fd = message_get_fd(start);
	w->in_fd = message_get_fd(start);
	params.recipe_fd = message_get_fd(start);
	params.spool_fd = message_get_fd(start);
	r = message_end(start, err);
	if (r >= 0)
		r = confine_enter(CONFINE_UNPACKER, params.root_fd, err);
	if (r >= 0)
		r = tar_unpack(&params, &result, err);
	if (r < 0)
		return r;
	message_init(&m, UNPACK_DONE);
	message_put_str(&m, result.diff_id);
	message_put_u64(&m, result.tar_bytes);
	message_put_u64(&m, result.content_bytes);
	message_put_u64(&m, result.n_entries);
	return message_send(w->sock, &m, err);
}

static int
pack(struct worker *w, struct message *start, struct imgd_error **err)
{
	struct imgd_sink sink = { sizeof(sink), w, write_tar };
	int tree_fd = message_get_fd(start);
	int recipe_fd = message_get_fd(start);
	char diff_id[DIGEST_STR_SIZE];
	struct message m;
	int r;

	w->out_fd = message_get_fd(start);
	r = message_end(start, err);
	if (r >= 0)
		r = confine_enter(CONFINE_PACKER, tree_fd, err);
	if (r >= 0)
		r = tar_pack(tree_fd, recipe_fd, &sink, diff_id, err);
	if (r < 0)
		return r;
	message_init(&m, PACK_DONE);
	message_put_str(&m, diff_id);
	return message_send(w->sock, &m, err);
}

static int
pack_tree(struct worker *w, struct message *start, struct imgd_error **err)
{
	struct imgd_sink sink = { sizeof(sink), w, write_tar };
	int tree_fd = message_get_fd(start);
	struct message m;
	int r;

	w->out_fd = message_get_fd(start);
	r = message_end(start, err);
	if (r >= 0)
		r = confine_enter(CONFINE_EXPORTER, tree_fd, err);
	if (r >= 0)
		r = tar_export(tree_fd, &sink, err);
	if (r < 0)
		return r;
	message_init(&m, PACK_DONE);
	message_put_str(&m, "");
	return message_send(w->sock, &m, err);
}

static int
pack_changes(struct worker *w, struct message *start, struct imgd_error **err)
{
	struct imgd_sink sink = { sizeof(sink), w, write_tar };
	int tree_fd = message_get_fd(start);
	int list_fd = message_get_fd(start);
	uint64_t bytes = 0;
	struct message m;
	int r;

	w->out_fd = message_get_fd(start);
	r = message_end(start, err);
	if (r >= 0)
		r = confine_enter(CONFINE_EXPORTER, tree_fd, err);
	if (r >= 0)
		r = tar_changes(tree_fd, list_fd, &sink, &bytes, err);
	if (r < 0)
		return r;
	message_init(&m, PACK_CHANGES_DONE);
	message_put_u64(&m, bytes);
	return message_send(w->sock, &m, err);
}

static int
work(struct worker *w, unsigned int what, struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	int r;

	message_init(&m, WORKER_READY);
	r = message_send(w->sock, &m, err);
	if (r >= 0)
		r = message_recv(w->sock, PROTOCOL_MAX_BYTES, &m, err);
	if (r <= 0)
		return r;
	if (what == SPAWN_UNPACKER && m.type == UNPACK_START)
		return unpack(w, &m, err);
	if (what == SPAWN_PACKER && m.type == PACK_START)
		return pack(w, &m, err);
	if (what == SPAWN_PACKER && m.type == PACK_TREE)
		return pack_tree(w, &m, err);
	if (what == SPAWN_PACKER && m.type == PACK_CHANGES)
		return pack_changes(w, &m, err);
	return imgd_error_set(err, IMGD_E_PROTOCOL, "unexpected message %u",
	    (unsigned int)m.type);
}

int
imgd_worker_prepare(int sock, unsigned int what)
{
	static const enum confine_role roles[] = { CONFINE_UNPACKER,
		CONFINE_PACKER, CONFINE_EXPORTER, CONFINE_N };

	char digest[DIGEST_STR_SIZE];

	(void)sock;
	(void)what;
	/* What a library does once is done here, not in each child. */
	(void)digest_of("", 0, digest, NULL);
	confine_prepare(roles);
	return 0;
}

int
imgd_worker_main(int sock, unsigned int what)
{
	cleanup_error struct imgd_error *err = NULL;
	struct worker w = { .sock = sock, .in_fd = -EBADF, .out_fd = -EBADF,
		.parent_fd = -EBADF };
	struct message m;

	if (work(&w, what, &err) >= 0)
		return 0;
	message_init(&m, WORKER_FAILED);
	message_put_error(&m, err);
	if (message_send(sock, &m, NULL) < 0)
		log_debug("worker", "%s", imgd_error_msg(err));
	return 1;
}
