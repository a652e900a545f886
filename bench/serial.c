/*
 * The floor: what a pull cannot do without, and nothing else.
 *
 * usage: serial http://HOST:PORT REPOSITORY TAG DIR
 *
 * One thread receives each layer, takes its SHA-256, inflates it and takes the
 * SHA-256 of that; another reads the tar and makes the files, each layer in a
 * directory of its own.  One syncfs ends it.  No layer is beside another, no
 * name is checked, nothing is confined, removed, recorded or resumed.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>
#include <curl/curl.h>
#include <json-c/json.h>

#include "lib/cleanup.h"
#include "lib/digest.h"
#include "lib/fs-at.h"
#include "lib/inflate.h"
#include "lib/strbuf.h"

#define READ_BYTES (128u << 10)
#define ACCEPT                                                          \
	"Accept: application/vnd.oci.image.manifest.v1+json, "          \
	"application/vnd.docker.distribution.manifest.v2+json"

static void __attribute__((noreturn))
die(const char *what, const char *why)
{
	(void)fprintf(stderr, "serial: %s: %s\n", what, why);
	exit(1);
}

/* ---- the second thread: tar to files ---- */

struct writer {
	int pipe_fd, dir_fd;
	unsigned char buf[READ_BYTES];
};

static la_ssize_t
read_pipe(struct archive *a, void *ctx, const void **ret)
{
	struct writer *w = ctx;

	(void)a;
	*ret = w->buf;
	return read(w->pipe_fd, w->buf, sizeof(w->buf));
}

static void
write_file(struct writer *w, struct archive *a, struct archive_entry *e)
{
	const struct timespec times[2] = {
		{ .tv_sec = archive_entry_mtime(e) },
		{ .tv_sec = archive_entry_mtime(e) },
	};
	int fd = openat(w->dir_fd, archive_entry_pathname(e),
	    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, archive_entry_perm(e));
	const void *data;
	size_t len;
	la_int64_t at;

	if (fd < 0)
		die(archive_entry_pathname(e), strerror(errno));
	while (archive_read_data_block(a, &data, &len, &at) == ARCHIVE_OK)
		if (pwrite(fd, data, len, at) != (ssize_t)len)
			die(archive_entry_pathname(e), strerror(errno));
	if (fchown(fd, (uid_t)archive_entry_uid(e),
		(gid_t)archive_entry_gid(e)) < 0 ||
	    futimens(fd, times) < 0)
		die(archive_entry_pathname(e), strerror(errno));
	(void)close(fd);
}

static void *
write_layer(void *arg)
{
	struct writer *w = arg;
	struct archive *a = archive_read_new();
	struct archive_entry *e;
	int r;

	if (a == NULL || archive_read_support_format_tar(a) != ARCHIVE_OK ||
	    archive_read_open(a, w, NULL, read_pipe, NULL) != ARCHIVE_OK)
		die("tar", "cannot be read");
	while ((r = archive_read_next_header(a, &e)) == ARCHIVE_OK) {
		const char *name = archive_entry_pathname(e);

		if (archive_entry_hardlink(e) != NULL)
			r = linkat(w->dir_fd, archive_entry_hardlink(e),
			    w->dir_fd, name, 0);
		else if (archive_entry_filetype(e) == AE_IFDIR)
			r = mkdirat(w->dir_fd, name, archive_entry_perm(e));
		else if (archive_entry_filetype(e) == AE_IFLNK)
			r = symlinkat(archive_entry_symlink(e), w->dir_fd, name);
		else if (archive_entry_filetype(e) == AE_IFREG)
			write_file(w, a, e);
		if (r < 0 && errno != EEXIST)
			die(name, strerror(errno));
	}
	if (r != ARCHIVE_EOF)
		die("tar", archive_error_string(a));
	/* What pads it is to be read, too: the other thread writes it. */
	while (read(w->pipe_fd, w->buf, sizeof(w->buf)) > 0)
		;
	(void)archive_read_free(a);
	(void)close(w->pipe_fd);
	return NULL;
}

/* ---- the first: bytes to tar ---- */

struct receiver {
	int pipe_fd;
	struct digest_ctx *blob, *tar;
	struct inflate *inflate;
};

static int
take_tar(void *ctx, const void *data, uint64_t len, struct imgd_error **err)
{
	struct receiver *r = ctx;

	digest_update(r->tar, data, (size_t)len);
	return fs_write_all(r->pipe_fd, data, (size_t)len, err);
}

static size_t
take_blob(char *data, size_t one, size_t len, void *ctx)
{
	struct receiver *r = ctx;

	(void)one;
	digest_update(r->blob, data, len);
	return inflate_push(r->inflate, data, len, NULL) < 0 ? 0 : len;
}

static size_t
take_text(char *data, size_t one, size_t len, void *ctx)
{
	struct strbuf *sb = ctx;

	(void)one;
	strbuf_printf(sb, "%.*s", (int)len, data);
	return sb->is_failed ? 0 : len;
}

static void
get(CURL *curl, const char *url, curl_write_callback write, void *ctx)
{
	CURLcode code;

	(void)curl_easy_setopt(curl, CURLOPT_URL, url);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, write);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, ctx);
	code = curl_easy_perform(curl);
	if (code != CURLE_OK)
		die(url, curl_easy_strerror(code));
}

static void
pull_layer(CURL *curl, const char *base, const char *expected, const char *diff,
    struct writer *w)
{
	char url[1024], got[DIGEST_STR_SIZE];
	struct receiver r = { .pipe_fd = -1 };
	struct imgd_sink sink = { sizeof(sink), &r, take_tar };
	pthread_t thread;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0 ||
	    fcntl(fds[1], F_SETPIPE_SZ, 1 << 20) < 0)
		die("pipe", strerror(errno));
	w->pipe_fd = fds[0];
	r.pipe_fd = fds[1];
	if (digest_new(&r.blob, NULL) < 0 || digest_new(&r.tar, NULL) < 0 ||
	    inflate_new(&sink, &r.inflate, NULL) < 0 ||
	    pthread_create(&thread, NULL, write_layer, w) != 0)
		die("layer", "out of memory");
	(void)snprintf(url, sizeof(url), "%s/blobs/%s", base, expected);
	get(curl, url, take_blob, &r);
	if (inflate_end(r.inflate, NULL) < 0)
		die(expected, "damaged");
	(void)close(r.pipe_fd);
	(void)pthread_join(thread, NULL);
	if (digest_str(r.blob, got, NULL) < 0 || strcmp(got, expected) != 0 ||
	    digest_str(r.tar, got, NULL) < 0 || strcmp(got, diff) != 0)
		die(expected, "digest mismatch");
	digest_free(r.blob);
	digest_free(r.tar);
	inflate_free(r.inflate);
}

/* ---- all of it ---- */

static struct json_object *
get_json(CURL *curl, const char *base, const char *kind, const char *name)
{
	cleanup(strbuf_done) struct strbuf sb = STRBUF_INIT;
	struct json_object *o;
	char url[1024];

	(void)snprintf(url, sizeof(url), "%s/%s/%s", base, kind, name);
	get(curl, url, take_text, &sb);
	o = sb.len > 0 ? json_tokener_parse(sb.data) : NULL;
	if (o == NULL)
		die(url, "no JSON");
	return o;
}

static struct json_object *
member(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	if (!json_object_object_get_ex(o, key, &v))
		die(key, "is missing");
	return v;
}

static const char *
digest_in(struct json_object *o)
{
	return json_object_get_string(member(o, "digest"));
}

int
main(int argc, char **argv)
{
	struct curl_slist *headers = curl_slist_append(NULL, ACCEPT);
	struct json_object *manifest, *config, *layers, *diff_ids;
	struct writer *w = malloc(sizeof(*w));
	CURL *curl = curl_easy_init();
	char base[512], dir[4096];
	size_t i;
	int fd;

	if (argc != 5 || curl == NULL || headers == NULL || w == NULL)
		die("usage", "serial http://HOST:PORT REPOSITORY TAG DIR");
	(void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	(void)curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
	(void)curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 256L << 10);
	(void)snprintf(base, sizeof(base), "%s/v2/%s", argv[1], argv[2]);
	manifest = get_json(curl, base, "manifests", argv[3]);
	config = get_json(curl, base, "blobs",
	    digest_in(member(manifest, "config")));
	layers = member(manifest, "layers");
	diff_ids = member(member(config, "rootfs"), "diff_ids");
	if (mkdir(argv[4], 0700) < 0)
		die(argv[4], strerror(errno));
	for (i = 0; i < json_object_array_length(layers); i++) {
		(void)snprintf(dir, sizeof(dir), "%s/%zu", argv[4], i);
		if (mkdir(dir, 0755) < 0 ||
		    (w->dir_fd = open(dir, O_RDONLY | O_DIRECTORY |
			 O_CLOEXEC)) < 0)
			die(dir, strerror(errno));
		pull_layer(curl, base,
		    digest_in(json_object_array_get_idx(layers, i)),
		    json_object_get_string(
			json_object_array_get_idx(diff_ids, i)),
		    w);
		(void)close(w->dir_fd);
	}
	fd = open(argv[4], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || syncfs(fd) < 0)
		die(argv[4], strerror(errno));
	return 0;
}
