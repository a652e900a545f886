#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/overlay/overlay.h"
#include "lib/cleanup.h"
#include "lib/fail-point.h"
#include "lib/strbuf.h"

int
overlay_layer_path(struct overlay *o, const char *id, const char *name,
    char **ret_path, struct imgd_error **err)
{
	char *path;

	if (asprintf(&path, "%s/%s/%s", o->home, id, name) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	*ret_path = path;
	return 0;
}

int
overlay_read_short(struct overlay *o, const char *id, char ret[SHORT_SIZE],
    struct imgd_error **err)
{
	char path[LAYER_PATH_SIZE], target[32];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%s/link", id);
	n = readlinkat(o->layers.layers_fd, path, target, sizeof(target) - 1);
	if (n != (ssize_t)(5 + SHORT_SIZE - 1) ||
	    memcmp(target, "../l/", 5) != 0)
		return imgd_error_set(err, EUCLEAN,
		    "layer %.12s: its short name is missing or damaged", id);
	target[n] = '\0';
	memcpy(ret, target + 5, SHORT_SIZE);
	return 0;
}

int
overlay_make_short(struct overlay *o, int layer_fd, const char *id,
    struct imgd_error **err)
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
	char target[LAYER_PATH_SIZE], name[SHORT_SIZE], back[16], key[65];
	int r, i, tries;

	(void)snprintf(target, sizeof(target), "../%s/diff", id);
	for (tries = 0; tries < 16; tries++) {
		r = str_random_key(key, err);
		if (r < 0)
			return r;
		for (i = 0; i < SHORT_SIZE - 1; i++)
			name[i] = digits[((unsigned char)key[2 * i] * 16u +
			    (unsigned char)key[2 * i + 1]) & 31];
		name[i] = '\0';
		if (symlinkat(target, o->links_fd, name) == 0)
			break;
		if (errno != EEXIST)
			return imgd_error_set(err, errno,
			    "layer %.12s: make short name: %s", id,
			    strerror(errno));
	}
	if (tries == 16)
		return imgd_error_set(err, EEXIST,
		    "layer %.12s: no free short name found", id);
	FAIL_POINT("overlay-short-made");
	(void)snprintf(back, sizeof(back), "../l/%s", name);
	if (symlinkat(back, layer_fd, "link") < 0) {
		r = imgd_error_set(err, errno, "layer %.12s: %s", id,
		    strerror(errno));
		(void)unlinkat(o->links_fd, name, 0);
		return r;
	}
	return 0;
}

bool
overlay_short_leads(struct overlay *o, const char *id)
{
	char name[SHORT_SIZE], want[LAYER_PATH_SIZE], have[LAYER_PATH_SIZE];
	ssize_t n = -1;

	(void)snprintf(want, sizeof(want), "../%s/diff", id);
	if (overlay_read_short(o, id, name, NULL) == 0)
		n = readlinkat(o->links_fd, name, have, sizeof(have) - 1);
	if (n < 0)
		return false;
	have[n] = '\0';
	return strcmp(have, want) == 0;
}

int
overlay_remake_short(struct overlay *o, const char *id,
    struct imgd_error **err)
{
	cleanup_close int layer_fd = layer_dirs_fd(&o->layers, id, err);

	if (layer_fd < 0)
		return layer_fd;
	(void)unlinkat(layer_fd, "link", 0);
	return overlay_make_short(o, layer_fd, id, err);
}

int
overlay_sweep_links(struct overlay *o, bool remove, imgd_problem_cb *cb,
    void *ctx, struct imgd_error **err)
{
	cleanup_closedir DIR *dir = NULL;
	struct dirent *de;
	struct stat st;
	int fd, n = 0;

	if (o->links_fd < 0)
		return 0;
	fd = openat(o->links_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || (dir = fdopendir(fd)) == NULL) {
		int e = errno;

		cleanup_closep(&fd);
		return imgd_error_set(err, e, "%s: %s", o->links, strerror(e));
	}
	while ((de = readdir(dir)) != NULL) {
		bool gone;

		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0 ||
		    fstatat(o->links_fd, de->d_name, &st, 0) == 0 ||
		    errno != ENOENT)
			continue;
		gone = remove && unlinkat(o->links_fd, de->d_name, 0) == 0;
		n += !gone;
		if (cb != NULL) {
			char text[320];

			(void)snprintf(text, sizeof(text),
			    "short name l/%s leads to no layer", de->d_name);
			cb(ctx, NULL, text, gone);
		}
	}
	return n;
}
