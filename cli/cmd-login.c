/* The verbs login and logout. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/credentials.h"
#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "registry/reference.h"

#define SECRET_MAX_BYTES (64u << 10)

/* What a user may call a registry: "host", "https://host/v1/", nothing. */
static int
parse_server(const char *server, char **ret_domain, struct imgd_error **err)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;
	cleanup_free char *name = NULL;
	const char *host = server;
	int r;

	if (str_starts(host, "https://"))
		host += 8;
	else if (str_starts(host, "http://"))
		host += 7;
	if (*host == '\0' || str_starts(host, "index.docker.io/") ||
	    strcmp(host, "index.docker.io") == 0 ||
	    strcmp(host, REFERENCE_DEFAULT_DOMAIN) == 0) {
		*ret_domain = strdup(REFERENCE_DEFAULT_DOMAIN);
		return *ret_domain != NULL ? 0 : -ENOMEM;
	}
	if (asprintf(&name, "%.*s/library/any", (int)strcspn(host, "/"),
		host) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = reference_parse(name, 0, &ref, NULL);
	if (r < 0 || strncmp(name, ref.domain, strlen(ref.domain)) != 0)
		return imgd_error_set(err, EINVAL,
		    "not the name of a registry");
	*ret_domain = take_ptr(&ref.domain);
	return 0;
}

/* ---- asking ---- */

/* One line of stdin without its end; malloc'ed.  NULL at the end. */
static char *
read_line(void)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t n = getline(&line, &size, stdin);

	if (n < 0) {
		free(line);
		return NULL;
	}
	line[strcspn(line, "\r\n")] = '\0';
	return line;
}

static char *
ask(const char *question, bool is_secret)
{
	struct termios old, quiet;
	char *answer;
	bool is_quiet = is_secret && tcgetattr(STDIN_FILENO, &old) == 0;

	/* Before the question: whoever is quick must not be seen. */
	if (is_quiet) {
		quiet = old;
		quiet.c_lflag &= ~(tcflag_t)ECHO;
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &quiet);
	}
	(void)fputs(question, stderr);
	answer = read_line();
	if (is_quiet) {
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &old);
		(void)fputc('\n', stderr);
	}
	return answer;
}

/* All of stdin but a line's end at its end; malloc'ed. */
static char *
read_secret(void)
{
	char *buf = malloc(SECRET_MAX_BYTES + 1);
	size_t n;

	if (buf == NULL)
		return NULL;
	n = fread(buf, 1, SECRET_MAX_BYTES, stdin);
	buf[n] = '\0';
	n = strlen(buf);
	if (n > 0 && buf[n - 1] == '\n')
		buf[--n] = '\0';
	if (n > 0 && buf[n - 1] == '\r')
		buf[--n] = '\0';
	return buf;
}

static int
gather(const char *user, bool is_stdin, struct credentials *c,
    struct imgd_error **err)
{
	if (user == NULL && is_stdin)
		return imgd_error_set(err, EINVAL,
		    "--password-stdin needs -u");
	if (!is_stdin && isatty(STDIN_FILENO) != 1)
		return imgd_error_set(err, ENOTTY,
		    "standard input is no terminal: use --password-stdin");
	c->username = user != NULL ? strdup(user) : ask("Username: ", false);
	if (c->username != NULL && *c->username != '\0')
		c->password = is_stdin ? read_secret()
				       : ask("Password: ", true);
	if (c->username == NULL || *c->username == '\0')
		return imgd_error_set(err, EINVAL, "a username is needed");
	if (strchr(c->username, ':') != NULL)
		return imgd_error_set(err, EINVAL,
		    "a username has no colon");
	if (c->password == NULL || *c->password == '\0')
		return imgd_error_set(err, EINVAL, "a password is needed");
	return 0;
}

/* ---- verbs ---- */

/* Try them; an identity token that the registry gives is added. */
static int
try_login(struct cli *cli, const char *domain, struct credentials *c,
    struct imgd_error **err)
{
	cleanup_free char *name = NULL, *token = NULL;
	const char *const env[][2] = {
		{ "username", c->username },
		{ "password", c->password },
	};
	const char *args[1];
	struct job_request request = {
		.name = "login",
		.args = args,
		.n_args = 1,
		.env = env,
		.n_env = 2,
	};
	int r;

	if (asprintf(&name, "%s/library/any", domain) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	args[0] = name;
	r = cli_run(cli, &request, NULL, NULL, &token,
	    err);
	if (r >= 0 && token != NULL && *token != '\0')
		c->identity_token = take_ptr(&token);
	return r;
}

int
cmd_login(struct cli *cli, int argc, char **argv)
{
	cleanup(credentials_done) struct credentials c = { 0 };
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *domain = NULL;
	const char *user = NULL, *server;
	bool is_stdin = false;
	const struct option_spec specs[] = {
		{ 'u', "username", NULL, &user },
		{ 0, "password-stdin", &is_stdin, NULL },
		{ 0, NULL, NULL, NULL },
	};
	int n, r;

	if (parse_options(cli, argc, argv, specs, 0, 1, &n) < 0)
		return EXIT_USAGE;
	server = n > 0 ? argv[1] : "";
	r = parse_server(server, &domain, &err);
	if (r >= 0)
		r = gather(user, is_stdin, &c, &err);
	if (r >= 0)
		r = try_login(cli, domain, &c, &err);
	if (r >= 0)
		r = credentials_store(domain, &c, &err);
	if (r < 0)
		return report(cli, domain != NULL ? domain : server, err);
	(void)puts("Login Succeeded");
	return 0;
}

int
cmd_logout(struct cli *cli, int argc, char **argv)
{
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *domain = NULL;
	const char *server;
	int n, r;

	if (parse_options(cli, argc, argv, NULL, 0, 1, &n) < 0)
		return EXIT_USAGE;
	server = n > 0 ? argv[1] : "";
	r = parse_server(server, &domain, &err);
	if (r >= 0)
		r = credentials_erase(domain, &err);
	if (r < 0)
		return report(cli, domain != NULL ? domain : server, err);
	(void)printf(r > 0 ? "Removing login credentials for %s\n"
			   : "Not logged in to %s\n",
	    domain);
	return 0;
}
