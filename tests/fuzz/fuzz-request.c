/*
 * What callers of the HTTP API send: the first digit says whether it is a
 * target, credentials, filters, changes or a user; and what an image says of
 * its users.
 */
#include "config.h"

#include <json-c/json.h>

#include "core/config-change.h"
#include "core/filters.h"
#include "core/image-user.h"
#include "lib/cleanup.h"
#include "lib/cleanup-json.h"
#include "server/registry-auth.h"
#include "server/request.h"
#include "tests/fuzz/fuzz.h"

static void
read_target(const char *s)
{
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *name = NULL;
	struct request q = { .path = NULL };
	int r = request_parse(s, &q, &err);

	must_be_told(r, err);
	if (r >= 0) {
		MUST(q.minor <= API_MINOR_MAX);
		(void)request_matches(&q, "/images/*/json", &name);
		(void)request_flag(&q, "all");
	}
	request_done(&q);
}

static void
read_auth(const char *s)
{
	cleanup_error struct imgd_error *err = NULL;
	struct registry_auth a = { .username = NULL };
	int r = registry_auth_parse(s, strlen(s), &a, &err);

	must_be_told(r, err);
	registry_auth_done(&a);
	a = (struct registry_auth){ .username = NULL };
	registry_auth_decode(s, &a);
	registry_auth_done(&a);
}

static void
read_filters(const char *s)
{
	cleanup_error struct imgd_error *err = NULL;
	struct filters f = { .n = 0 };
	int64_t when = 0;
	bool is_set;
	size_t i;
	int r = filters_parse(s, NULL, &f, &err);

	must_be_told(r, err);
	for (i = 0; r >= 0 && i < f.n; i++) {
		(void)filters_bool(&f, f.items[i].key, true, &is_set, NULL);
		(void)filters_time(&f, f.items[i].key, &when, NULL);
		if (filter_check_glob(f.items[i].value, NULL) >= 0)
			(void)filter_glob(f.items[i].value, "docker.io/x:1");
	}
	filters_done(&f);
}

static void
read_changes(const char *s)
{
	cleanup(json_putp) struct json_object *config =
	    json_object_new_object();
	cleanup_error struct imgd_error *err = NULL;
	struct config_change c = { .config = config };
	int r;

	MUST(config != NULL);
	r = config_change_all(&c, s, &err);
	must_be_told(r, err);
}

/* SPEC, a line with nothing in it, passwd, another, group. */
static void
read_user(char *s)
{
	cleanup_error struct imgd_error *err = NULL;
	struct image_user user;
	char *passwd = strstr(s, "\n\n"), *groups = NULL;
	int r;

	if (passwd != NULL) {
		*passwd = '\0';
		passwd += 2;
		groups = strstr(passwd, "\n\n");
	}
	if (groups != NULL) {
		*groups = '\0';
		groups += 2;
	}
	r = image_user_find(s, passwd, groups, &user, &err);
	must_be_told(r, err);
	MUST(r < 0 || user.n_groups <= LIMIT_USER_GROUPS);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	cleanup_free char *s = NULL;

	if (len == 0)
		return 0;
	s = text_of(data + 1, len - 1);
	switch ((uint8_t)(data[0] - '0') % 5) {
	case 0:
		read_target(s);
		break;
	case 1:
		read_auth(s);
		break;
	case 2:
		read_filters(s);
		break;
	case 3:
		read_changes(s);
		break;
	default:
		read_user(s);
	}
	return 0;
}
