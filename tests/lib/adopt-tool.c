/*
 * Other engines' directories from scripts:
 *
 *     adopt-tool list DIR                 ID DRIVER [step] NAME… for each image
 *     adopt-tool image DIR DRIVER ID      its config
 *     adopt-tool layers DIR DRIVER ID     its diff_ids
 *     adopt-tool layer DIR DRIVER ID N    the tar of one layer
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adopt/adopt.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"

static int
list(struct adopt *a, struct imgd_error **err)
{
	struct adopt_images images = { NULL, 0 };
	int r = adopt_list(a, &images, err);
	size_t i, k;

	for (i = 0; r >= 0 && i < images.n; i++) {
		const struct adopt_image *img = &images.items[i];

		(void)printf("%s %s%s", img->id, img->driver,
		    img->is_step ? " step" : "");
		for (k = 0; k < img->n_names; k++)
			(void)printf(" %s", img->names[k]);
		(void)printf("\n");
	}
	adopt_images_done(&images);
	return r;
}

static int
write_out(void *ctx, const void *data, uint64_t len, struct imgd_error **err)
{
	(void)ctx;
	return fs_write_all(STDOUT_FILENO, data, len, err);
}

static int
show(struct adopt *a, int argc, char **argv, struct imgd_error **err)
{
	struct imgd_sink sink = { sizeof(sink), NULL, write_out };
	cleanup(adopt_found_freep) struct adopt_found *f = NULL;
	uint64_t n_bytes;
	size_t i;
	int r;

	r = adopt_find(a, argv[3], argv[4], &f, err);
	if (r < 0)
		return r;
	if (strcmp(argv[1], "image") == 0)
		return fs_write_all(STDOUT_FILENO, f->config, f->config_len,
		    err);
	for (i = 0; strcmp(argv[1], "layers") == 0 && i < f->n_layers; i++)
		(void)printf("%s\n", f->layers[i].diff_id);
	if (strcmp(argv[1], "layer") != 0)
		return 0;
	i = argc > 5 ? strtoul(argv[5], NULL, 10) : 0;
	if (i >= f->n_layers)
		return imgd_error_set(err, EINVAL, "no such layer");
	return adopt_write_layer(f, i, &sink, &n_bytes, err);
}

int
main(int argc, char **argv)
{
	cleanup_error struct imgd_error *err = NULL;
	cleanup(adopt_closep) struct adopt *a = NULL;
	cleanup_close int dir_fd = -EBADF;
	int r;

	if (argc < 3 || (argc < 5 && strcmp(argv[1], "list") != 0)) {
		(void)fprintf(stderr, "adopt-tool: wrong usage\n");
		return 2;
	}
	dir_fd = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0) {
		perror(argv[2]);
		return 1;
	}
	r = adopt_open(dir_fd, &a, &err);
	if (r >= 0)
		r = strcmp(argv[1], "list") == 0 ? list(a, &err)
						 : show(a, argc, argv, &err);
	if (r >= 0)
		return 0;
	(void)fprintf(stderr, "adopt-tool: %s\n", imgd_error_msg(err));
	return 1;
}
