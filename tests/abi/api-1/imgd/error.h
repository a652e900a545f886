/*
 * imgd/error.h: errors across the driver line.
 *
 * A function that can fail returns an int, >= 0 for success and a negative
 * code for failure, and takes "struct imgd_error **err" as its last argument.
 * Failure always sets *err, success never touches it.  err may be NULL when
 * the caller does not care; *err must be NULL on entry.
 *
 * Codes are errno values or one of IMGD_E_*.  They are for programs; the
 * message is for people: one line that names the object and the cause.
 *
 * These functions exist once, in the imgd program; a module links no copy.
 */
#ifndef IMGD_ERROR_H
#define IMGD_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define IMGD_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define IMGD_EXPORT __attribute__((visibility("default")))
#else
#define IMGD_PRINTF(fmt, args)
#define IMGD_EXPORT
#endif

/* Codes of our own, beside errno's. */
#define IMGD_E_DIGEST    1024 /* content does not have the digest expected */
#define IMGD_E_FORMAT    1025 /* malformed archive, document or stream */
#define IMGD_E_LIMIT     1026 /* a limit of imgd was passed */
#define IMGD_E_UNKNOWN   1027 /* the registry does not know that name */
#define IMGD_E_DENIED    1028 /* the registry refused access */
#define IMGD_E_PROTOCOL  1029 /* the other side broke a protocol */
#define IMGD_E_HTTP      1030 /* an HTTP status that nothing else describes */
#define IMGD_E_NET       1031 /* no connection, or it broke */
#define IMGD_E_TLS       1032 /* TLS failed */
#define IMGD_E_RATE      1033 /* too many requests */
#define IMGD_E_PLATFORM  1034 /* no image for the platform wanted */
#define IMGD_E_MEDIATYPE 1035 /* a media type that imgd does not read */
#define IMGD_E_GOING     1036 /* the engine is ending: start over */
#define IMGD_E_CONFLICT  1037 /* refused because of what else refers to it */

struct imgd_error;

/*
 * Set *err to a new error and return -code.
 *
 * code: > 0, an errno value or IMGD_E_*; 0 is a bug and asserted against.
 * fmt: printf format of one line without a newline.
 * If memory is out, *err becomes a static object that says so.
 */
IMGD_EXPORT int imgd_error_set(struct imgd_error **err, int code,
    const char *fmt, ...) IMGD_PRINTF(3, 4);

/*
 * Put "TEXT: " in front of *err's message and return its -code.
 *
 * With err NULL nothing is known, so -EIO is returned: callers that need the
 * code keep the one they got.
 */
IMGD_EXPORT int imgd_error_prefix(struct imgd_error **err, const char *fmt,
    ...) IMGD_PRINTF(2, 3);

/* The positive code of err, which may not be NULL. */
IMGD_EXPORT int imgd_error_code(const struct imgd_error *err);

/* The message of err, owned by err; "unknown error" for NULL. */
IMGD_EXPORT const char *imgd_error_msg(const struct imgd_error *err);

/* Free err; NULL is fine. */
IMGD_EXPORT void imgd_error_free(struct imgd_error *err);

#ifdef __cplusplus
}
#endif

#endif
