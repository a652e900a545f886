/* Starting loaders, the workers that read archives. */
#ifndef CORE_LOADER_H
#define CORE_LOADER_H

#include <stdint.h>

#include "core/engine.h"

struct loader_order {
	uint32_t mode;        /* LOADER_* */
	uint32_t index;       /* LOADER_PULL: which of the images listed */
	const char *platform; /* NULL or "": this machine's */
	int fd;               /* the archive; borrowed */
	int copy_fd;          /* LOADER_LIST, LOADER_STREAM: for a copy of it;
			       * borrowed */
	uint64_t max_bytes;   /* the most that such a copy may take */
};

/* Start a loader and give it its order; both results are the caller's, also
 * after a failure. */
int loader_start(struct engine *e, const struct loader_order *o,
    int *ret_sock, int *ret_pidfd, struct imgd_error **err);

#endif
