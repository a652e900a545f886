/* docker-credential-NAME: programs that keep credentials for us. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/credentials.h"
#include "lib/cleanup-json.h"
#include "lib/fs-at.h"
#include "lib/json-scan.h"
#include "lib/strbuf.h"

#define ANSWER_MAX_BYTES (64u << 10)
#define NOT_FOUND        "credentials not found in native keychain"
#define IDENTITY_USER    "<token>"
#define N_OF(array)      (sizeof(array) / sizeof((array)[0]))

/* What a helper may need of our environment, and no more. */
static const char *const passed_on[] = { "PATH", "HOME", "USER", "LOGNAME",
	"LANG", "LC_ALL", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS",
	"DISPLAY", "WAYLAND_DISPLAY", "GNUPGHOME", "PASSWORD_STORE_DIR" };

static bool
is_name(const char *s)
{
	return *s != '\0' && strlen(s) <= 128 &&
	    s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			"0123456789._-")] == '\0';
}

static void
fill_environment(char *env[N_OF(passed_on) + 1])
{
	size_t i, k, len, n = 0;

	for (i = 0; environ[i] != NULL; i++)
		for (k = 0; k < N_OF(passed_on) && n < N_OF(passed_on); k++) {
			len = strlen(passed_on[k]);
			if (strncmp(environ[i], passed_on[k], len) == 0 &&
			    environ[i][len] == '=')
				env[n++] = environ[i];
		}
	env[n] = NULL;
}

/* Start the program with in_fd and out_fd as its ends. */
static int
start(const char *program, const char *action, int in_fd, int out_fd,
    pid_t *ret, struct imgd_error **err)
{
	char *argv[] = { (char *)(uintptr_t)program,
		(char *)(uintptr_t)action, NULL };
	char *env[N_OF(passed_on) + 1];
	posix_spawn_file_actions_t fa;
	int r;

	fill_environment(env);
	(void)posix_spawn_file_actions_init(&fa);
	r = posix_spawn_file_actions_adddup2(&fa, in_fd, STDIN_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&fa, out_fd,
		    STDOUT_FILENO);
	if (r == 0)
		r = posix_spawnp(ret, program, &fa, NULL, argv, env);
	(void)posix_spawn_file_actions_destroy(&fa);
	/* Not r: to the caller "no such file" is about its own file. */
	if (r != 0)
		return imgd_error_set(err, EIO, "%s: %s", program,
		    strerror(r));
	return 0;
}

static void
read_answer(int fd, struct strbuf *sb)
{
	char buf[4096];
	ssize_t n;

	for (;;) {
		n = read(fd, buf, sizeof(buf));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		if (sb->len <= ANSWER_MAX_BYTES)
			strbuf_append(sb, buf, (size_t)n);
	}
	explicit_bzero(buf, sizeof(buf));
}

/* Run "PROGRAM ACTION"; *ret_status is its exit status, -1 for a death. */
static int
run(const char *program, const char *action, const char *input,
    struct strbuf *answer, int *ret_status, struct imgd_error **err)
{
	cleanup_close int in_rd = -EBADF, in_wr = -EBADF;
	cleanup_close int out_rd = -EBADF, out_wr = -EBADF;
	int in[2], out[2], status = 0, r;
	pid_t pid;

	if (pipe2(in, O_CLOEXEC) < 0)
		return imgd_error_set(err, errno, "pipe: %s", strerror(errno));
	in_rd = in[0];
	in_wr = in[1];
	if (pipe2(out, O_CLOEXEC) < 0)
		return imgd_error_set(err, errno, "pipe: %s", strerror(errno));
	out_rd = out[0];
	out_wr = out[1];
	r = start(program, action, in_rd, out_wr, &pid, err);
	if (r < 0)
		return r;
	close_fd(&in_rd);
	close_fd(&out_wr);
	/* A helper that does not read it fails by itself. */
	(void)fs_write_all(in_wr, input, strlen(input), NULL);
	close_fd(&in_wr);
	read_answer(out_rd, answer);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	*ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	return 0;
}

static const char *
member(struct json_object *o, const char *key)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, key, &v) ||
	    !json_object_is_type(v, json_type_string))
		return "";
	return json_object_get_string(v);
}

static int
take_answer(const char *program, const struct strbuf *answer,
    struct credentials *ret, struct imgd_error **err)
{
	cleanup_json struct json_object *o = NULL;
	const char *user;

	if (answer->is_failed)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (answer->len == 0 || answer->len > ANSWER_MAX_BYTES ||
	    json_scan(answer->data, answer->len, NULL) < 0 ||
	    (o = json_tokener_parse(answer->data)) == NULL ||
	    !json_object_is_type(o, json_type_object))
		return imgd_error_set(err, EINVAL,
		    "%s: its answer is no JSON object", program);
	user = member(o, "Username");
	if (strcmp(user, IDENTITY_USER) == 0) {
		ret->identity_token = strdup(member(o, "Secret"));
		return ret->identity_token != NULL ? 0 :
		    imgd_error_set(err, ENOMEM, "out of memory");
	}
	ret->username = strdup(user);
	ret->password = strdup(member(o, "Secret"));
	if (ret->username == NULL || ret->password == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return 0;
}

/* Run an action.  Returns 1, or 0 if the helper knows no such credentials;
 * answer is what it printed, and wiped by forget. */
static int
act(const char *name, const char *action, const char *input,
    struct strbuf *answer, char **ret_program, struct imgd_error **err)
{
	int status = 0, r;

	if (!is_name(name))
		return imgd_error_set(err, EINVAL,
		    "bad name of a credential helper: \"%s\"", name);
	if (asprintf(ret_program, "docker-credential-%s", name) < 0) {
		*ret_program = NULL;
		return imgd_error_set(err, ENOMEM, "out of memory");
	}
	r = run(*ret_program, action, input, answer, &status, err);
	if (r < 0 || status == 0)
		return r < 0 ? r : 1;
	if (answer->data != NULL && strstr(answer->data, NOT_FOUND) != NULL)
		return 0;
	/* What it printed may hold a secret. */
	return imgd_error_set(err, EIO, "%s: failed with status %d",
	    *ret_program, status);
}

static void
forget(struct strbuf *sb)
{
	if (sb->data != NULL)
		explicit_bzero(sb->data, sb->len);
	strbuf_done(sb);
}

int
credential_helper_get(const char *name, const char *key,
    struct credentials *ret, struct imgd_error **err)
{
	struct strbuf answer = STRBUF_INIT;
	cleanup_free char *program = NULL;
	int r;

	r = act(name, "get", key, &answer, &program, err);
	if (r > 0)
		r = take_answer(program, &answer, ret, err);
	forget(&answer);
	return r;
}

int
credential_helper_store(const char *name, const char *key,
    const struct credentials *c, struct imgd_error **err)
{
	struct strbuf answer = STRBUF_INIT, input = STRBUF_INIT;
	cleanup_free char *program = NULL;
	int r;

	strbuf_puts(&input, "{\"ServerURL\":");
	strbuf_json(&input, key);
	strbuf_puts(&input, ",\"Username\":");
	strbuf_json(&input,
	    c->identity_token != NULL ? IDENTITY_USER : c->username);
	strbuf_puts(&input, ",\"Secret\":");
	strbuf_json(&input,
	    c->identity_token != NULL ? c->identity_token : c->password);
	strbuf_puts(&input, "}\n");
	r = input.is_failed
	    ? imgd_error_set(err, ENOMEM, "out of memory")
	    : act(name, "store", input.data, &answer, &program, err);
	forget(&input);
	forget(&answer);
	return r < 0 ? r : 0;
}

int
credential_helper_erase(const char *name, const char *key,
    struct imgd_error **err)
{
	struct strbuf answer = STRBUF_INIT;
	cleanup_free char *program = NULL;
	int r;

	r = act(name, "erase", key, &answer, &program, err);
	forget(&answer);
	return r;
}
