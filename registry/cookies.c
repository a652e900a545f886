#include "config.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/strbuf.h"
#include "registry/cookies.h"

#define MAX_COOKIES      32
#define MAX_COOKIE_BYTES 4096

struct cookie {
	char *origin;
	char *pair; /* "NAME=VALUE" */
	size_t name_len;
};

struct cookie_jar {
	pthread_mutex_t mutex;
	struct cookie cookies[MAX_COOKIES];
	size_t n;
};

struct cookie_jar *
cookie_jar_new(void)
{
	struct cookie_jar *jar = calloc(1, sizeof(*jar));

	if (jar != NULL)
		(void)pthread_mutex_init(&jar->mutex, NULL);
	return jar;
}

void
cookie_jar_free(struct cookie_jar *jar)
{
	size_t i;

	if (jar == NULL)
		return;
	for (i = 0; i < jar->n; i++) {
		free(jar->cookies[i].origin);
		explicit_bzero(jar->cookies[i].pair,
		    strlen(jar->cookies[i].pair));
		free(jar->cookies[i].pair);
	}
	(void)pthread_mutex_destroy(&jar->mutex);
	free(jar);
}

/* The place of the cookie of that name, or a free one, or NULL. */
static struct cookie *
place(struct cookie_jar *jar, const char *origin, const char *name,
    size_t name_len)
{
	struct cookie *c;
	size_t i;

	for (i = 0; i < jar->n; i++) {
		c = &jar->cookies[i];
		if (c->name_len == name_len && strcmp(c->origin, origin) == 0 &&
		    memcmp(c->pair, name, name_len) == 0)
			return c;
	}
	return jar->n < MAX_COOKIES ? &jar->cookies[jar->n] : NULL;
}

void
cookie_jar_keep(struct cookie_jar *jar, const char *origin,
    const char *set_cookie)
{
	size_t len = strcspn(set_cookie, ";"), name_len, i;
	struct cookie fresh, *c;

	while (len > 0 && (set_cookie[len - 1] == ' ' ||
			      set_cookie[len - 1] == '\t'))
		len--;
	name_len = strcspn(set_cookie, "=");
	if (name_len == 0 || name_len >= len || len > MAX_COOKIE_BYTES)
		return;
	for (i = 0; i < len; i++)
		if ((unsigned char)set_cookie[i] < 0x20)
			return;
	fresh = (struct cookie) { .origin = strdup(origin),
		.pair = strndup(set_cookie, len), .name_len = name_len };
	(void)pthread_mutex_lock(&jar->mutex);
	c = place(jar, origin, set_cookie, name_len);
	if (c == NULL || fresh.origin == NULL || fresh.pair == NULL) {
		free(fresh.origin);
		free(fresh.pair);
	} else {
		if (c == &jar->cookies[jar->n]) {
			jar->n++;
		} else {
			free(c->origin);
			free(c->pair);
		}
		*c = fresh;
	}
	(void)pthread_mutex_unlock(&jar->mutex);
}

char *
cookie_jar_for(struct cookie_jar *jar, const char *origin)
{
	struct strbuf sb = STRBUF_INIT;
	size_t i;

	(void)pthread_mutex_lock(&jar->mutex);
	for (i = 0; i < jar->n; i++)
		if (strcmp(jar->cookies[i].origin, origin) == 0)
			strbuf_printf(&sb, "%s%s", sb.len > 0 ? "; " : "",
			    jar->cookies[i].pair);
	(void)pthread_mutex_unlock(&jar->mutex);
	return sb.len > 0 ? strbuf_take(&sb) : NULL;
}
