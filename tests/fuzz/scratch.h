/* A directory of a target's own, in memory, that is empty for each input. */
#ifndef TESTS_FUZZ_SCRATCH_H
#define TESTS_FUZZ_SCRATCH_H

#include <stddef.h>
#include <stdint.h>

/* The directory; borrowed. */
int scratch_dir(void);
/* An empty file in it, open for reading and writing; the caller closes it. */
int scratch_file(const char *name);
/* The same with content, at its beginning. */
int scratch_file_of(const char *name, const uint8_t *data, size_t len);
/* An empty directory in it, opened; the caller closes it. */
int scratch_tree(const char *name);

#endif
