#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "lib/cleanup-json.h"
#include "lib/strbuf.h"

int
usage_error(const struct cli *cli, const char *fmt, ...)
{
	cleanup_free char *text = NULL, *safe = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		text = NULL;
	else
		safe = str_escape(text, strlen(text));
	(void)fprintf(stderr, "imgd: %s: %s\nusage: imgd %s %s\n",
	    cli->cmd->name, safe != NULL ? safe : "wrong usage",
	    cli->cmd->name, cli->cmd->usage);
	return EXIT_USAGE;
}

int
report(const struct cli *cli, const char *what, const struct imgd_error *err)
{
	const char *msg = imgd_error_msg(err);
	cleanup_free char *safe = str_escape(msg, strlen(msg));
	cleanup_free char *safe_what = NULL;

	if (what != NULL)
		safe_what = str_escape(what, strlen(what));
	(void)fflush(stdout);
	(void)fprintf(stderr, "imgd: %s%s%s: %s\n", cli->cmd->name,
	    safe_what != NULL ? " " : "", safe_what != NULL ? safe_what : "",
	    safe != NULL ? safe : msg);
	return 1;
}

static const struct option_spec *
find(const struct option_spec *specs, const char *arg, const char **ret_value)
{
	const struct option_spec *s;
	size_t n;

	*ret_value = NULL;
	for (s = specs; s != NULL && (s->name != NULL || s->letter); s++) {
		if (arg[1] != '-') {
			if (s->letter == 0 || arg[1] != s->letter)
				continue;
			if (arg[2] != '\0' && s->value == NULL)
				continue;
			*ret_value = arg[2] != '\0' ? arg + 2 : NULL;
			return s;
		}
		n = strcspn(arg + 2, "=");
		if (s->name != NULL && strlen(s->name) == n &&
		    strncmp(s->name, arg + 2, n) == 0) {
			*ret_value = arg[2 + n] == '=' ? arg + 3 + n : NULL;
			return s;
		}
	}
	return NULL;
}

static int
add_value(struct cli *cli, const struct option_spec *s, const char *value)
{
	size_t n = 0;

	while (n < OPTION_LIST_MAX && s->value[n] != NULL)
		n++;
	if (n == OPTION_LIST_MAX) {
		(void)usage_error(cli, "--%s: more than %d", s->name,
		    OPTION_LIST_MAX);
		return -1;
	}
	s->value[n] = value;
	*s->flag = true;
	return 0;
}

/* Handle the option at argv[*i]. */
static int
one_option(struct cli *cli, int argc, char **argv,
    const struct option_spec *specs, int *i)
{
	const char *arg = argv[*i], *value;
	const struct option_spec *s = find(specs, arg, &value);

	if (s == NULL) {
		(void)usage_error(cli, "unknown option %s", arg);
		return -1;
	}
	if (s->value == NULL) {
		if (value != NULL) {
			(void)usage_error(cli, "%s takes no value", arg);
			return -1;
		}
		*s->flag = true;
		return 0;
	}
	if (value == NULL && *i + 1 < argc)
		value = argv[++*i];
	if (value == NULL) {
		(void)usage_error(cli, "%s needs a value", arg);
		return -1;
	}
	if (s->flag != NULL)
		return add_value(cli, s, value);
	*s->value = value;
	return 0;
}

int
parse_options(struct cli *cli, int argc, char **argv,
    const struct option_spec *specs, int min, int max, int *ret_n)
{
	bool is_only_args = false;
	int i, n = 0;

	for (i = 1; i < argc; i++) {
		if (is_only_args || argv[i][0] != '-' || argv[i][1] == '\0') {
			argv[++n] = argv[i];
		} else if (strcmp(argv[i], "--") == 0) {
			is_only_args = true;
		} else if (one_option(cli, argc, argv, specs, &i) < 0) {
			return -1;
		}
	}
	if (n < min || n > max) {
		(void)usage_error(cli, n < min ? "too few arguments"
					       : "too many arguments");
		return -1;
	}
	*ret_n = n;
	return 0;
}

int
lines_from_options(const char *const *list, char **ret, struct imgd_error **err)
{
	struct strbuf sb = STRBUF_INIT;

	for (; *list != NULL; list++) {
		strbuf_puts(&sb, *list);
		strbuf_putc(&sb, '\n');
	}
	*ret = strbuf_take(&sb);
	return *ret != NULL ? 0
			    : imgd_error_set(err, ENOMEM, "out of memory");
}

int
filters_from_options(const char *const *list, char **ret_json,
    struct imgd_error **err)
{
	cleanup_json struct json_object *o = json_object_new_object();
	size_t i;

	for (i = 0; list[i] != NULL; i++) {
		const char *equals = strchr(list[i], '=');
		cleanup_free char *key = NULL;
		struct json_object *values;
		char *c;

		if (equals == NULL || equals == list[i])
			return imgd_error_set(err, EINVAL,
			    "filter %s: not of the form KEY=VALUE", list[i]);
		key = strndup(list[i], (size_t)(equals - list[i]));
		for (c = key; c != NULL && *c != '\0'; c++)
			*c = (char)tolower((unsigned char)*c);
		if (key == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		if (!json_object_object_get_ex(o, key, &values)) {
			values = json_object_new_array();
			json_object_object_add(o, key, values);
		}
		(void)json_object_array_add(values,
		    json_object_new_string(equals + 1));
	}
	if (i == 0)
		return 0;
	*ret_json = strdup(json_object_to_json_string(o));
	return *ret_json != NULL ? 0 : imgd_error_set(err, ENOMEM,
					   "out of memory");
}
