/*
 * The members of an archive: a tar in a file that can be sought, or a
 * directory.  Names and links are hostile: nothing leads out.
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
};

#define MEMBER_FILE_INIT { .fd = -EBADF }

/* Find a file by the name that a document of the archive gives.
 * -ENOENT; -IMGD_E_FORMAT for a name or link that leads out of the archive,
 * or links in a circle. */
int members_find(const struct members *m, const char *name,
    struct member_file *ret, struct imgd_error **err);
void member_file_done(struct member_file *f);

/* Read a file of at most max bytes; *ret is malloc'ed and NUL-terminated. */
int members_read(const struct members *m, const char *name, size_t max,
    char **ret, size_t *ret_len, struct imgd_error **err);

/* Read up to len bytes at pos of the file: their number, 0 at its end. */
int64_t member_pread(const struct member_file *f, uint64_t pos, void *buf,
    size_t len, struct imgd_error **err);

#endif
