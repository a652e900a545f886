/*
 * The scan that stands before the parser: what it lets through, the parser
 * takes and finds within the limits; and our own splitter can tell it apart.
 */
#include "config.h"

#include <json-c/json.h>

#include "lib/cleanup.h"
#include "lib/cleanup-json.h"
#include "lib/json-scan.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "registry/json-raw.h"
#include "tests/fuzz/fuzz.h"

static size_t
count_values(struct json_object *o, unsigned depth)
{
	size_t i, n = 1;

	MUST(depth <= LIMIT_JSON_DEPTH + 1);
	if (json_object_is_type(o, json_type_array))
		for (i = 0; i < json_object_array_length(o); i++)
			n += count_values(json_object_array_get_idx(o, i),
			    depth + 1);
	if (json_object_is_type(o, json_type_object)) {
		json_object_object_foreach(o, key, value)
		{
			(void)key;
			n += count_values(value, depth + 1);
		}
	}
	return n;
}

static void
check_raw(const char *data, size_t len)
{
	struct json_raw raw = JSON_RAW_INIT;
	struct strbuf sb = STRBUF_INIT;
	size_t i;

	if (json_raw_parse(data, len, &raw, NULL) < 0)
		return;
	for (i = 0; i < raw.n; i++) {
		const struct json_raw_member *m = &raw.members[i];

		json_raw_compact(&sb, m->value, m->len);
		MUST(json_scan(sb.data, sb.len, NULL) >= 0);
		strbuf_truncate(&sb, 0);
	}
	strbuf_done(&sb);
	json_raw_done(&raw);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	cleanup(json_putp) struct json_object *root = NULL;
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *s = NULL;
	struct json_tokener *t;
	int r = json_scan(data, len, &err);

	must_be_told(r, err);
	if (r < 0)
		return 0;
	s = text_of(data, len);
	t = json_tokener_new_ex(LIMIT_JSON_DEPTH + 2);
	MUST(t != NULL);
	json_tokener_set_flags(t,
	    JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	/* With its NUL a number at the end is over, too. */
	root = json_tokener_parse_ex(t, s, (int)len + 1);
	MUST(json_tokener_get_error(t) == json_tokener_success);
	json_tokener_free(t);
	MUST(count_values(root, 1) <= LIMIT_JSON_VALUES);
	check_raw(s, len);
	return 0;
}
