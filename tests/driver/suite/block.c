/* Block devices of layers. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/strbuf.h"
#include "tests/driver/suite/suite.h"

static void
make_two(struct store *s)
{
	unsigned int i;

	for (i = 1; i <= 2; i++) {
		struct strbuf tar = STRBUF_INIT;

		tar_dir(&tar, "d/");
		tar_file(&tar, i == 1 ? "d/one" : "two", "text");
		tar_put(&tar, &(struct tar_item) { .name = "fifo",
		    .type = '6', .uid = i });
		tar_end(&tar);
		layer_from_tar(s, id_of(i), i > 1 ? id_of(1) : NULL, &tar);
		strbuf_done(&tar);
	}
}

/* Mount a device by whatever filesystem is on it. */
static void
mount_device(const char *device, const char *target)
{
	static const struct {
		const char *type, *data;
	} tries[] = { { "ext4", "noload" }, { "xfs", "nouuid,norecovery" },
		{ "btrfs", NULL }, { "erofs", NULL }, { "squashfs", NULL } };
	size_t i;

	for (i = 0; i < sizeof(tries) / sizeof(tries[0]); i++)
		if (mount(device, target, tries[i].type,
			MS_RDONLY | MS_NODEV | MS_NOSUID, tries[i].data) == 0)
			return;
	fail("%s: no filesystem on it can be mounted: %s", device,
	    strerror(errno));
}

static void
device_holds_the_tree(struct store *s)
{
	char *device, *again, target[500];
	struct stat st;
	int fd, wanted;

	make_two(s);
	device = layer_get(s, id_of(2), IMGD_GET_BLOCK);
	sys(stat(device, &st));
	expect(S_ISBLK(st.st_mode));
	again = layer_get(s, id_of(2), IMGD_GET_BLOCK);
	expect_str(again, device);
	free(again);
	(void)snprintf(target, sizeof(target), "%s/elsewhere", s->dir);
	sys(mkdir(target, 0755));
	/* The journal of its filesystem is empty: it is not replayed here. */
	mount_device(device, target);
	wanted = layer_look(s, id_of(2));
	fd = open_dir(target);
	expect_same(fd, wanted, SAME_ALL, "the device's filesystem");
	(void)close(fd);
	layer_looked(s, id_of(2), wanted);
	/* Counted apart: the tree's end is not the device's. */
	fd = open_dir(target);
	expect_str(get_text(fd, "two"), "text");
	(void)close(fd);
	sys(umount2(target, 0));
	sys(stat(device, &st));
	layer_put(s, id_of(2), IMGD_GET_BLOCK);
	expect(stat(device, &st) < 0);
	free(device);
}

static void
device_of_a_sealed_layer_cannot_be_written(struct store *s)
{
	char *device, block[4096] = "";
	int fd;

	make_two(s);
	device = layer_get(s, id_of(1), IMGD_GET_BLOCK);
	fd = open(device, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		expect(write(fd, block, sizeof(block)) < 0 || fsync(fd) < 0);
		(void)close(fd);
	}
	free(device);
	layer_put(s, id_of(1), IMGD_GET_BLOCK);
}

static void
open_devices_are_busy(struct store *s)
{
	struct imgd_error *err = NULL;
	struct stat st;
	char *device;
	int fd, r;

	make_two(s);
	device = layer_get(s, id_of(2), IMGD_GET_BLOCK);
	fd = sys(open(device, O_RDONLY | O_CLOEXEC));
	r = s->d->put(s->h, id_of(2), IMGD_GET_BLOCK, &err);
	if (r < 0) {
		expect_int(r, -EBUSY);
		imgd_error_free(err);
		err = NULL;
		r = s->d->remove(s->h, id_of(2), &err);
		expect_int(r, -EBUSY);
		imgd_error_free(err);
		expect(layer_exists(s, id_of(2)));
		(void)close(fd);
		/* It was not put, so it is nothing that nobody uses. */
		if (s->d->cleanup != NULL)
			(void)s->d->cleanup(s->h, NULL);
		sys(stat(device, &st));
		layer_put(s, id_of(2), IMGD_GET_BLOCK);
	} else {
		(void)close(fd);
	}
	free(device);
	fd = layer_look(s, id_of(2));
	expect_str(get_text(fd, "two"), "text");
	layer_looked(s, id_of(2), fd);
	layer_remove(s, id_of(2));
}

static void
devices_are_adopted(struct store *s)
{
	struct stat st;
	char *device, *again;

	make_two(s);
	device = layer_get(s, id_of(2), IMGD_GET_BLOCK);
	store_reopen(s, 0);
	sys(stat(device, &st));
	again = layer_get(s, id_of(2), IMGD_GET_BLOCK);
	expect_str(again, device);
	free(again);
	store_cleanup(s);
	sys(stat(device, &st));
	layer_put(s, id_of(2), IMGD_GET_BLOCK);
	store_cleanup(s);
	expect(stat(device, &st) < 0);
	free(device);
	free(layer_get(s, id_of(2), IMGD_GET_BLOCK));
	store_reopen(s, 0);
	layer_remove(s, id_of(2));
}

const struct suite_case block_cases[] = {
	CASE(device_holds_the_tree, IMGD_CAP_BLOCKDEV, 0),
	CASE(device_of_a_sealed_layer_cannot_be_written, IMGD_CAP_BLOCKDEV,
	    NEED_SEAL),
	CASE(open_devices_are_busy, IMGD_CAP_BLOCKDEV, 0),
	CASE(devices_are_adopted, IMGD_CAP_BLOCKDEV, 0),
	CASES_END,
};
