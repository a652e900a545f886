#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#include "drivers/aufs/mount-table.h"
#include "lib/cleanup.h"

void
mount_table_done(struct mount_table *t)
{
	size_t i;

	for (i = 0; i < t->n; i++) {
		free(t->list[i].root);
		free(t->list[i].target);
	}
	free(t->list);
	*t = (struct mount_table){ NULL, 0 };
}

/* Blanks and the like stand as \ooo; proc(5). */
static char *
unescaped(const char *s)
{
	char *copy = strdup(s), *to = copy;

	if (copy == NULL)
		return NULL;
	while (*s != '\0') {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' &&
		    s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 +
			    (s[3] - '0'));
			s += 4;
		} else
			*to++ = *s++;
	}
	*to = '\0';
	return copy;
}

static unsigned long
parse_flags(char *options)
{
	static const struct {
		const char *name;
		unsigned long flag;
	} known[] = {
		{ "ro", MS_RDONLY },
		{ "nosuid", MS_NOSUID },
		{ "nodev", MS_NODEV },
		{ "noexec", MS_NOEXEC },
	};
	unsigned long flags = 0;
	char *save = NULL, *name;
	size_t i;

	for (name = strtok_r(options, ",", &save); name != NULL;
	    name = strtok_r(NULL, ",", &save))
		for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			if (strcmp(known[i].name, name) == 0)
				flags |= known[i].flag;
	return flags;
}

/* "ID PARENT MAJOR:MINOR ROOT TARGET OPTIONS …" */
static int
add_line(struct mount_table *t, char *line, struct imgd_error **err)
{
	struct mount_entry *list, e = { .root = NULL };
	char *fields[6] = { NULL }, *save = NULL;
	unsigned int major_no, minor_no;
	size_t i;

	for (i = 0; i < 6; i++) {
		fields[i] = strtok_r(i == 0 ? line : NULL, " ", &save);
		if (fields[i] == NULL)
			return 0;
	}
	if (sscanf(fields[2], "%u:%u", &major_no, &minor_no) != 2)
		return 0;
	list = reallocarray(t->list, t->n + 1, sizeof(*list));
	if (list == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	t->list = list;
	e.dev = makedev(major_no, minor_no);
	e.flags = parse_flags(fields[5]);
	e.root = unescaped(fields[3]);
	e.target = unescaped(fields[4]);
	list[t->n++] = e;
	return e.root != NULL && e.target != NULL ? 0 :
	    imgd_error_set(err, ENOMEM, "out of memory");
}

int
mount_table_read(struct mount_table *ret, struct imgd_error **err)
{
	cleanup(mount_table_done) struct mount_table t = { NULL, 0 };
	cleanup_fclose FILE *f = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	size_t size = 0;
	int r = 0;

	if (f == NULL)
		return imgd_error_set(err, errno, "/proc/self/mountinfo: %s",
		    strerror(errno));
	while (r == 0 && getline(&line, &size, f) > 0)
		r = add_line(&t, line, err);
	if (r < 0)
		return r;
	*ret = t;
	t = (struct mount_table){ NULL, 0 };
	return 0;
}

const struct mount_entry *
mount_table_at(const struct mount_table *t, const char *target)
{
	size_t i;

	for (i = t->n; i > 0; i--)
		if (strcmp(t->list[i - 1].target, target) == 0)
			return &t->list[i - 1];
	return NULL;
}
