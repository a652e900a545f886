/*
 * Session cookies of version 1 registries.
 *
 * They are secrets: unlike a browser's, a cookie goes back to the very origin
 * (scheme, host, port) that set it and nowhere else, whatever its attributes
 * say.
 */
#ifndef REGISTRY_COOKIES_H
#define REGISTRY_COOKIES_H

struct cookie_jar;

/* NULL if memory is out. */
struct cookie_jar *cookie_jar_new(void);
void cookie_jar_free(struct cookie_jar *jar);

/* Keep what a Set-Cookie header's value says; nonsense, and more than anybody
 * needs, is dropped.  Any thread. */
void cookie_jar_keep(struct cookie_jar *jar, const char *origin,
    const char *set_cookie);

/* The value of a Cookie header for origin, malloc'ed; NULL: none. */
char *cookie_jar_for(struct cookie_jar *jar, const char *origin);

#endif
