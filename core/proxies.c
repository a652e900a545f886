#include "config.h"

#include <stdlib.h>

#include "core/proxies.h"

/* The first that is set; "" is as good as unset. */
static const char *
first(const char *a, const char *b, const char *c)
{
	const char *const names[] = { a, b, c };
	size_t i;

	for (i = 0; i < 3; i++) {
		const char *value = names[i] != NULL ? getenv(names[i]) : NULL;

		if (value != NULL && *value != '\0')
			return value;
	}
	return NULL;
}

struct proxies
proxies_of_environment(void)
{
	/* What a web server calls HTTP_PROXY is its client's header. */
	const char *http = getenv("REQUEST_METHOD") == NULL ? "HTTP_PROXY"
							    : NULL;

	return (struct proxies) {
		.http = first("http_proxy", http, "all_proxy"),
		.https = first("https_proxy", "HTTPS_PROXY", "all_proxy"),
		.none = first("no_proxy", "NO_PROXY", NULL),
	};
}
