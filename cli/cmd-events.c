#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/format.h"
#include "lib/cleanup-json.h"
#include "lib/strbuf.h"

static const struct format_field fields[] = {
	{ "Type", "TYPE" },
	{ "Action", "ACTION" },
	{ "Actor.ID", "ACTOR" },
	{ "ID", "ID" },
	{ "Status", "STATUS" },
	{ "From", "FROM" },
	{ "Scope", "SCOPE" },
	{ "Time", "TIME" },
	{ "TimeNano", "TIMENANO" },
	{ NULL, NULL },
};

struct show {
	struct format *format;
	bool is_json;
};

static const char *
text(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v)
	    ? json_object_get_string(v)
	    : "";
}

/* "2014-08-20T12:00:00.123456789+02:00 image tag ID (name=x, …)" */
static void
print_event(struct json_object *o, struct json_object *actor)
{
	struct json_object *nano, *attributes;
	char when[32] = "", zone[16] = "";
	const char *before = " (";
	int64_t ns = json_object_object_get_ex(o, "timeNano", &nano)
	    ? json_object_get_int64(nano)
	    : 0;
	time_t t = (time_t)(ns / 1000000000);
	struct tm tm;

	if (localtime_r(&t, &tm) != NULL) {
		(void)strftime(when, sizeof(when), "%FT%T", &tm);
		if (tm.tm_gmtoff != 0)
			(void)strftime(zone, sizeof(zone), "%z", &tm);
		else
			zone[0] = 'Z';
	}
	(void)printf("%s.%09jd%.3s%s%s ", when, (intmax_t)(ns % 1000000000),
	    zone, zone[1] != '\0' ? ":" : "",
	    zone[1] != '\0' ? zone + 3 : "");
	print_escaped(text(o, "Type"));
	(void)putchar(' ');
	print_escaped(text(o, "Action"));
	(void)putchar(' ');
	print_escaped(text(actor, "ID"));
	if (json_object_object_get_ex(actor, "Attributes", &attributes)) {
		json_object_object_foreach(attributes, key, value) {
			(void)fputs(before, stdout);
			print_escaped(key);
			(void)putchar('=');
			print_escaped(json_object_get_string(value));
			before = ", ";
		}
	}
	(void)puts(before[0] == ',' ? ")" : "");
}

static void
show_event(void *ctx, const char *json)
{
	cleanup_json struct json_object *o = NULL;
	struct json_object *actor = NULL;
	struct show *show = ctx;

	o = json_tokener_parse(json);
	(void)json_object_object_get_ex(o, "Actor", &actor);
	if (show->format != NULL) {
		const char *const values[] = { text(o, "Type"),
			text(o, "Action"), text(actor, "ID"), text(o, "id"),
			text(o, "status"), text(o, "from"), text(o, "scope"),
			text(o, "time"), text(o, "timeNano") };

		format_row(show->format, values, json);
	} else if (show->is_json) {
		(void)puts(json);
	} else {
		print_event(o, actor);
	}
	/* Nobody listens any more: nothing else would end this. */
	if (fflush(stdout) != 0)
		exit(1);
}

int
cmd_events(struct cli *cli, int argc, char **argv)
{
	const char *filters[OPTION_LIST_MAX + 1] = { NULL };
	const char *since = NULL, *until = NULL, *format = NULL;
	cleanup(format_freep) struct format *f = NULL;
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *json = NULL;
	struct show show = { .format = NULL };
	bool has_filters;
	const struct option_spec specs[] = {
		{ 0, "since", NULL, &since },
		{ 0, "until", NULL, &until },
		{ 'f', "filter", &has_filters, filters },
		{ 0, "format", NULL, &format },
		{ 0, "json", &show.is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	int n, r;

	if (parse_options(cli, argc, argv, specs, 0, 0, &n) < 0)
		return EXIT_USAGE;
	if (format != NULL && str_starts(format, "table"))
		return usage_error(cli, "events are no table");
	r = filters_from_options(filters, &json, &err);
	if (r >= 0 && format != NULL)
		r = format_parse(format, fields, &f, &err);
	show.format = f;
	if (r >= 0) {
		const char *const env[][2] = { { "since", since },
			{ "until", until }, { "filters", json } };
		const struct job_request request = {
			.name = "events",
			.env = env,
			.n_env = 3,
		};

		r = cli_run(cli, &request, show_event,
		    &show, NULL, &err);
	}
	return r < 0 ? report(cli, NULL, err) : 0;
}
