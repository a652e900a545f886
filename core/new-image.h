/* Images that are made here: what import and commit share. */
#ifndef CORE_NEW_IMAGE_H
#define CORE_NEW_IMAGE_H

#include <json-c/json.h>

#include "core/job.h"
#include "registry/reference.h"

/*
 * Read the name that a new image is to get.
 *
 * verb: for messages.  typed: NULL or "": none; then ref is left alone and
 * *ret_name is NULL.  ret_name: the repository's whole name, malloc'ed.
 */
int new_image_name(const char *verb, const char *typed, struct reference *ref,
    char **ret_name, struct imgd_error **err);

/* The time of now, as Docker writes times; NULL if memory is out. */
struct json_object *new_image_time(void);

/* The job's variable of that name, for a config; *ret is NULL if it is unset.
 * -EINVAL if it is no UTF-8. */
int new_image_text(const struct job *job, const char *key, const char **ret,
    struct imgd_error **err);

/* The image is there: tell the job's client its id, and everybody that it got
 * that name, if it did. */
void new_image_report(struct job *job, const char *id,
    const struct reference *ref);

#endif
