#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/archive-out.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"

#define BLOCK      512
#define MAX_OCTAL  077777777777ull

/* POSIX.1-1988 (ustar). */
struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12];
	char checksum[8], type, link[100], magic[6], version[2];
	char user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a tar header is one block");

int
archive_out_open(struct archive_out *a, struct job *job, int fd,
    struct imgd_error **err)
{
	struct stat st;

	*a = (struct archive_out) { .job = job, .dir_fd = fd,
		.file_fd = -EBADF };
	if (fstat(fd, &st) < 0)
		return imgd_error_set(err, errno, "output: %s",
		    strerror(errno));
	a->is_dir = S_ISDIR(st.st_mode);
	return a->is_dir ? 0 : outlet_open(job, fd, &a->to, err);
}

void
archive_out_done(struct archive_out *a)
{
	close_fd(&a->file_fd);
}

/* ---- tar ---- */

/* Octal digits and a NUL; what is too large in the base-256 form that GNU tar
 * and Go write and everybody reads. */
static void
put_number(char *field, size_t len, uint64_t n)
{
	char text[32];
	size_t i;

	if (n <= MAX_OCTAL) {
		(void)snprintf(text, sizeof(text), "%0*llo", (int)len - 1,
		    (unsigned long long)n);
		memcpy(field, text, len);
		return;
	}
	for (i = len - 1; i > 0; i--) {
		field[i] = (char)(n & 0xff);
		n >>= 8;
	}
	field[0] = (char)0x80;
}

static int
write_header(struct archive_out *a, const char *name, char type,
    unsigned int mode, uint64_t size, int64_t time, struct imgd_error **err)
{
	struct header h;
	unsigned char bytes[BLOCK];
	unsigned int sum = 0;
	size_t i, len = strlen(name);

	if (len > sizeof(h.name))
		return imgd_error_set(err, ENAMETOOLONG, "%s", name);
	memset(&h, 0, sizeof(h));
	memcpy(h.name, name, len);
	put_number(h.mode, sizeof(h.mode), mode);
	put_number(h.uid, sizeof(h.uid), 0);
	put_number(h.gid, sizeof(h.gid), 0);
	put_number(h.size, sizeof(h.size), size);
	put_number(h.mtime, sizeof(h.mtime), time > 0 ? (uint64_t)time : 0);
	h.type = type;
	memcpy(h.magic, "ustar", sizeof(h.magic));
	memcpy(h.version, "00", sizeof(h.version));
	memset(h.checksum, ' ', sizeof(h.checksum));
	memcpy(bytes, &h, sizeof(bytes));
	for (i = 0; i < sizeof(bytes); i++)
		sum += bytes[i];
	put_number((char *)bytes + offsetof(struct header, checksum), 7, sum);
	return outlet_write(&a->to, bytes, sizeof(bytes), err);
}

static int
write_zeros(struct archive_out *a, size_t len, struct imgd_error **err)
{
	static const char zeros[BLOCK];
	int r = 0;

	for (; len > BLOCK && r >= 0; len -= BLOCK)
		r = outlet_write(&a->to, zeros, BLOCK, err);
	return r < 0 ? r : outlet_write(&a->to, zeros, len, err);
}

/* ---- directory ---- */

/* The directory that name is in, opened; *ret_base points into name. */
static int
open_parent(struct archive_out *a, const char *name, const char **ret_base,
    struct imgd_error **err)
{
	cleanup_close int fd = openat(a->dir_fd, ".",
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char part[256];

	for (;;) {
		size_t n = strcspn(name, "/");
		int down;

		if (fd < 0)
			return imgd_error_set(err, errno, "output: %s",
			    strerror(errno));
		if (name[n] == '\0' || name[n + 1] == '\0')
			break;
		if (n >= sizeof(part))
			return imgd_error_set(err, ENAMETOOLONG, "%s", name);
		memcpy(part, name, n);
		part[n] = '\0';
		down = fs_open_dir(fd, part, err);
		if (down < 0)
			return down;
		close_fd(&fd);
		fd = down;
		name += n + 1;
	}
	*ret_base = name;
	return take_fd(&fd);
}

static int
set_time(int fd, int64_t time, struct imgd_error **err)
{
	const struct timespec times[2] = { { .tv_sec = (time_t)time },
		{ .tv_sec = (time_t)time } };

	return futimens(fd, times) < 0
	    ? imgd_error_set(err, errno, "output: %s", strerror(errno))
	    : 0;
}

static int
make_dir(struct archive_out *a, const char *name, struct imgd_error **err)
{
	const char *base;
	cleanup_close int fd = open_parent(a, name, &base, err);
	char part[256];
	size_t n;
	int r;

	if (fd < 0)
		return fd;
	n = strcspn(base, "/");
	if (n >= sizeof(part))
		return imgd_error_set(err, ENAMETOOLONG, "%s", name);
	memcpy(part, base, n);
	part[n] = '\0';
	r = fs_make_dir(fd, part, 0755, err);
	return r < 0 ? r : 0;
}

static int
make_file(struct archive_out *a, const char *name, struct imgd_error **err)
{
	const char *base;
	cleanup_close int fd = open_parent(a, name, &base, err);

	if (fd < 0)
		return fd;
	a->file_fd = openat(fd, base,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (a->file_fd < 0)
		return imgd_error_set(err, errno, "output: %s: %s", name,
		    strerror(errno));
	return outlet_open(a->job, a->file_fd, &a->to, err);
}

/* ---- both ---- */

int
archive_out_dir(struct archive_out *a, const char *name, int64_t time,
    struct imgd_error **err)
{
	return a->is_dir ? make_dir(a, name, err)
			 : write_header(a, name, '5', 0755, 0, time, err);
}

int
archive_out_begin(struct archive_out *a, const char *name, uint64_t size,
    int64_t time, struct imgd_error **err)
{
	int r;

	a->size = size;
	a->bytes = 0;
	if (!a->is_dir)
		return write_header(a, name, '0', 0644, size, time, err);
	r = make_file(a, name, err);
	return r < 0 ? r : set_time(a->file_fd, time, err);
}

int
archive_out_end(struct archive_out *a, struct imgd_error **err)
{
	if (a->bytes != a->size)
		return imgd_error_set(err, EUCLEAN,
		    "it has %ju bytes, and had %ju", (uintmax_t)a->bytes,
		    (uintmax_t)a->size);
	if (!a->is_dir)
		return write_zeros(a, (size_t)(-a->size % BLOCK), err);
	if (fsync(a->file_fd) < 0)
		return imgd_error_set(err, errno, "output: %s",
		    strerror(errno));
	close_fd(&a->file_fd);
	return 0;
}

int
archive_out_file(struct archive_out *a, const char *name, const void *data,
    size_t len, int64_t time, struct imgd_error **err)
{
	int r = archive_out_begin(a, name, len, time, err);

	if (r >= 0)
		r = outlet_write(&a->to, data, len, err);
	a->bytes = len;
	return r < 0 ? r : archive_out_end(a, err);
}

int
archive_out_finish(struct archive_out *a, struct imgd_error **err)
{
	return a->is_dir ? 0 : write_zeros(a, 2 * (size_t)BLOCK, err);
}
