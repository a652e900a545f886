/*
 * What driver tests share: a driver module loaded as imgd loads it, a store
 * in a fresh directory, and a mount namespace of the test's own.
 */
#ifndef TESTS_DRIVER_HARNESS_H
#define TESTS_DRIVER_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "imgd/driver.h"

#define ID_SIZE 65

struct store {
	char dir[512];  /* fresh, removed at the end */
	char *home;     /* owned: dir/home */
	struct imgd_env env;
	const struct imgd_driver *d;
	void *h;
	int n_fds; /* open before the test */
	uint32_t whiteouts; /* of own_dir, once layer_fill has asked */
	bool is_damaged; /* the test leaves problems behind */
};

/* 1: the store's cancelled() says so. */
extern int harness_cancelled;
/* Warnings logged so far. */
extern int harness_warnings;
/* What stores are opened with; they lie below $IMGD_TEST_STORES, or below the
 * build directory. */
extern const struct imgd_option *harness_options;
extern uint32_t harness_n_options;

/* For main: become able to mount, or say why not and exit with 77. */
void harness_start(void);

/* cmocka setup and teardown; teardown fails if a mount, a descriptor or a
 * problem that check finds is left. */
int store_setup(void **state);
int store_teardown(void **state);
/* Which module they load. */
extern const char *harness_driver;

/* Close and open again, as a new process would. */
void store_reopen(struct store *s, uint32_t flags);

/* The n-th id. */
const char *id_of(unsigned int n);

/* Succeed, or fail the test with the error's message. */
#define ok(call)                                                             \
	do {                                                                 \
		struct imgd_error *ok_err = NULL;                            \
		int ok_r = (call);                                           \
		if (ok_r < 0)                                                \
			fail_msg("%s: %s", #call, imgd_error_msg(ok_err));   \
		assert_null(ok_err);                                         \
	} while (0)

/* Fail with exactly -code and a message. */
#define fails(code, call)                                                    \
	do {                                                                 \
		struct imgd_error *ok_err = NULL;                            \
		int ok_r = (call);                                           \
		assert_int_equal(ok_r, -(code));                             \
		assert_non_null(ok_err);                                     \
		assert_int_equal(imgd_error_code(ok_err), code);             \
		imgd_error_free(ok_err);                                     \
	} while (0)

#define sys(call) harness_sys((call), #call, __FILE__, __LINE__)
int harness_sys(int r, const char *call, const char *file, int line);

/* Make a layer: staged. */
void layer_create(struct store *s, const char *id, const char *parent);
/* The directory to fill a staged layer in, and the end of that. */
int layer_fill(struct store *s, const char *id);
void layer_filled(struct store *s, const char *id, int fd);
void layer_seal(struct store *s, const char *id);
/* The layer's tree, and the end of looking at it. */
int layer_look(struct store *s, const char *id);
void layer_looked(struct store *s, const char *id, int fd);

/* Make what a deletion looks like in a layer_fill directory. */
void hide(struct store *s, int fd, const char *name);

void put_file(int fd, const char *name, const char *text);
/* The file's text in a static buffer; NULL if it is not there. */
const char *get_text(int fd, const char *name);
int count_entries(int fd);

/* What list says of id: its state with flags; 0 if it does not list it. */
uint32_t listed_state(struct store *s, const char *id);
/* How many layers are listed; fails if a parent comes before a child. */
int listed_count(struct store *s);

/* check's result and the number of problems it told. */
int check_store(struct store *s, uint32_t flags, int *ret_told);

#endif
