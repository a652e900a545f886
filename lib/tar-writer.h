/*
 * Our own tar-to-directory writer: entries, one after the other, become files
 * below one directory, whatever the entries say.
 */
#ifndef LIB_TAR_WRITER_H
#define LIB_TAR_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include <archive_entry.h>

#include "lib/recipe.h"
#include "lib/tar.h"

struct tar_writer;

/* params and recipe are borrowed. */
int tar_writer_new(const struct tar_unpack *params,
    struct recipe_writer *recipe, struct tar_writer **ret,
    struct imgd_error **err);

enum tar_body {
	TAR_BODY_NONE,  /* the content has no place in the tree */
	TAR_BODY_WRITE, /* give it to tar_writer_data */
	TAR_BODY_ASIDE, /* likewise, but it is at no path of the tree */
};

/*
 * Make the entry's object; a regular file waits for its content.
 *
 * type, linkname: as tar_raw tells them; borrowed until tar_writer_end.
 * Returns an enum tar_body; -IMGD_E_FORMAT, -IMGD_E_LIMIT, errno.
 */
int tar_writer_begin(struct tar_writer *w, struct archive_entry *entry,
    char type, const char *linkname, struct imgd_error **err);

/* Content at offset, ascending. */
int tar_writer_data(struct tar_writer *w, const void *data, size_t len,
    uint64_t offset, struct imgd_error **err);

/* The entry is complete. */
int tar_writer_end(struct tar_writer *w, struct imgd_error **err);

/* Where the file lies that has just ended. */
const char *tar_writer_path(const struct tar_writer *w);

/* The tar is complete. */
int tar_writer_finish(struct tar_writer *w, struct imgd_error **err);

void tar_writer_free(struct tar_writer *w);
static inline void
tar_writer_freep(struct tar_writer **w)
{
	tar_writer_free(*w);
}

#endif
