#include "config.h"

#include <poll.h>
#include <string.h>

#include "core/job.h"
#include "core/protocol.h"
#include "lib/message.h"

const struct job_type job_types[] = {
	{ "pull", job_pull, 1, 1 },
	{ "login", job_login, 1, 1 },
	{ "search", job_search, 2, 2 },
	{ "push", job_push, 1, 1 },
	{ "tag", job_tag, 2, 2 },
	{ "rmi", job_rmi, 1, JOB_MAX_ARGS },
	{ "mount", job_mount, 1, 2 },
	{ "umount", job_umount, 1, 1 },
	{ "create", job_create, 2, 2 },
	{ "rm", job_rm, 1, 1 },
	{ "diff", job_diff, 1, 1 },
	{ "fsck", job_fsck, 0, 0 },
	{ "migrate", job_migrate, 0, JOB_MAX_ARGS },
	{ "adopt", job_adopt, 1, JOB_MAX_ARGS },
	{ NULL, NULL, 0, 0 },
};

const char *
job_getenv(const struct job *job, const char *key)
{
	size_t i;

	for (i = 0; i < job->n_env; i++)
		if (strcmp(job->env[i].key, key) == 0)
			return job->env[i].value[0] != '\0'
			    ? job->env[i].value
			    : NULL;
	return NULL;
}

void
job_output(struct job *job, const char *json)
{
	struct message m;

	message_init(&m, JOB_OUTPUT);
	message_put_str(&m, json);
	(void)message_send(job->sock, &m, NULL);
}

bool
job_is_abandoned(const struct job *job)
{
	struct pollfd p = { .fd = job->sock, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0 &&
	    (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}
