#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/archive-impl.h"
#include "archive/stream.h"
#include "lib/fs-at.h"
#include "lib/inflate.h"

#define READ_BYTES   (64u << 10)
#define THREAD_STACK (128u << 10)

/* How often it is looked whether the documents are complete: each time they
 * are read anew. */
#define MAX_LOOKS 64

#define DOCKER_MANIFEST "manifest.json"

enum layer_place {
	TO_COME,
	PUT_ASIDE, /* in the scratch file */
	GIVEN      /* to whoever asked */
};

struct stream_layer {
	const struct found_layer *found;
	enum layer_place place;
	bool is_unwanted, is_ordered;
	uint64_t offset, size; /* PUT_ASIDE */
};

/* A thread that decompresses into a pipe. */
struct inflater {
	pthread_t thread;
	bool is_running;
	int in_fd, out_fd;
	int result;
	struct imgd_error *error;
};

struct archive_stream {
	int fd; /* the tar */
	unsigned char head[INFLATE_HEAD_BYTES]; /* what was read of it to tell */
	size_t n_head, head_pos;
	struct inflater inflater;

	struct archive_copy copy;
	bool is_copied; /* what is read goes into the copy, too */

	struct image_archive *archive;
	struct member_reader *reader;

	pthread_mutex_t mutex; /* for the rest */
	pthread_cond_t changed;
	bool is_busy; /* somebody reads */
	bool has_member;
	struct member member; /* its content is next */
	struct stream_layer *layers;
	size_t n_layers;
};

/* ---- plain bytes ---- */

static int
pipe_write(void *ctx, const void *data, uint64_t len, struct imgd_error **err)
{
	const struct inflater *i = ctx;

	return fs_write_all(i->out_fd, data, (size_t)len, err);
}

static void *
inflate_thread(void *arg)
{
	struct archive_stream *s = arg;
	struct inflater *i = &s->inflater;
	struct imgd_sink sink = { sizeof(sink), i, pipe_write };
	cleanup(inflate_freep) struct inflate *z = NULL;
	uint64_t bytes;
	int r;

	r = inflate_new(&sink, &z, &i->error);
	if (r >= 0)
		r = inflate_push(z, s->head, s->n_head, &i->error);
	if (r >= 0)
		r = archive_pass_all(i->in_fd, z, /* progress= */ NULL, NULL,
		    &bytes, &i->error);
	i->result = r;
	close_fd(&i->out_fd);
	return NULL;
}

static int
start_inflater(struct archive_stream *s, struct imgd_error **err)
{
	struct inflater *i = &s->inflater;
	pthread_attr_t attr;
	int fds[2], e;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return imgd_error_set(err, errno, "pipe: %s",
		    strerror(errno));
	i->in_fd = s->fd;
	i->out_fd = fds[1];
	s->fd = fds[0];
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, THREAD_STACK);
	e = pthread_create(&i->thread, &attr, inflate_thread, s);
	(void)pthread_attr_destroy(&attr);
	if (e != 0)
		return imgd_error_set(err, e, "thread: %s", strerror(e));
	i->is_running = true;
	s->head_pos = s->n_head;
	return 0;
}

static int64_t
read_fd(int fd, void *buf, size_t len, struct imgd_error **err)
{
	ssize_t n;

	do
		n = read(fd, buf, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? imgd_error_set(err, errno, "read: %s", strerror(errno))
		     : n;
}

static int
begin(struct archive_stream *s, struct imgd_error **err)
{
	while (s->n_head < sizeof(s->head)) {
		int64_t n = read_fd(s->fd, s->head + s->n_head,
		    sizeof(s->head) - s->n_head, err);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		s->n_head += (size_t)n;
	}
	return inflate_is_compressed(s->head, s->n_head)
	    ? start_inflater(s, err)
	    : 0;
}

/* The end of the pipe is that of the archive only if the thread says so. */
static int
end_inflater(struct archive_stream *s, struct imgd_error **err)
{
	struct inflater *i = &s->inflater;

	if (i->is_running) {
		(void)pthread_join(i->thread, NULL);
		i->is_running = false;
		close_fd(&s->fd);
	}
	return i->result < 0 ? imgd_error_set(err, -i->result, "%s",
				   imgd_error_msg(i->error))
			     : 0;
}

static int64_t
stream_read(void *ctx, void *buf, size_t len, struct imgd_error **err)
{
	struct archive_stream *s = ctx;
	size_t left = s->n_head - s->head_pos;
	int64_t n;
	int r = 0;

	if (left > 0) {
		n = (int64_t)(len < left ? len : left);
		memcpy(buf, s->head + s->head_pos, (size_t)n);
		s->head_pos += (size_t)n;
	} else {
		n = read_fd(s->fd, buf, len, err);
	}
	if (n == 0)
		r = end_inflater(s, err);
	if (n > 0 && s->is_copied)
		r = archive_copy_write(&s->copy, buf, (uint64_t)n, err);
	return r < 0 ? r : n;
}

/* What is left after the tar's end. */
static int
drain(struct archive_stream *s, struct imgd_error **err)
{
	cleanup_free char *buf = malloc(READ_BYTES);
	int64_t n = 1;

	if (buf == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	while (n > 0)
		n = stream_read(s, buf, READ_BYTES, err);
	return (int)n;
}

/* ---- is it one that can be used as it comes? ---- */

static bool
wants_member(const struct found_image *f, const char *name)
{
	size_t i;

	for (i = 0; i < f->n_layers; i++)
		if (f->layers[i].file.to_come != NULL &&
		    strcmp(f->layers[i].file.to_come, name) == 0)
			return true;
	return false;
}

/* Whether all documents of the one image are there, now that the first of its
 * layers comes. */
static bool
is_complete(struct archive_stream *s, const struct platform *want)
{
	cleanup(signature_list_done) struct signature_list list = { .n = 0 };
	cleanup(signed_docs_done) struct signed_docs docs = { .n = 0 };
	cleanup(found_image_done) struct found_image f = { .config = NULL };
	struct image_archive *a = s->archive;

	return archive_list(a, want, NULL) >= 0 && a->n_images == 1 &&
	    a->form != FORM_LEGACY &&
	    image_archive_find(a, 0, &f, NULL) >= 0 &&
	    wants_member(&f, s->member.name) &&
	    image_archive_signatures(a, f.id, &docs, &list, NULL) >= 0;
}

/* Returns 1 if the stream can be used, which is at a layer then; 0 at its
 * end. */
static int
look(struct archive_stream *s, bool may_stream, const struct platform *want,
    struct imgd_error **err)
{
	struct members *m = &s->archive->members;
	unsigned int n_looks = may_stream ? 0 : MAX_LOOKS;

	for (;;) {
		int r = member_reader_next(s->reader, &s->member, err);

		if (r <= 0)
			return r;
		if (s->member.link != NULL || n_looks == MAX_LOOKS)
			continue;
		m->is_partial = true;
		m->coming = s->member.name;
		members_sort(m);
		if (!archive_has(s->archive, DOCKER_MANIFEST) &&
		    !archive_has(s->archive, LAYOUT_INDEX))
			continue;
		n_looks++;
		if (is_complete(s, want))
			return 1;
		archive_forget(s->archive);
	}
}

void
archive_stream_free(struct archive_stream *s)
{
	struct inflater *i;
	struct stat st;

	if (s == NULL)
		return;
	i = &s->inflater;
	if (i->is_running) {
		if (fstat(i->in_fd, &st) < 0 || !S_ISREG(st.st_mode))
			return;
		close_fd(&s->fd);
		(void)pthread_join(i->thread, NULL);
	}
	member_reader_free(s->reader);
	image_archive_free(s->archive);
	imgd_error_free(i->error);
	free(s->layers);
	free(s);
}

static int
open_copy(struct archive_stream *s, const struct platform *want,
    struct image_archive **ret, struct imgd_error **err)
{
	int r = drain(s, err);

	if (r >= 0 && lseek(s->copy.fd, 0, SEEK_SET) < 0)
		r = imgd_error_set(err, errno, "%s", strerror(errno));
	return r < 0 ? r : image_archive_open(s->copy.fd, want, ret, err);
}

int
archive_stream_open(int fd, int copy_fd, uint64_t max_bytes, bool may_stream,
    const struct platform *want, struct archive_stream **ret,
    struct image_archive **ret_archive, struct imgd_error **err)
{
	cleanup(archive_stream_freep) struct archive_stream *s =
	    calloc(1, sizeof(*s));
	struct member_source source = { .read = stream_read, .ctx = s,
		.read_bytes = READ_BYTES, .max_bytes = INT64_MAX };
	int r;

	if (s == NULL ||
	    (s->archive = calloc(1, sizeof(*s->archive))) == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	s->fd = fd;
	s->copy = (struct archive_copy) { copy_fd, 0, max_bytes };
	s->is_copied = true;
	s->archive->members.fd = copy_fd;
	s->inflater.in_fd = s->inflater.out_fd = -EBADF;
	(void)pthread_mutex_init(&s->mutex, NULL);
	(void)pthread_cond_init(&s->changed, NULL);
	r = begin(s, err);
	if (r >= 0)
		r = member_reader_new(&source, &s->archive->members,
		    &s->reader, err);
	if (r >= 0)
		r = look(s, may_stream, want, err);
	if (r == 0)
		return open_copy(s, want, ret_archive, err);
	if (r < 0)
		return r;
	s->is_copied = false;
	s->has_member = true;
	*ret_archive = s->archive;
	*ret = take_ptr(&s);
	return 1;
}

/* ---- the layers ---- */

int
archive_stream_take(struct archive_stream *s, const struct found_image *f,
    struct imgd_error **err)
{
	size_t i;

	s->layers = calloc(f->n_layers + 1, sizeof(*s->layers));
	if (s->layers == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	s->n_layers = f->n_layers;
	for (i = 0; i < f->n_layers; i++) {
		struct stream_layer *l = &s->layers[i];

		l->found = &f->layers[i];
		if (l->found->file.to_come != NULL)
			continue;
		l->place = PUT_ASIDE;
		l->offset = l->found->file.offset;
		l->size = l->found->file.size;
	}
	return 0;
}

void
archive_stream_skip(struct archive_stream *s, size_t layer)
{
	pthread_mutex_lock(&s->mutex);
	s->layers[layer].is_unwanted = true;
	pthread_mutex_unlock(&s->mutex);
}

void
archive_stream_order(struct archive_stream *s, size_t layer)
{
	pthread_mutex_lock(&s->mutex);
	s->layers[layer].is_ordered = true;
	pthread_mutex_unlock(&s->mutex);
}

static bool
is_member(const struct archive_stream *s, const struct stream_layer *l)
{
	return l->place == TO_COME && !l->is_unwanted &&
	    strcmp(l->found->file.to_come, s->member.name) == 0;
}

/* The one layer that the member is, if it was asked for; NULL: nobody waits
 * for it, or more than one layer is the same. */
static struct stream_layer *
who_waits(struct archive_stream *s)
{
	struct stream_layer *found = NULL;
	size_t i;

	for (i = 0; i < s->n_layers; i++) {
		if (!is_member(s, &s->layers[i]))
			continue;
		if (found != NULL)
			return NULL;
		found = &s->layers[i];
	}
	return found != NULL && found->is_ordered && s->member.link == NULL
	    ? found
	    : NULL;
}

/* Copy the member's content to the scratch file. */
static int
put_aside(struct archive_stream *s, uint64_t *ret_offset,
    struct imgd_error **err)
{
	cleanup_free char *buf = malloc(READ_BYTES);
	int64_t n;
	int r = 0;

	if (buf == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	*ret_offset = s->copy.n_bytes;
	while (r >= 0) {
		n = member_reader_data(s->reader, buf, READ_BYTES, err);
		if (n <= 0)
			return (int)n;
		r = archive_copy_write(&s->copy, buf, (uint64_t)n, err);
	}
	return r;
}

/* Go past the member, which nobody waits for.  Alone, but without the lock. */
static int
pass_member(struct archive_stream *s, bool is_layer, uint64_t *ret_offset,
    struct imgd_error **err)
{
	if (!is_layer)
		return 0;
	if (s->member.link != NULL)
		return imgd_error_set(err, IMGD_E_FORMAT,
		    "member \"%.200s\", a layer, is a link: such an archive can only be loaded from a file",
		    s->member.name);
	return put_aside(s, ret_offset, err);
}

/* Move on by one member or header.  The lock is held, but not while it reads.
 * Returns 0 at the end. */
static int
move_on(struct archive_stream *s, struct imgd_error **err)
{
	const bool had_member = s->has_member;
	bool is_layer = false;
	uint64_t offset = 0;
	size_t i;
	int r;

	for (i = 0; had_member && i < s->n_layers; i++)
		is_layer |= is_member(s, &s->layers[i]);
	s->is_busy = true;
	pthread_mutex_unlock(&s->mutex);
	if (had_member)
		r = pass_member(s, is_layer, &offset, err);
	else
		r = member_reader_next(s->reader, &s->member, err);
	pthread_mutex_lock(&s->mutex);
	s->is_busy = false;
	pthread_cond_broadcast(&s->changed);
	s->has_member = !had_member && r > 0;
	if (!had_member || r < 0)
		return r;
	for (i = 0; i < s->n_layers; i++) {
		struct stream_layer *l = &s->layers[i];

		if (!is_layer || l->place != TO_COME ||
		    strcmp(l->found->file.to_come, s->member.name) != 0)
			continue;
		l->place = PUT_ASIDE;
		l->offset = offset;
		l->size = s->member.size;
	}
	return 1;
}

/* Wait for the layer, or go and get it.  Returns 1 when it is the member whose
 * content is next, and the stream the caller's; 0 if it was put aside. */
static int
reach(struct archive_stream *s, struct stream_layer *l,
    struct imgd_error **err)
{
	int r = 1;

	pthread_mutex_lock(&s->mutex);
	while (r > 0 && l->place == TO_COME) {
		struct stream_layer *waits = NULL;

		if (!s->is_busy && s->has_member)
			waits = who_waits(s);
		if (waits == l) {
			s->is_busy = true;
			l->place = GIVEN;
		} else if (s->is_busy || waits != NULL) {
			(void)pthread_cond_wait(&s->changed, &s->mutex);
		} else {
			r = move_on(s, err);
			if (r == 0)
				r = imgd_error_set(err, ENOENT,
				    "\"%.200s\" is not in the archive",
				    l->found->file.to_come);
		}
	}
	if (r > 0)
		r = l->place == GIVEN;
	pthread_mutex_unlock(&s->mutex);
	return r;
}

static int64_t
layer_read(void *ctx, uint64_t pos, void *buf, size_t len,
    struct imgd_error **err)
{
	struct archive_stream *s = ctx;

	(void)pos;
	return member_reader_data(s->reader, buf, len, err);
}

int
archive_stream_write(struct archive_stream *s, size_t layer,
    struct imgd_sink *sink, void (*progress)(void *ctx, uint64_t bytes),
    void *ctx, uint64_t *ret_blob_bytes, uint64_t *ret_tar_bytes,
    struct imgd_error **err)
{
	struct stream_layer *l = &s->layers[layer];
	struct found_layer aside = *l->found;
	int r = reach(s, l, err);

	if (r < 0)
		return r;
	if (r == 0) {
		aside.file = (struct member_file) { .fd = s->copy.fd,
			.offset = l->offset, .size = l->size };
		return found_layer_write(&aside, sink, progress, ctx,
		    ret_blob_bytes, ret_tar_bytes, err);
	}
	r = archive_layer_write(l->found, layer_read, s, sink, progress, ctx,
	    ret_blob_bytes, ret_tar_bytes, err);
	pthread_mutex_lock(&s->mutex);
	s->is_busy = s->has_member = false;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->mutex);
	return r;
}

static int
read_rest(struct archive_stream *s, struct imgd_error **err)
{
	struct members *m = &s->archive->members;
	int r;

	do
		r = member_reader_next(s->reader, &s->member, err);
	while (r > 0);
	if (r >= 0)
		r = drain(s, err);
	m->is_partial = false;
	if (r >= 0)
		r = members_check(m, err);
	/* It would have been read as Docker's, had it been there in time. */
	if (r >= 0 && s->archive->form != FORM_DOCKER &&
	    archive_has(s->archive, DOCKER_MANIFEST))
		r = imgd_error_set(err, IMGD_E_FORMAT,
		    DOCKER_MANIFEST " comes after the layers: such an archive can only be loaded from a file");
	return r;
}

int
archive_stream_finish(struct archive_stream *s, struct imgd_error **err)
{
	int r;

	pthread_mutex_lock(&s->mutex);
	r = read_rest(s, err);
	pthread_mutex_unlock(&s->mutex);
	return r;
}
