/*
 * A request being served: from its head to the last byte of its answer.
 *
 * Two threads know it: the HTTP module's, which must not block, and that of
 * the job it became.  It lives until both have let go.
 */
#ifndef SERVER_EXCHANGE_H
#define SERVER_EXCHANGE_H

#include <pthread.h>
#include <stdbool.h>

#include "core/engine.h"
#include "core/job.h"
#include "lib/strbuf.h"
#include "server/http.h"
#include "server/request.h"
#include "server/waiter.h"

struct exchange;

/* How a job's output and result become an answer. */
enum answer_kind {
	ANSWER_STREAM, /* the output, as it comes; a failure is a part of it */
	ANSWER_LIST,   /* the output's objects as one array */
	ANSWER_RESULT, /* the result, a JSON text */
	ANSWER_MADE,   /* likewise, with 201 */
	ANSWER_JOB,    /* ANSWER_STREAM, and the result as its last object */
	ANSWER_CREATED, /* 201, nothing more */
	ANSWER_EMPTY,  /* 204 */
	ANSWER_FILE,   /* what the job writes to its descriptor */
};

enum body_kind {
	BODY_NONE,  /* read and ignored */
	BODY_SMALL, /* kept, up to LIMIT_REQUEST_BODY_BYTES */
	BODY_JOB,   /* the job reads it from its descriptor */
};

/* Answers at once, or makes a job.  Called when the body is there; with
 * BODY_JOB, before.  A failure becomes the answer. */
typedef int route_fn(struct exchange *x, struct imgd_error **err);

struct route {
	const char *method; /* "*": any */
	const char *pattern; /* see request_matches() */
	route_fn *run;
	enum body_kind body;
};

/* The table, ended by a NULL method; the first match counts. */
extern const struct route routes[];

/* What a finished job's result is turned into; NULL: sent as it is.  out is
 * empty. */
typedef void result_fn(struct exchange *x, const char *result,
    struct strbuf *out);

struct exchange {
	struct engine *engine;
	const struct http_module *module;
	struct waiter *waiter;

	/* the module's thread alone, and a route function */
	struct request request;
	const struct route *route;
	char *name;         /* what the route's star stands for */
	struct strbuf body; /* of BODY_SMALL */
	size_t n_body;
	struct job *job; /* made, not yet started */
	struct job_peer peer;
	bool has_metrics;
	bool is_ping;    /* its answer is not to be cached */
	bool is_login;   /* who is refused is unauthorized */

	pthread_mutex_t mutex; /* for the fields below */
	pthread_cond_t changed;
	unsigned int n_refs;
	struct http_exchange *http; /* NULL: the client is gone */
	enum answer_kind kind;
	result_fn *convert;
	const char *result_type; /* of ANSWER_RESULT; NULL: JSON */
	unsigned int status; /* 0: no answer yet */
	const char *content_type;
	struct strbuf out;  /* the body, or what waits to be read */
	size_t n_read;      /* of out */
	bool is_streaming;  /* the head is committed to a stream */
	bool is_ended;      /* nothing more comes */
	bool is_broken;     /* and what came is not whole */
	bool has_output;
	int in_fd;  /* BODY_JOB: to the job */
	int out_fd; /* ANSWER_FILE: from it */
};

/* The table for the HTTP module; its ctx is a struct exchange_context. */
extern const struct http_handler exchange_handler;

struct exchange_context {
	struct engine *engine;
	const struct http_module *module;
	struct waiter *waiter;
	bool has_metrics;
};

/* ---- for route functions ---- */

/* Answer with a body; data is copied. */
void exchange_answer(struct exchange *x, unsigned int status,
    const char *content_type, const char *data);
void exchange_answer_json(struct exchange *x, unsigned int status,
    const char *json);
/* Send the head of the job's stream before its first output. */
void exchange_commit(struct exchange *x);
/* The answer to a failure. */
void exchange_fail(struct exchange *x, int code, const char *message);

/* Make x's job; arguments and environment follow, then exchange_run(). */
int exchange_job(struct exchange *x, const char *name, enum answer_kind kind,
    struct imgd_error **err);
int exchange_run(struct exchange *x, struct imgd_error **err);

/* A header of the request, or NULL. */
const char *exchange_header(struct exchange *x, const char *name);

#endif
