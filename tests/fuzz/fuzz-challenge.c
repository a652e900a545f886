/* WWW-Authenticate, a header a line. */
#include "config.h"

#include "lib/cleanup.h"
#include "registry/challenge.h"
#include "tests/fuzz/fuzz.h"

#define MAX_LINES 8

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	cleanup_free char *s = text_of(data, len);
	struct challenge c = { .has_basic = false };
	char *lines[MAX_LINES], *rest = s, *line;
	size_t n = 0;

	while (n < MAX_LINES && (line = strsep(&rest, "\n")) != NULL)
		lines[n++] = line;
	MUST(challenge_parse(lines, n, &c, NULL) >= 0);
	MUST(!c.has_bearer || c.realm != NULL);
	challenge_done(&c);
	return 0;
}
