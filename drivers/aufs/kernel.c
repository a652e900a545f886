/*
 * The kernel's aufs.
 *
 * mount(2) takes one page of options and cuts what is longer without a word,
 * so the stack is begun by the mount and continued by remounts.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "drivers/aufs/mount.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"

/* A page of options that is being written. */
struct page {
	char *data; /* owned, zeroed: the kernel copies all of it */
	size_t len;
	size_t room; /* without the NUL */
};

static void
page_done(struct page *p)
{
	free(p->data);
}

static int
no_memory(struct imgd_error **err)
{
	return imgd_error_set(err, ENOMEM, "out of memory");
}

static int
page_init(struct page *p, struct imgd_error **err)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);

	p->data = calloc(1, size);
	if (p->data == NULL)
		return no_memory(err);
	p->len = 0;
	p->room = size - 1;
	return 0;
}

/* Append text unless that would leave less room than reserve. */
static bool
page_add(struct page *p, const char *text, size_t reserve)
{
	size_t len = strlen(text);

	if (p->len + len + reserve > p->room)
		return false;
	memcpy(p->data + p->len, text, len);
	p->len += len;
	return true;
}

static void
page_clear(struct page *p)
{
	memset(p->data, 0, p->len);
	p->len = 0;
}

/* ",dio,dirperm1,xino=…" as far as the kernel has them; malloc'ed. */
static char *
make_options(const struct aufs_stack *s, const struct aufs_limits *limits)
{
	struct strbuf sb = STRBUF_INIT;

	strbuf_puts(&sb, limits->has_dio ? ",dio" : "");
	strbuf_puts(&sb, limits->has_dirperm1 ? ",dirperm1" : "");
	if (limits->xino_dir[0] != '\0') {
		char path[256];

		(void)snprintf(path, sizeof(path), "%s/imgd-%.32s.xino",
		    limits->xino_dir, s->id);
		/* aufs makes it exclusively, and unlinks it itself unless it
		 * is killed in between. */
		(void)unlink(path);
		strbuf_printf(&sb, ",xino=%s", path);
	}
	return strbuf_take(&sb);
}

/* Append branch i, "PREFIX" before it: 1, 0 if the page is full, < 0. */
static int
add_branch(struct page *p, const struct aufs_stack *s, size_t i,
    const char *prefix, size_t reserve, struct imgd_error **err)
{
	cleanup_free char *text = NULL;

	/* Lower branches are read-only, and their whiteouts count. */
	if (asprintf(&text, "%s%s/diff/%s=%s", prefix, s->home,
	    s->branches[i], i == 0 && s->is_rw ? "rw" : "ro+wh") < 0) {
		text = NULL;
		return no_memory(err);
	}
	return page_add(p, text, reserve);
}

/*
 * Fill the page with branches from first on.
 * Returns the number of the next one; at least one fits, or it is -E2BIG.
 */
static int
fill_page(struct page *p, const struct aufs_stack *s, size_t first,
    const char *options, struct imgd_error **err)
{
	const char *begin = first == 0 ? "br:" : "append:";
	const char *next = first == 0 ? ":" : ",append:";
	size_t i;

	page_clear(p);
	for (i = first; i < s->n_branches; i++) {
		int r = add_branch(p, s, i, i == first ? begin : next,
		    strlen(options), err);

		if (r < 0)
			return r;
		if (r == 0)
			break;
	}
	if (i == first)
		return imgd_error_set(err, E2BIG,
		    "aufs: %s is too long a path for the kernel's options",
		    s->home);
	(void)page_add(p, options, 0);
	return (int)i;
}

/* In the options these separate what they stand in. */
static int
check_path(const char *home, struct imgd_error **err)
{
	if (strpbrk(home, ",:=\\") == NULL)
		return 0;
	return imgd_error_set(err, EOPNOTSUPP,
	    "aufs: %s: a path with a comma, colon, equals sign or backslash "
	    "cannot be told to the kernel", home);
}

/* Append what the first mount could not take. */
static int
append_rest(const struct aufs_ops *ops, const struct aufs_stack *s,
    size_t next, struct page *p, struct imgd_error **err)
{
	unsigned long flags = MS_REMOUNT | (s->is_rw ? 0 : MS_RDONLY);

	while (next < s->n_branches) {
		int r = fill_page(p, s, next, "", err);

		if (r < 0)
			return r;
		if (ops->mount("none", s->target, "aufs", flags, p->data) < 0)
			return imgd_error_set(err, errno,
			    "aufs: append branches %zu to %d: %s", next + 1, r,
			    strerror(errno));
		next = (size_t)r;
	}
	return 0;
}

int
aufs_kernel_mount(const struct aufs_ops *ops, const struct aufs_stack *s,
    const struct aufs_limits *limits, struct imgd_error **err)
{
	cleanup(page_done) struct page page = { NULL, 0, 0 };
	cleanup_free char *options = NULL;
	int r = check_path(s->home, err), next = 0;

	if (r < 0)
		return r;
	if (s->n_branches > limits->max_branches)
		return imgd_error_set(err, E2BIG,
		    "aufs: %zu branches, the most are %zu", s->n_branches,
		    limits->max_branches);
	options = make_options(s, limits);
	if (options == NULL)
		return no_memory(err);
	r = page_init(&page, err);
	if (r == 0)
		r = next = fill_page(&page, s, 0, options, err);
	if (r < 0)
		return r;
	if (ops->mount("none", s->target, "aufs", s->is_rw ? 0 : MS_RDONLY,
	    page.data) < 0)
		return imgd_error_set(err, errno, "mount aufs: %s",
		    strerror(errno));
	r = append_rest(ops, s, (size_t)next, &page, err);
	if (r < 0)
		(void)ops->umount(s->target, MNT_DETACH);
	return r;
}

void
aufs_kernel_flush_links(const struct aufs_ops *ops, int home_fd,
    const char *target)
{
	static const char *const programs[] = { "/sbin/auplink",
		"/usr/sbin/auplink", "/usr/bin/auplink" };
	size_t i;

	for (i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		const char *const argv[] = { programs[i], target, "flush",
			NULL };

		if (access(programs[i], X_OK) < 0)
			continue;
		(void)ops->run(programs[i], argv, home_fd, NULL);
		return;
	}
}
