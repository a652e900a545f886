#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "imgd/driver.h"

/* "copies": each layer is a directory, made by cp(1) from its parent. */

static const struct imgd_env *store; /* one store per process */

static char *
path_of(const char *id)
{
	char *path;

	return asprintf(&path, "%s/%s", store->home, id) < 0 ? NULL : path;
}

/* Run a program; 0 if it exits with 0. It does not outlive this process. */
static int
run(const char *const argv[], struct imgd_error **err)
{
	int status;
	pid_t self = getpid(), pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == self)
			execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return imgd_error_set(err, errno, "%s: %s", argv[0],
		    strerror(errno));
	return status == 0 ? 0 : imgd_error_set(err, EIO,
	    "%s failed with status %d", argv[0], status);
}

/* What a removal left unfinished is under this name, which is no id. */
static int
empty_trash(struct imgd_error **err)
{
	char *path = path_of("trash");
	const char *argv[] = { "rm", "-rf", "--one-file-system", path,
		NULL };
	int r = path != NULL ? run(argv, err) :
	    imgd_error_set(err, ENOMEM, "out of memory");

	free(path);
	return r;
}

static int
copies_probe(const struct imgd_env *env, struct imgd_error **err)
{
	if (access(env->home, W_OK) < 0)
		return imgd_error_set(err, errno, "%s: %s", env->home,
		    strerror(errno));
	return 0;
}

static int
copies_open(const struct imgd_env *env, void **ret_h,
    struct imgd_error **err)
{
	if (env->n_options > 0)
		return imgd_error_set(err, EINVAL, "unknown option %s",
		    env->options[0].key);
	store = env;
	*ret_h = NULL;
	return env->flags & IMGD_OPEN_READONLY ? 0 : empty_trash(err);
}

static void
copies_close(void *h)
{
	(void)h;
}

static int
copies_exists(void *h, const char *id, struct imgd_error **err)
{
	char *path = path_of(id);
	int r = path == NULL ? -ENOMEM : access(path, F_OK) == 0;

	(void)h;
	free(path);
	return r >= 0 ? r : imgd_error_set(err, -r, "out of memory");
}

static int
copies_create(void *h, const char *id, const char *parent,
    const struct imgd_layer_opts *opts, struct imgd_error **err)
{
	char *to = path_of(id);
	char *from = parent != NULL ? path_of(parent) : NULL;
	const char *argv[] = { "cp", "-aT", "--reflink=auto", from, to,
		NULL };
	int r;

	(void)opts;
	r = copies_exists(h, id, err);
	if (r == 0 && (to == NULL || (parent != NULL && from == NULL)))
		r = imgd_error_set(err, ENOMEM, "out of memory");
	else if (r > 0)
		r = imgd_error_set(err, EEXIST, "%s exists", to);
	else if (r == 0 && parent != NULL && access(from, F_OK) < 0)
		r = imgd_error_set(err, errno, "%s: %s", from,
		    strerror(errno));
	else if (r == 0 && parent != NULL)
		r = run(argv, err);
	else if (r == 0 && (mkdir(to, 0755) < 0 || chown(to, 0, 0) < 0 ||
	    chmod(to, 0755) < 0))
		r = imgd_error_set(err, errno, "%s: %s", to,
		    strerror(errno));
	free(from);
	free(to);
	return r;
}

static int
copies_remove(void *h, const char *id, struct imgd_error **err)
{
	char *from = path_of(id), *to = path_of("trash");
	int r = from == NULL || to == NULL ?
	    imgd_error_set(err, ENOMEM, "out of memory") : empty_trash(err);

	(void)h;
	/* Away at once: half a layer is never seen. */
	if (r == 0 && rename(from, to) == 0)
		r = empty_trash(err);
	else if (r == 0 && errno != ENOENT)
		r = imgd_error_set(err, errno, "%s: %s", from,
		    strerror(errno));
	free(from);
	free(to);
	return r;
}

static int
copies_get(void *h, const char *id, uint32_t kind, char **ret_path,
    struct imgd_error **err)
{
	char *path = path_of(id);

	(void)h;
	if (path == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (kind != IMGD_GET_TREE || access(path, F_OK) < 0) {
		int e = kind != IMGD_GET_TREE ? EOPNOTSUPP : errno;

		free(path);
		return imgd_error_set(err, e, "layer %s: %s", id,
		    strerror(e));
	}
	*ret_path = path;
	return 0;
}

static int
copies_put(void *h, const char *id, uint32_t kind,
    struct imgd_error **err)
{
	(void)h;
	(void)id;
	(void)kind;
	(void)err;
	return 0;
}

static struct imgd_driver copies = {
	.name = "copies",
	.description = "directories, copied by cp",
	.probe = copies_probe,
	.open = copies_open,
	.close = copies_close,
	.create = copies_create,
	.remove = copies_remove,
	.exists = copies_exists,
	.get = copies_get,
	.put = copies_put,
};

IMGD_REGISTER_DRIVER(copies);
