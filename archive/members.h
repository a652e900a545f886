/*
 * The members of an archive: a tar in a file that can be sought, or a
 * directory; or what has come so far of a tar that cannot.  Names and links
 * are hostile: nothing leads out.
 */
#ifndef ARCHIVE_MEMBERS_H
#define ARCHIVE_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"
#include "lib/cleanup.h"

struct member {
	char *name;  /* clean: without "." and "..", nor a slash at an end */
	char *link;  /* clean name that it stands for; NULL: it is a file */
	uint64_t offset, size; /* of its content */
};

struct members {
	int fd; /* borrowed */
	bool is_dir;
	struct member *items; /* by name; of a tar */
	size_t n;
	uint64_t name_bytes;
	/* More may come: what is not there is. */
	bool is_partial;
	const char *coming; /* partial: the member whose content is next */
};

#define MEMBERS_INIT { .fd = -EBADF }

/*
 * Look through the archive from where the file stands; contents are passed
 * over.
 *
 * fd: a regular file or a directory; borrowed until the end.
 * -IMGD_E_FORMAT for what is no tar, is cut short, names what is outside of it
 * or one name twice; -IMGD_E_LIMIT.
 */
int members_open(int fd, struct members *ret, struct imgd_error **err);
void members_done(struct members *m);

/* A file's content: size bytes of fd from offset. */
struct member_file {
	int fd;
	bool is_own; /* the descriptor is this file's alone */
	uint64_t offset, size;
	/* The name of a member that is still to come, and nothing else is
	 * known of it; NULL: it is there. */
	char *to_come;
};

#define MEMBER_FILE_INIT { .fd = -EBADF }

/* Find a file by the name that a document of the archive gives.
 * -ENOENT, unless the members are partial; -IMGD_E_FORMAT for a name or link
 * that leads out of the archive, or links in a circle. */
int members_find(const struct members *m, const char *name,
    struct member_file *ret, struct imgd_error **err);
void member_file_done(struct member_file *f);

/* Read a file of at most max bytes; *ret is malloc'ed and NUL-terminated.
 * -EAGAIN: it is still to come. */
int members_read(const struct members *m, const char *name, size_t max,
    char **ret, size_t *ret_len, struct imgd_error **err);

/* Read up to len bytes at pos of the file, which is there: their number, 0 at
 * its end. */
int64_t member_pread(const struct member_file *f, uint64_t pos, void *buf,
    size_t len, struct imgd_error **err);

/* ---- a tar, member by member ---- */

/* Where it comes from. */
struct member_source {
	/* The next bytes, at most len: their number, 0 at the end. */
	int64_t (*read)(void *ctx, void *buf, size_t len,
	    struct imgd_error **err);
	/* Pass over len bytes: how many it were; NULL: they are read. */
	int64_t (*skip)(void *ctx, int64_t len);
	void *ctx;
	size_t read_bytes; /* len of read */
	uint64_t start;    /* what offsets of members count from */
	uint64_t max_bytes; /* of the tar */
};

struct member_reader;

/* to: what is read is added; both must outlive the reader. */
int member_reader_new(const struct member_source *source, struct members *to,
    struct member_reader **ret, struct imgd_error **err);
void member_reader_free(struct member_reader *r);
static inline void
member_reader_freep(struct member_reader **r)
{
	member_reader_free(*r);
}

/*
 * Go to the next file or link.
 *
 * ret: a copy of the member that was added at the end of the list; its strings
 * are the list's.
 * Returns 1; 0 at the end of the tar; what members_open returns, but for names
 * that are there twice.
 */
int member_reader_next(struct member_reader *r, struct member *ret,
    struct imgd_error **err);
/* Read on in the member's content; 0 at its end. */
int64_t member_reader_data(struct member_reader *r, void *buf, size_t len,
    struct imgd_error **err);

/* Sort the list, so that members_find works. */
void members_sort(struct members *m);
/* Sort it; -IMGD_E_FORMAT if it has a name twice. */
int members_check(struct members *m, struct imgd_error **err);

#endif
