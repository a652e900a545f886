/*
 * The maker: the worker that makes a filesystem image of a tree, for machines
 * that want a disk.  Programs do that which are made for it; what they are fed
 * is hostile, so they have a root of their own, no network and hardly a right.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/confine.h"
#include "core/maker.h"
#include "core/protocol.h"
#include "core/role.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/message.h"
#include "lib/verity.h"

static const struct format {
	const char *name;
	maker_step *make;
	maker_step *correct; /* what was made; NULL: it is right */
} formats[] = {
	{ "ext4", maker_ext4, maker_ext4_correct },
	{ "squashfs", maker_squashfs, NULL },
	{ "erofs", maker_erofs, NULL },
	{ NULL, NULL, NULL },
};

struct order {
	struct maker maker;
	const struct format *format;
	bool has_verity;
	struct verity verity;
};

static int
take_order(struct order *o, struct message *m, struct imgd_error **err)
{
	struct maker *mk = &o->maker;
	const char *name = message_get_str(m);
	const void *id;
	size_t len;

	for (o->format = formats; o->format->name != NULL; o->format++)
		if (strcmp(o->format->name, name) == 0)
			break;
	id = message_get_bytes(m, &len);
	mk->time = (int64_t)message_get_u64(m);
	/* To some programs 0 means now. */
	if (mk->time < 1)
		mk->time = 1;
	mk->size_bytes = message_get_u64(m);
	o->has_verity = message_get_u32(m) != 0;
	mk->tree_fd = message_get_fd(m);
	mk->out_fd = message_get_fd(m);
	if (o->format->name == NULL || len != VERITY_SALT_BYTES) {
		m->is_bad = true;
		return message_end(m, err);
	}
	memcpy(o->verity.salt, id, VERITY_SALT_BYTES);
	memcpy(o->verity.uuid, id, sizeof(o->verity.uuid));
	/* RFC 9562, version 8: ours alone to say what it means. */
	o->verity.uuid[6] = (o->verity.uuid[6] & 0x0f) | 0x80;
	o->verity.uuid[8] = (o->verity.uuid[8] & 0x3f) | 0x80;
	return message_end(m, err);
}

static void
write_uuid(const unsigned char raw[16], char text[37])
{
	size_t i, n = 0;

	for (i = 0; i < 16; i++)
		n += (size_t)snprintf(text + n, 37 - n, "%s%02x",
		    i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", raw[i]);
}

static int
tell(int sock, struct order *o, struct imgd_error **err)
{
	struct message m;
	struct stat st;

	if (fstat(o->maker.out_fd, &st) < 0)
		return imgd_error_set(err, errno, "output: %s",
		    strerror(errno));
	message_init(&m, MAKER_DONE);
	message_put_u64(&m, (uint64_t)st.st_size);
	message_put_str(&m, o->maker.uuid);
	message_put_str(&m, o->verity.root_hash);
	message_put_u64(&m, o->verity.hash_offset);
	return message_send(sock, &m, err);
}

static int
serve(int sock, struct order *o, struct imgd_error **err)
{
	cleanup(message_done) struct message m;
	int r;

	message_init(&m, 0);
	r = message_recv(sock, PROTOCOL_MAX_BYTES, &m, err);
	if (r <= 0)
		return r;
	if (m.type != MAKER_START)
		return imgd_error_set(err, IMGD_E_PROTOCOL,
		    "unexpected message %u", (unsigned int)m.type);
	r = take_order(o, &m, err);
	if (r < 0)
		return r;
	write_uuid(o->verity.uuid, o->maker.uuid);
	r = maker_root_enter(&o->maker, err);
	if (r >= 0)
		r = o->format->make(&o->maker, err);
	if (r >= 0)
		r = maker_drop_rights(err);
	if (r >= 0 && o->format->correct != NULL)
		r = o->format->correct(&o->maker, err);
	if (r >= 0 && o->has_verity)
		r = verity_append(o->maker.out_fd, &o->verity, err);
	return r < 0 ? r : tell(sock, o, err);
}

int
imgd_worker_main(int sock, unsigned int what)
{
	cleanup_error struct imgd_error *err = NULL;
	struct order o = { .maker = { .tree_fd = -EBADF, .out_fd = -EBADF,
			       .null_fd = -EBADF } };
	struct message m;

	(void)what;
	if (confine_enter(CONFINE_MAKER, -1, &err) >= 0 &&
	    serve(sock, &o, &err) >= 0)
		return 0;
	message_init(&m, WORKER_FAILED);
	message_put_error(&m, err);
	if (message_send(sock, &m, NULL) < 0)
		log_debug("worker", "%s", imgd_error_msg(err));
	return 1;
}
