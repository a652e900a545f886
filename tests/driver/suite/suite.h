/*
 * What the suite's cases share.
 *
 * A case runs in a process of its own, on a fresh store in a fresh directory.
 * It ends by returning, which is success, or by case_fail(), which does not
 * return.  What it leaves behind - mounts, devices, processes, descriptors,
 * files, problems that the driver's own check finds - fails it, too.
 */
#ifndef SUITE_SUITE_H
#define SUITE_SUITE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "core/driver-suite.h"
#include "imgd/driver.h"

#define ID_SIZE 65

struct store {
	const struct imgd_driver *d;
	void *h; /* NULL while closed */
	struct imgd_env env;
	char dir[400];  /* this case's own; home and run_dir are below it */
	char home[420];
	char run[420];
	uint32_t threads, caps, max_depth; /* narrowed */
	/* The case leaves problems behind, or a store that cannot be opened:
	 * its end looks for leaks alone. */
	bool is_damaged;
};

/* What a case needs besides capabilities: operations that may be NULL. */
#define NEED_SEAL     (1u << 0)
#define NEED_LIST     (1u << 1)
#define NEED_REPLACE  (1u << 2)
#define NEED_CHECK    (1u << 3)
#define NEED_OWN_DIR  (1u << 4)
#define NEED_TREES    (1u << 5) /* own_dir is NULL */
#define NEED_STATUS   (1u << 6)
#define NEED_METADATA (1u << 7)
#define NEED_DIFF     (1u << 8)
#define NEED_CHANGES  (1u << 9)
#define NEED_SIZE     (1u << 10)
#define NEED_APPLY    (1u << 11)
#define NEED_OPTIONS  (1u << 12) /* options_help: it has options */
#define NEED_UNPACKED (1u << 13) /* apply_diff is NULL */

struct suite_case {
	const char *name;
	void (*run)(struct store *s);
	uint32_t caps;  /* all of these */
	uint32_t needs; /* all of these */
	uint32_t lacks; /* none of these caps */
};

#define CASE(f, caps, needs)           { #f, f, (caps), (needs), 0 }
#define CASE_LACKING(f, lacks, needs)  { #f, f, 0, (needs), (lacks) }
#define CASES_END                      { NULL, NULL, 0, 0, 0 }

extern const struct suite_case life_cases[], state_cases[], content_cases[],
    whiteout_cases[], archive_cases[], changes_cases[], rw_cases[],
    thread_cases[], crash_cases[], mount_cases[], space_cases[], block_cases[],
    repair_cases[], native_cases[];

/* Of this run; set before the first case. */
extern const struct driver_suite_params *suite;

/* ---- failing: fail.c ---- */

/* End the case: "FILE:LINE: text" becomes its diagnostic. */
void case_fail(const char *file, int line, const char *fmt, ...)
    __attribute__((noreturn)) IMGD_PRINTF(3, 4);
/* What has been said so far, and forgetting it. */
const char *case_diagnostic(void);
void case_diagnostic_clear(void);
int case_diagnostic_init(void);

#define fail(...) case_fail(__FILE__, __LINE__, __VA_ARGS__)

#define expect(claim)                                                        \
	do {                                                                 \
		if (!(claim))                                                \
			fail("not so: %s", #claim);                          \
	} while (0)

#define expect_int(a, b)                                                     \
	do {                                                                 \
		long long ei_a = (long long)(a), ei_b = (long long)(b);      \
		if (ei_a != ei_b)                                            \
			fail("%s is %lld, not %s = %lld", #a, ei_a, #b,      \
			    ei_b);                                           \
	} while (0)

#define expect_str(a, b)                                                     \
	do {                                                                 \
		const char *es_a = (a), *es_b = (b);                         \
		if (es_a == NULL || strcmp(es_a, es_b) != 0)                 \
			fail("%s is \"%.100s\", not \"%.100s\"", #a,         \
			    es_a != NULL ? es_a : "(missing)", es_b);        \
	} while (0)

/* Succeed and leave the error alone. */
#define ok(call)                                                             \
	do {                                                                 \
		struct imgd_error *ok_err = NULL;                            \
		int ok_r = (call);                                           \
		if (ok_r < 0)                                                \
			fail("%s: %d: %s", #call, ok_r,                      \
			    ok_err != NULL ? imgd_error_msg(ok_err)          \
					   : "and no error is set");         \
		if (ok_err != NULL)                                          \
			fail("%s: success, but it set an error: %s", #call,  \
			    imgd_error_msg(ok_err));                         \
	} while (0)

/* Fail with exactly -code, and say why. */
#define fails(code, call)                                                    \
	do {                                                                 \
		struct imgd_error *ok_err = NULL;                            \
		int ok_r = (call);                                           \
		case_failed_call(__FILE__, __LINE__, #call, ok_r, (code),    \
		    ok_err);                                                 \
	} while (0)

/* Fail with any code, and say why. */
#define refused(call) fails(0, call)

/* Check what a call that has to fail gave; frees err.  code 0: any. */
void case_failed_call(const char *file, int line, const char *call, int r,
    int code, struct imgd_error *err);

/* A system call of the suite's own. */
#define sys(call) case_sys((call), #call, __FILE__, __LINE__)
int case_sys(int r, const char *call, const char *file, int line);

/* ---- stores and layers: store.c ---- */

/* Make a store's directories and environment below dir; not open yet. */
void store_init(struct store *s, const struct imgd_driver *d,
    const char *dir);
/* Like core: probe when the store is new, open, narrow. */
void store_probe_and_open(struct store *s);
void store_open(struct store *s, uint32_t flags);
/* Close without cleanup, as a process's end does. */
void store_close(struct store *s);
/* An orderly end. */
void store_end(struct store *s);
/* Close and open again, as a new process would. */
void store_reopen(struct store *s, uint32_t flags);
/* Look for problems, end, and give back the environment. */
void store_finish(struct store *s);
/* A second store beside s, of the reference driver. */
void store_reference(struct store *s, struct store *ret);

/* 1: cancelled() says so. */
extern int store_cancelled;

/* The n-th id; 16 are valid at a time in each thread. */
const char *id_of(unsigned int n);

void layer_create(struct store *s, const char *id, const char *parent);
void layer_create_rw(struct store *s, const char *id, const char *parent);
/* The directory to fill a staged layer in, and the end of that. */
int layer_fill(struct store *s, const char *id);
void layer_filled(struct store *s, const char *id, int fd);
void layer_seal(struct store *s, const char *id);
/* The layer's tree, and the end of looking at it. */
int layer_look(struct store *s, const char *id);
void layer_looked(struct store *s, const char *id, int fd);
char *layer_get(struct store *s, const char *id, uint32_t kind);
void layer_put(struct store *s, const char *id, uint32_t kind);
void layer_remove(struct store *s, const char *id);
bool layer_exists(struct store *s, const char *id);
void store_flush(struct store *s);
void store_cleanup(struct store *s);

/* What list says of id: its state with flags, 0 if it does not list it. */
uint32_t listed_state(struct store *s, const char *id);
/* Whether list says that id has this state; true without list. */
bool is_listed_as(struct store *s, const char *id, uint32_t state);
/* Fail unless n layers are listed, each after its children; nothing to do
 * without list. */
void expect_listed(struct store *s, int n);
/* check's result; *ret_told problems were reported, ret_told may be NULL.
 * 0 for a driver without check. */
int check_store(struct store *s, uint32_t flags, int *ret_told);
/* Remove all that is listed; without list, ids 1 to n. */
void store_remove_all(struct store *s, unsigned int n);

/* ---- files: files.c ---- */

void put_file(int fd, const char *name, const char *text);
void put_bytes(int fd, const char *name, unsigned int seed, size_t len);
bool has_bytes(int fd, const char *name, unsigned int seed, size_t len);
/* The file's text in a static buffer; NULL if it is not there. */
const char *get_text(int fd, const char *name);
bool is_there(int fd, const char *name);
/* Entries, without lost+found. */
int count_entries(int fd);
int open_dir(const char *path);
int open_dir_at(int fd, const char *name);
void set_mtime(int fd, const char *name, int64_t s, long ns);
void set_xattr(int fd, const char *name, const char *attr, const void *value,
    size_t len);
void remove_tree(int fd, const char *name);
/* A fresh directory in the case's own one, made and opened. */
int make_flat(struct store *s, const char *name);
/* Copy a whole tree; name is made below dir_fd. */
void copy_flat(int src_fd, int dir_fd, const char *name);

#define SAME_TIMES  (1u << 0) /* modification times, too */
#define SAME_XATTRS (1u << 1)
#define SAME_ALL    (SAME_TIMES | SAME_XATTRS)
/* Fail unless two trees are alike; what says which they are. */
void same_tree(const char *file, int line, int fd, int wanted_fd,
    uint32_t flags, const char *what);
#define expect_same(fd, wanted_fd, flags, what)                              \
	same_tree(__FILE__, __LINE__, fd, wanted_fd, flags, what)
/* NULL if two trees are alike, else where they differ, in a static buffer. */
const char *tree_difference(int fd, int wanted_fd, uint32_t flags);

/* ---- tars: tar-make.c, tar-diff.c, layer-tar.c ---- */

struct strbuf;

struct tar_xattr {
	const char *name;
	const void *value;
	size_t len;
};

/* One entry; zero is a usual value for most. */
struct tar_item {
	const char *name;
	char type; /* '0' … '6'; 0 is '0' */
	mode_t mode; /* 0: 0644, directories 0755 */
	uid_t uid;
	gid_t gid;
	int64_t mtime;
	long nsec;
	const char *link;
	dev_t rdev;
	const void *data; /* NULL with len > 0: that many zeros */
	size_t len;
	const struct tar_xattr *xattrs;
	size_t n_xattrs;
};

void tar_put(struct strbuf *tar, const struct tar_item *item);
void tar_file(struct strbuf *tar, const char *name, const char *text);
void tar_dir(struct strbuf *tar, const char *name);
/* An empty file, as whiteouts are. */
void tar_mark(struct strbuf *tar, const char *name);
/* A file of len bytes with data at its end alone, in the pax 1.0 form. */
void tar_sparse(struct strbuf *tar, const char *name, uint64_t len,
    const char *data);
void tar_end(struct strbuf *tar);

/* The layer that makes new_fd's tree out of old_fd's; old_fd -1: a base. */
void tar_of_changes(struct strbuf *tar, int old_fd, int new_fd);

struct layer_tar {
	int recipe_fd;     /* to be closed; -EBADF without a recipe */
	bool asked_parent; /* need_parent was called */
};

/* Create, unpack as a worker does, put; not sealed.  ret may be NULL. */
void layer_unpack(struct store *s, const char *id, const char *parent,
    const struct strbuf *tar, struct layer_tar *ret);
/* The same in two steps. */
void layer_unpack_into(struct store *s, const char *id, const char *parent,
    const struct strbuf *tar, struct layer_tar *ret);
/* layer_unpack and seal. */
void layer_from_tar(struct store *s, const char *id, const char *parent,
    const struct strbuf *tar);
/* Fail unless the layer's tree and recipe give exactly tar. */
void expect_packed(struct store *s, const char *id, int recipe_fd,
    const struct strbuf *tar);

#endif
