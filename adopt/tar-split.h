/*
 * tar-split: what other engines keep of a layer's tar beside its tree, enough
 * to give the tar back byte for byte.
 *
 * The list is JSON, mostly gzip'ed, one object a line: of type 2, raw bytes
 * of the tar (headers and padding) in base64; of type 1, a file, whose content
 * comes from the tree, with its size and CRC-64 (ISO 3309).  Source:
 * vbatts/tar-split, tar/storage/entry.go and packer.go.
 */
#ifndef ADOPT_TAR_SPLIT_H
#define ADOPT_TAR_SPLIT_H

#include <stddef.h>
#include <stdint.h>

#include "imgd/driver.h"
#include "imgd/error.h"

/*
 * Write the tar that list and tree make.
 *
 * list_fd: read from where it stands to its end; compressed or not.
 * tree_fd: the layer's own files; nothing outside of it is opened, links on
 * the way to a file are resolved inside it as the unpacking engine did, and
 * the last component is never a link.
 * ret_bytes: the length of the tar.  The caller compares its digest.
 * Returns 0; -EUCLEAN with the file's name for one that is missing or not what
 * the list says; -IMGD_E_FORMAT, -IMGD_E_LIMIT for the list; what sink
 * returned.
 */
int tar_split_write(int list_fd, int tree_fd, struct imgd_sink *sink,
    uint64_t *ret_bytes, struct imgd_error **err);

/* CRC-64 with the polynomial of ISO 3309, as Go's hash/crc64 counts it; crc is
 * 0 at first. */
uint64_t crc64_iso(uint64_t crc, const void *data, size_t len);

#endif
