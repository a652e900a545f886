/* In the place of a program that the maker runs, of which only the end of the
 * last line is told: what was not refused, and how much was. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "tests/confine/tries.h"

int
main(void)
{
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *text = NULL;
	char *word, *save;
	unsigned int n_refused = 0;

	(void)tries_run(TRY_TOOL, &err);
	text = strdup(imgd_error_msg(err));
	(void)fputs("tried:", stderr);
	for (word = text != NULL ? strtok_r(text, " ", &save) : NULL;
	     word != NULL; word = strtok_r(NULL, " ", &save)) {
		if (strstr(word, "=DONE") != NULL)
			(void)fprintf(stderr, " %s", word);
		else
			n_refused += strchr(word, '=') != NULL;
	}
	(void)fprintf(stderr, " %u-things=EPERM\n", n_refused);
	_exit(1); /* a leak sanitizer would have the last line */
}
