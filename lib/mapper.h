/*
 * The device-mapper, behind a table so that tests can put a fake there.
 *
 * The real table is libdevmapper, which is not thread-safe: one mutex is held
 * for each call, never while waiting for udev.  Any thread.
 */
#ifndef LIB_MAPPER_H
#define LIB_MAPPER_H

#include <stdbool.h>
#include <stdint.h>

#include "imgd/error.h"

#define MAPPER_NAME_SIZE   128  /* the kernel's limit, with the NUL */
#define MAPPER_UUID_SIZE   129
#define MAPPER_PARAMS_SIZE 1024 /* of one target's status or table line */

/* What is known of a device by its name. */
struct mapper_info {
	bool exists;
	bool has_table; /* not so after a crash in the middle of create */
	bool is_suspended;
	bool is_readonly;
	bool is_going; /* removed as soon as nobody has it open */
	int open_count;
	uint32_t major, minor;
	char uuid[MAPPER_UUID_SIZE];
};

/* A device of one target. */
struct mapper_device {
	const char *name;
	const char *uuid;
	const char *target; /* "thin", "thin-pool" */
	const char *params;
	uint64_t sectors;
	bool is_readonly;
};

/* A target's status or table line. */
struct mapper_line {
	uint64_t sectors;
	char target[32];
	char params[MAPPER_PARAMS_SIZE];
};

/* Nonzero stops the walk and becomes its result. */
typedef int mapper_name_cb(void *ctx, const char *name);

struct mapper_ops {
	/* Begin and end the use of the library; calls nest. */
	int (*start)(struct imgd_error **err);
	void (*stop)(void);
	/* The kernel's and the library's version, and whether udev is told. */
	int (*versions)(char ret_kernel[32], char ret_library[64],
	    bool *ret_udev, struct imgd_error **err);
	/* A missing device is no error here: exists is false. */
	int (*info)(const char *name, struct mapper_info *ret,
	    struct imgd_error **err);
	int (*create)(const struct mapper_device *d, struct imgd_error **err);
	/* Give an active device a new table. */
	int (*reload)(const struct mapper_device *d, struct imgd_error **err);
	int (*resume)(const char *name, struct imgd_error **err);
	/* -EBUSY; a missing device is success.  is_deferred: go when the last
	 * user has closed it. */
	int (*remove)(const char *name, bool is_deferred,
	    struct imgd_error **err);
	/* Error codes are the kernel's: -EEXIST, -ENODATA, -EINVAL, … */
	int (*message)(const char *name, const char *text,
	    struct imgd_error **err);
	int (*status)(const char *name, struct mapper_line *ret,
	    struct imgd_error **err);
	int (*table)(const char *name, struct mapper_line *ret,
	    struct imgd_error **err);
	/* Names of all devices. */
	int (*names)(mapper_name_cb *cb, void *ctx, struct imgd_error **err);
	/* Remove nodes with the prefix whose devices are gone: without udev a
	 * crash may leave some. */
	void (*tidy)(const char *prefix);
};

extern const struct mapper_ops mapper_kernel_ops;

#endif
