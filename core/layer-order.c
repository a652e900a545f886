#include "config.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/layer-order.h"

int
layer_order_take(struct message *m, uint32_t *ret_layer, int *ret_fd,
    struct imgd_error **err)
{
	uint32_t i, n_urls;

	*ret_layer = message_get_u32(m);
	(void)message_get_str(m);
	(void)message_get_u64(m);
	(void)message_get_str(m);
	n_urls = message_get_u32(m);
	for (i = 0; i < n_urls && !m->is_bad; i++)
		(void)message_get_str(m);
	*ret_fd = message_get_fd(m);
	/* No file: there is no blob to keep. */
	if (message_get_u32(m) != 0)
		m->is_bad = true;
	return message_end(m, err);
}

int
layer_order_write(int fd, const void *data, uint64_t len,
    struct imgd_error **err)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return imgd_error_set(err,
			    errno == EPIPE ? ECANCELED : errno,
			    "write to unpacker: %s", strerror(errno));
		p += n;
		len -= (uint64_t)n;
	}
	return 0;
}
