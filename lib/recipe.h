/*
 * Recipes: what is needed besides a layer's tree to give its tar back.
 *
 * FORMAT, version 1.  Integers are little-endian; "varint" is LEB128.
 *
 *   file    = "IMGDRCP1" chunk… end
 *   chunk   = type u8, packed u32, plain u32, packed bytes
 *             One zstd frame of plain bytes, at most 128 KiB of them.
 *   type 'R'  a piece of the record stream; a record may span chunks
 *   type 'S'  a lost body begins: n_bodies varint, length varint, path bytes
 *   type 'D'  up to 128 KiB of the lost body that began last
 *   end     = 'E', 0 u32, 0 u32, tar_bytes u64, n_bodies u64, then the
 *             diff_id as 71 characters
 *
 *   record  = 1, length varint, bytes          these bytes as they are
 *           | 2, length varint, path bytes, n varint,
 *             n × (gap varint, length varint), crc u64
 *
 * A body record stands for the content of a file in the tree: n regions, each
 * gap bytes after the one before, and the CRC-64 (xz's) of all their bytes.
 * A lost body is the content of a file that a later entry of the same tar
 * replaced; it belongs to the last body record with its path among the first
 * n_bodies.
 */
#ifndef LIB_RECIPE_H
#define LIB_RECIPE_H

#include <stddef.h>
#include <stdint.h>

#include "imgd/error.h"
#include "lib/digest.h"

#define RECIPE_MAGIC      "IMGDRCP1"
#define RECIPE_MAGIC_LEN  8
#define RECIPE_CHUNK      (128u << 10)
#define RECIPE_HEAD_LEN   9
#define RECIPE_END_LEN    (8 + 8 + DIGEST_STR_LEN)
#define RECIPE_RAW        1
#define RECIPE_BODY       2

/* A run of a file's bytes that stands in the tar. */
struct recipe_region {
	uint64_t offset;
	uint64_t len;
};

struct recipe_writer;

/* fd: an empty file, borrowed. */
int recipe_writer_new(int fd, struct recipe_writer **ret,
    struct imgd_error **err);

/* Bytes that no file of the tree holds. */
int recipe_raw(struct recipe_writer *w, const void *data, size_t len,
    struct imgd_error **err);

/*
 * The content of a file: path below the root, without links on the way.
 *
 * regions: ascending, not touching; their order is the tar's.
 * crc: lzma_crc64 over their bytes.
 */
int recipe_body(struct recipe_writer *w, const char *path,
    const struct recipe_region *regions, size_t n_regions, uint64_t crc,
    struct imgd_error **err);

/* Save the content of path, open as fd, before it is replaced. */
int recipe_lost(struct recipe_writer *w, const char *path, int fd,
    struct imgd_error **err);

/* Write what is left and the end record; not the file's fsync. */
int recipe_end(struct recipe_writer *w, uint64_t tar_bytes,
    const char *diff_id, struct imgd_error **err);

void recipe_writer_free(struct recipe_writer *w);
static inline void
recipe_writer_freep(struct recipe_writer **w)
{
	recipe_writer_free(*w);
}

struct recipe_reader;

/* What the reader finds; each may fail, which ends the reading. */
struct recipe_ops {
	int (*raw)(void *ctx, const void *data, size_t len,
	    struct imgd_error **err);
	/* path and regions as in recipe_body, checked for overflow; the
	 * content is to be read from the tree. */
	int (*body)(void *ctx, const char *path,
	    const struct recipe_region *regions, size_t n_regions,
	    uint64_t crc, struct imgd_error **err);
	/* Content of a body that the tree lacks; all of the file, of which
	 * the regions are to be taken with recipe_read_lost. */
	int (*lost)(void *ctx, const char *path,
	    const struct recipe_region *regions, size_t n_regions,
	    uint64_t crc, struct imgd_error **err);
};

/*
 * Open a recipe, which may come from an enemy: -EUCLEAN if it is damaged,
 * -IMGD_E_LIMIT.  fd: borrowed; read with pread.
 */
int recipe_reader_new(int fd, struct recipe_reader **ret,
    struct imgd_error **err);

/* From the end record. */
uint64_t recipe_tar_bytes(const struct recipe_reader *rd);
const char *recipe_diff_id(const struct recipe_reader *rd);

/* Read all records in order. */
int recipe_read(struct recipe_reader *rd, const struct recipe_ops *ops,
    void *ctx, struct imgd_error **err);

/*
 * Called from ops->lost: give the regions' bytes in order.
 *
 * -EUCLEAN if what was saved is shorter.
 */
int recipe_read_lost(struct recipe_reader *rd,
    const struct recipe_region *regions, size_t n_regions,
    int (*data)(void *ctx, const void *data, size_t len,
	struct imgd_error **err),
    void *ctx, struct imgd_error **err);

void recipe_reader_free(struct recipe_reader *rd);
static inline void
recipe_reader_freep(struct recipe_reader **rd)
{
	recipe_reader_free(*rd);
}

#endif
