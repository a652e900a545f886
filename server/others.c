/* What belongs to containers, networks and the rest of Docker. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/routes.h"

int
route_empty_list(struct exchange *x, struct imgd_error **err)
{
	(void)err;
	exchange_answer_json(x, 200, "[]\n");
	return 0;
}

int
route_no_volumes(struct exchange *x, struct imgd_error **err)
{
	(void)err;
	exchange_answer_json(x, 200, "{\"Volumes\":[],\"Warnings\":null}\n");
	return 0;
}

/* `docker inspect` goes on to other kinds after a 404. */
int
route_no_object(struct exchange *x, struct imgd_error **err)
{
	return imgd_error_set(err, ENOENT, "No such %.*s: %s",
	    (int)strcspn(x->request.path + 1, "/") - 1, x->request.path + 1,
	    x->name);
}

/* `docker system prune` asks all of these before it comes to images. */
int
route_nothing_pruned(struct exchange *x, struct imgd_error **err)
{
	static const char *const answers[][2] = {
		{ "/containers/prune",
		    "{\"ContainersDeleted\":null,\"SpaceReclaimed\":0}\n" },
		{ "/networks/prune", "{\"NetworksDeleted\":null}\n" },
		{ "/volumes/prune",
		    "{\"VolumesDeleted\":null,\"SpaceReclaimed\":0}\n" },
		{ "/build/prune",
		    "{\"CachesDeleted\":null,\"SpaceReclaimed\":0}\n" },
	};
	size_t i;

	for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
		if (strcmp(answers[i][0], x->request.path) == 0) {
			exchange_answer_json(x, 200, answers[i][1]);
			return 0;
		}
	return imgd_error_set(err, ENOENT, "page not found");
}

/* Not 404: `docker run` would begin to pull. */
int
route_not_ours(struct exchange *x, struct imgd_error **err)
{
	(void)x;
	return imgd_error_set(err, EOPNOTSUPP,
	    "imgd keeps images and runs no containers; mount or export the "
	    "image, or run it by another engine");
}
