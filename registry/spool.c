#include "config.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "registry/spool.h"

#define BUFFER_BYTES (64u << 10)

/* A mark is due after so many bytes; on a link so slow that they take long,
 * after fewer. */
#define MARK_BYTES      (4u << 20)
#define MARK_SLOW_BYTES (1u << 20)
#define MARK_SLOW_MS    5000

static int64_t
now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int
io_error(const char *what, struct imgd_error **err)
{
	return imgd_error_set(err, errno, "partial blob: %s: %s", what,
	    strerror(errno));
}

/* ---- what is there ---- */

static int
read_at(int fd, void *buf, size_t len, uint64_t offset,
    struct imgd_error **err)
{
	char *p = buf;

	while (len > 0) {
		ssize_t n = pread(fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = EIO; /* somebody cut it */
		if (n <= 0)
			return io_error("read", err);
		p += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

/* The end of the last mark of the file's first size bytes that holds. */
static int
proved_bytes(const struct registry_spool *to, uint64_t size, uint64_t *ret,
    struct imgd_error **err)
{
	cleanup(digest_freep) struct digest_ctx *digest = NULL;
	cleanup_free char *buf = malloc(BUFFER_BYTES);
	char is[DIGEST_STR_SIZE];
	uint64_t at = 0;
	size_t i;
	int r;

	*ret = 0;
	if (buf == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = digest_new(&digest, err);
	for (i = 0; r >= 0 && i < to->n_marks; i++) {
		const struct spool_mark *m = &to->marks[i];

		if (m->bytes < at || m->bytes > size)
			break;
		while (r >= 0 && at < m->bytes) {
			size_t n = m->bytes - at < BUFFER_BYTES
			    ? (size_t)(m->bytes - at)
			    : BUFFER_BYTES;

			r = read_at(to->fd, buf, n, at, err);
			if (r >= 0)
				digest_update(digest, buf, n);
			at += n;
		}
		if (r >= 0)
			r = digest_str(digest, is, err);
		if (r >= 0 && strcmp(is, m->digest) == 0)
			*ret = m->bytes;
	}
	return r;
}

int
spool_open(struct spool *s, struct registry_spool *to, uint64_t max_bytes,
    struct imgd_error **err)
{
	uint64_t have;
	struct stat st;
	int r;

	*s = (struct spool) { .to = to };
	if (to == NULL)
		return 0;
	if (fstat(to->fd, &st) < 0)
		return io_error("stat", err);
	have = (uint64_t)st.st_size;
	if (!to->is_kept) {
		r = proved_bytes(to, have, &have, err);
		if (r < 0)
			return r;
	}
	if (have > max_bytes)
		have = max_bytes;
	if (ftruncate(to->fd, (off_t)have) < 0)
		return io_error("truncate", err);
	s->have_bytes = s->marked_bytes = have;
	s->marked_ms = now_ms();
	log_debug("registry", "%ju bytes of the blob are here",
	    (uintmax_t)have);
	return 0;
}

int
spool_replay(struct spool *s,
    int (*take)(void *ctx, const void *data, size_t len,
	struct imgd_error **err),
    void *ctx, struct imgd_error **err)
{
	cleanup_free char *buf = NULL;
	uint64_t at;
	int r = 0;

	if (s->have_bytes == 0)
		return 0;
	buf = malloc(BUFFER_BYTES);
	if (buf == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (at = 0; r >= 0 && at < s->have_bytes; at += BUFFER_BYTES) {
		size_t n = s->have_bytes - at < BUFFER_BYTES
		    ? (size_t)(s->have_bytes - at)
		    : BUFFER_BYTES;

		r = read_at(s->to->fd, buf, n, at, err);
		if (r >= 0)
			r = take(ctx, buf, n, err);
	}
	return r;
}

/* ---- what comes ---- */

static bool
write_at(int fd, const char *p, size_t len, uint64_t offset)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		p += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return true;
}

/* As when the disk is full: room for the layer matters more. */
static void
give_up(struct spool *s)
{
	log_warn("partial blob: %s, going on without", strerror(errno));
	s->is_broken = true;
	(void)!ftruncate(s->to->fd, 0);
}

int
spool_sync(struct spool *s, uint64_t min_bytes, struct digest_ctx *digest,
    struct imgd_error **err)
{
	struct spool_mark mark = { .bytes = s->have_bytes };
	int r;

	if (s->to == NULL || s->is_broken ||
	    s->have_bytes <= s->marked_bytes + min_bytes)
		return 0;
	if (fdatasync(s->to->fd) < 0) {
		give_up(s);
		return 0;
	}
	r = digest_str(digest, mark.digest, err);
	if (r < 0)
		return r;
	s->marked_bytes = s->have_bytes;
	s->marked_ms = now_ms();
	return s->to->marked(s->to->ctx, &mark, err);
}

int
spool_write(struct spool *s, const void *data, size_t len,
    struct digest_ctx *digest, struct imgd_error **err)
{
	if (s->to == NULL || s->is_broken)
		return 0;
	if (!write_at(s->to->fd, data, len, s->have_bytes)) {
		give_up(s);
		return 0;
	}
	s->have_bytes += len;
	return spool_sync(s,
	    now_ms() - s->marked_ms >= MARK_SLOW_MS ? MARK_SLOW_BYTES
						    : MARK_BYTES,
	    digest, err);
}
