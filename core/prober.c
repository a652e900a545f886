/*
 * The prober: a worker that does nothing but confine itself, and says what was
 * refused.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/confine.h"
#include "core/role.h"
#include "lib/cleanup.h"

int
imgd_worker_main(int sock, unsigned int what)
{
	cleanup_error struct imgd_error *err = NULL;
	const char *text;

	(void)what;
	text = confine_enter(CONFINE_PROBER, -1, &err) < 0
	    ? imgd_error_msg(err)
	    : confine_missing();
	return write(sock, text, strlen(text)) < 0;
}
