/* Manifests, indexes, configs, and the choice of a platform. */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "lib/strbuf.h"
#include "registry/manifest.h"

#define D0 "sha256:" \
	   "6333f3107c7f677eb93dd4f22ead295e3fb4f903cffebee2c57e4a546cbcde7f"
#define D1 "sha256:" \
	   "6932481523b1a58eb4c8a32a3cd1dae094c3e8fa3cab499e785d14110269df8a"
#define CONFIG(type)                                              \
	"\"config\":{\"mediaType\":\"" type "\",\"digest\":\"" D0 \
	"\",\"size\":10}"
#define LAYER(type) \
	"{\"mediaType\":\"" type "\",\"digest\":\"" D1 "\",\"size\":20}"
#define OCI_LAYER "application/vnd.oci.image.layer.v1.tar+gzip"
#define ENTRY(os, arch, more)                              \
	"{\"mediaType\":\"" MEDIA_OCI_MANIFEST             \
	"\",\"size\":1,\"digest\":\"" D0                   \
	"\",\"platform\":{\"os\":\"" os "\",\"architecture\":\"" arch \
	"\"" more "}}"

static int
parse(const char *type, const char *text, struct manifest **ret,
    struct imgd_error **err)
{
	return manifest_parse(type, text, strlen(text), ret, err);
}

static void
an_image_manifest_is_read(void **state)
{
	static const char text[] =
	    "{\"schemaVersion\":2,\"annotations\":{\"a\":\"b\"},"
	    CONFIG(MEDIA_OCI_CONFIG) ",\"layers\":[" LAYER(OCI_LAYER) ","
	    "{\"mediaType\":\"application/vnd.docker.image.rootfs.foreign."
	    "diff.tar.gzip\",\"digest\":\"" D0 "\",\"size\":30,"
	    "\"urls\":[\"file:///x\",\"https://h/x\",\"HTTP://h/y\"]}]}";
	cleanup(manifest_freep) struct manifest *m = NULL;

	(void)state;
	assert_int_equal(parse("Application/JSON; charset=utf-8", text, &m,
			     NULL), 0);
	assert_int_equal(m->kind, MANIFEST_IMAGE);
	assert_string_equal(m->media_type, MEDIA_OCI_MANIFEST);
	assert_string_equal(m->config.digest, D0);
	assert_int_equal(m->config.size_bytes, 10);
	assert_int_equal(m->n_layers, 2);
	assert_string_equal(m->layers[0].media_type, OCI_LAYER);
	assert_string_equal(m->layers[0].digest, D1);
	assert_int_equal(m->layers[1].n_urls, 2);
	assert_string_equal(m->layers[1].urls[0], "https://h/x");
	assert_string_equal(m->layers[1].urls[1], "HTTP://h/y");
}

static void
types_that_are_not_read_are_named(void **state)
{
	static const struct {
		const char *type, *text, *name;
	} cases[] = {
		{ NULL, "{\"schemaVersion\":1,\"fsLayers\":[]}", "schema 1" },
		{ MEDIA_DOCKER_SCHEMA1, "{}", "schema 1" },
		{ "application/vnd.example", "{}",
		    "unsupported media type application/vnd.example" },
		{ "application/vnd.oci.artifact.manifest.v1+json", "{}",
		    "artifact" },
		{ NULL, "{\"schemaVersion\":2,"
			"\"artifactType\":\"application/x-sbom\","
			CONFIG(MEDIA_OCI_CONFIG) "}", "application/x-sbom" },
		{ NULL, "{\"schemaVersion\":2,"
			CONFIG("application/vnd.oci.empty.v1+json") "}",
		    "artifact" },
		{ NULL, "{\"schemaVersion\":2,"
			CONFIG("application/vnd.docker.plugin.v1+json") "}",
		    "plugin" },
		{ NULL, "{\"schemaVersion\":2,"
			CONFIG("application/vnd.docker.ai.model") "}",
		    "AI model" },
		{ NULL, "{\"schemaVersion\":2," CONFIG("application/x-conf")
			"}", "unsupported media type application/x-conf" },
		{ NULL, "{\"schemaVersion\":2," CONFIG(MEDIA_OCI_CONFIG)
			",\"layers\":[" LAYER("application/vnd.in-toto+json")
			"]}",
		    "unsupported media type application/vnd.in-toto+json" },
		{ NULL, "{\"schemaVersion\":2," CONFIG(MEDIA_OCI_CONFIG)
			",\"layers\":[" LAYER(OCI_LAYER "+encrypted") "]}",
		    "encrypted" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup_error struct imgd_error *err = NULL;
		struct manifest *m = NULL;

		assert_int_equal(parse(cases[i].type, cases[i].text, &m, &err),
		    -IMGD_E_MEDIATYPE);
		if (strstr(imgd_error_msg(err), cases[i].name) == NULL)
			fail_msg("case %zu: %s", i, imgd_error_msg(err));
	}
}

static void
malformed_manifests_are_refused(void **state)
{
	static const char *const texts[] = { "", "[]", "1", "{}",
		"{\"schemaVersion\":2}",
		"{\"schemaVersion\":1," CONFIG(MEDIA_OCI_CONFIG) "}",
		"{\"schemaVersion\":\"2\"," CONFIG(MEDIA_OCI_CONFIG) "}",
		"{" CONFIG(MEDIA_OCI_CONFIG) "}",
		"{\"schemaVersion\":2,\"layers\":[]}",
		"{\"schemaVersion\":2,\"config\":[],\"layers\":[]}",
		"{\"schemaVersion\":2," CONFIG(MEDIA_OCI_CONFIG)
		",\"layers\":{}}",
		"{\"schemaVersion\":2," CONFIG(MEDIA_OCI_CONFIG)
		",\"layers\":[1]}",
		"{\"schemaVersion\":2," CONFIG(MEDIA_OCI_CONFIG)
		",\"manifests\":[]}",
		"{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_INDEX
		"\",\"layers\":[],\"manifests\":[]}",
		"{\"schemaVersion\":2,\"config\":{\"digest\":\"md5:x\","
		"\"size\":1}}",
		"{\"schemaVersion\":2,\"config\":{\"digest\":\"" D0 "\"}}",
		"{\"schemaVersion\":2,\"config\":{\"digest\":\"" D0
		"\",\"size\":-1}}",
		"{\"schemaVersion\":2,\"config\":{\"digest\":\"" D0
		"\",\"size\":1.5}}",
		"{\"schemaVersion\":2,\"config\":{\"digest\":\"" D0
		"\",\"size\":99999999999999999999}}",
		"{\"schemaVersion\":2,\"config\":{\"digest\":\"" D0
		"\\u0000\",\"size\":1}}" };
	static const char index[] = "{\"schemaVersion\":2,\"mediaType\":\""
		MEDIA_OCI_INDEX "\",\"manifests\":[]}";
	struct manifest *m = NULL;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (parse(NULL, texts[i], &m, NULL) != -IMGD_E_FORMAT)
			fail_msg("%s is not refused", texts[i]);
	/* Said and own media type disagree. */
	assert_int_equal(parse(MEDIA_OCI_MANIFEST, index, &m, NULL),
	    -IMGD_E_FORMAT);
	assert_int_equal(parse(MEDIA_OCI_INDEX, index, &m, NULL), 0);
	manifest_free(m);
}

static char *
manifest_of(unsigned n_layers)
{
	struct strbuf sb = STRBUF_INIT;

	strbuf_puts(&sb, "{\"schemaVersion\":2," CONFIG(MEDIA_OCI_CONFIG)
	    ",\"layers\":[");
	while (n_layers-- > 0)
		strbuf_printf(&sb, "%s%s", LAYER(OCI_LAYER),
		    n_layers > 0 ? "," : "");
	strbuf_puts(&sb, "]}");
	return strbuf_take(&sb);
}

static void
layers_at_the_limit_and_past_it(void **state)
{
	cleanup_free char *good = manifest_of(LIMIT_LAYERS);
	cleanup_free char *bad = manifest_of(LIMIT_LAYERS + 1);
	struct manifest *m = NULL;

	(void)state;
	assert_int_equal(parse(NULL, good, &m, NULL), 0);
	assert_int_equal(m->n_layers, LIMIT_LAYERS);
	manifest_free(m);
	assert_true(parse(NULL, bad, &m, NULL) == -IMGD_E_LIMIT);
}

/* ---- platforms ---- */

static struct platform
platform(const char *s)
{
	struct platform p;

	assert_int_equal(platform_parse(s, &p, NULL), 0);
	return p;
}

static void
platforms_are_parsed_and_shown(void **state)
{
	static const char *const pairs[][2] = {
		{ "linux/arm64/v8", "linux/arm64/v8" },
		{ "linux/arm/v7", "linux/arm/v7" },
		{ "linux/arm", "linux/arm" },
		{ "Linux/x86_64", "linux/amd64" },
		{ "linux/aarch64", "linux/arm64" },
		{ "armel", "linux/arm/v6" },
		{ "s390x", "linux/s390x" },
		{ "macos/arm64", "darwin/arm64" },
	};
	static const char *const bad[] = { "", "/", "linux/", "linux//v7",
		"nonsense", "linux/a/b/c", "a b/c", "linux/arm/",
		"linux/0123456789012345678901234567890123456789" };
	char buf[PLATFORM_STR_SIZE];
	struct platform p;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		p = platform(pairs[i][0]);
		assert_string_equal(platform_format(&p, buf), pairs[i][1]);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (platform_parse(bad[i], &p, NULL) != -EINVAL)
			fail_msg("%s is not refused", bad[i]);
	p = platform("linux");
	assert_true(p.arch[0] != '\0');
}

static void
expect_order(const char *want, const char *const *best_first, size_t n)
{
	struct platform w = platform(want), h;
	int before = -1, rank;
	size_t i;

	for (i = 0; i < n; i++) {
		h = platform(best_first[i]);
		rank = platform_rank(&w, &h);
		if (rank <= before)
			fail_msg("%s for %s: rank %d", best_first[i], want,
			    rank);
		before = rank;
	}
}

static void
expect_none(const char *want, const char *have)
{
	struct platform w = platform(want), h = platform(have);

	if (platform_rank(&w, &h) != -1)
		fail_msg("%s runs where %s is wanted", have, want);
}

#define ORDER(want, ...)                                                   \
	expect_order(want, (const char *const[]){ __VA_ARGS__ },           \
	    sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

static void
platforms_run_what_their_elders_ran(void **state)
{
	(void)state;
	ORDER("linux/amd64/v3", "linux/amd64/v3", "linux/amd64/v2",
	    "linux/amd64", "linux/386");
	ORDER("linux/amd64", "linux/amd64/v1", "linux/386");
	ORDER("linux/arm/v7", "linux/arm", "linux/arm/v6", "linux/arm/v5");
	ORDER("linux/arm64", "linux/arm64/v8", "linux/arm/v8", "linux/arm/v7",
	    "linux/arm/v6", "linux/arm/v5");
	ORDER("linux/arm64/v9.1", "linux/arm64/v9.1", "linux/arm64/v9",
	    "linux/arm64/v8.6", "linux/arm64/v8.5", "linux/arm64",
	    "linux/arm/v8");
	ORDER("linux/s390x", "linux/s390x");
	expect_none("linux/amd64", "linux/amd64/v2");
	expect_none("linux/amd64", "linux/arm64");
	expect_none("linux/arm/v6", "linux/arm/v7");
	expect_none("linux/arm64", "linux/arm64/v9");
	expect_none("linux/arm64/v9.1", "linux/arm64/v8.7");
	expect_none("linux/386", "linux/amd64");
	expect_none("linux/amd64", "windows/amd64");
	expect_none("linux/s390x", "linux/s390x/z13");
}

static void
the_best_entry_of_an_index_is_chosen(void **state)
{
	static const char text[] =
	    "{\"schemaVersion\":2,\"manifests\":["
	    ENTRY("unknown", "unknown", "") ","
	    "{\"mediaType\":\"" MEDIA_OCI_MANIFEST
	    "\",\"size\":2,\"digest\":\"" D0 "\"},"
	    "{\"mediaType\":\"application/x-other\",\"size\":3,\"digest\":\""
	    D0 "\",\"platform\":{\"os\":\"linux\","
	    "\"architecture\":\"arm64\"}},"
	    ENTRY("linux", "arm", ",\"variant\":\"v6\"") ","
	    ENTRY("linux", "arm64", ",\"variant\":\"v8\"") ","
	    ENTRY("linux", "arm64", "") "]}";
	cleanup(manifest_freep) struct manifest *m = NULL;
	const struct descriptor *d = NULL;
	struct platform want;

	(void)state;
	assert_int_equal(parse(NULL, text, &m, NULL), 0);
	assert_int_equal(m->kind, MANIFEST_INDEX);
	want = platform("linux/arm64");
	assert_int_equal(manifest_select(m, &want, &d, NULL), 0);
	assert_ptr_equal(d, &m->entries[4]);
	want = platform("linux/arm/v7");
	assert_int_equal(manifest_select(m, &want, &d, NULL), 0);
	assert_ptr_equal(d, &m->entries[3]);
	/* What says no platform is taken when nothing else fits. */
	want = platform("linux/s390x");
	assert_int_equal(manifest_select(m, &want, &d, NULL), 0);
	assert_ptr_equal(d, &m->entries[1]);
}

static void
no_entry_for_a_platform(void **state)
{
	static const char text[] = "{\"schemaVersion\":2,\"manifests\":["
	    ENTRY("linux", "s390x", "") "]}";
	cleanup(manifest_freep) struct manifest *m = NULL;
	cleanup_error struct imgd_error *err = NULL;
	const struct descriptor *d = NULL;
	struct platform want = platform("linux/arm64/v8");

	(void)state;
	assert_int_equal(parse(NULL, text, &m, NULL), 0);
	assert_int_equal(manifest_select(m, &want, &d, &err),
	    -IMGD_E_PLATFORM);
	assert_string_equal(imgd_error_msg(err),
	    "no matching manifest for linux/arm64/v8 in the manifest list entries");
	assert_null(d);
}

/* ---- configs ---- */

static void
an_image_config_is_read(void **state)
{
	static const char text[] =
	    "{\"architecture\":\"arm\",\"variant\":\"v7\",\"os\":\"linux\","
	    "\"created\":\"2014-08-20T00:00:00Z\",\"author\":null,"
	    "\"config\":{\"Cmd\":[\"/bin/sh\"],\"Env\":[\"A=1/2\"],"
	    "\"Healthcheck\":{\"Interval\":30000000000}},"
	    "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" D0 "\",\"" D1
	    "\"]},\"history\":[{\"created_by\":\"ADD\"},"
	    "{\"created_by\":\"CMD\",\"empty_layer\":true},{}]}";
	cleanup(image_config_freep) struct image_config *c = NULL;
	struct manifest m = { .kind = MANIFEST_IMAGE, .n_layers = 2 };
	cleanup_error struct imgd_error *err = NULL;

	(void)state;
	assert_int_equal(image_config_parse(text, strlen(text), &c, NULL), 0);
	assert_string_equal(c->platform.arch, "arm");
	assert_string_equal(c->platform.variant, "v7");
	assert_string_equal(c->created, "2014-08-20T00:00:00Z");
	assert_null(c->author);
	assert_string_equal(c->config_json,
	    "{\"Cmd\":[\"/bin/sh\"],\"Env\":[\"A=1/2\"],"
	    "\"Healthcheck\":{\"Interval\":30000000000}}");
	assert_null(c->container_config_json);
	assert_int_equal(c->n_diff_ids, 2);
	assert_string_equal(c->diff_ids[1], D1);
	assert_int_equal(c->n_history, 3);
	assert_false(c->history[0].is_empty_layer);
	assert_true(c->history[1].is_empty_layer);
	assert_string_equal(c->history[1].created_by, "CMD");
	assert_int_equal(manifest_check_config(&m, c, NULL), 0);
	m.n_layers = 1;
	assert_int_equal(manifest_check_config(&m, c, &err), -IMGD_E_FORMAT);
	assert_string_equal(imgd_error_msg(err),
	    "layers from manifest don't match image configuration");
}

static void
malformed_configs_are_refused(void **state)
{
	static const char *const texts[] = { "{}", "[]", "{\"rootfs\":null}",
		"{\"rootfs\":{\"type\":\"disk\"}}",
		"{\"rootfs\":{\"diff_ids\":{}}}",
		"{\"rootfs\":{\"diff_ids\":[\"sha256:x\"]}}",
		"{\"rootfs\":{\"diff_ids\":[null]}}",
		"{\"rootfs\":{},\"config\":[]}",
		"{\"rootfs\":{},\"os\":1}",
		"{\"rootfs\":{},\"history\":[1]}",
		"{\"rootfs\":{},\"history\":[{\"empty_layer\":\"yes\"}]}",
		"{\"rootfs\":{},\"os\":\"a\\u0000b\"}",
		"{\"rootfs\":{},\"architecture\":"
		"\"0123456789012345678901234567890123\"}" };
	struct image_config *c = NULL;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (image_config_parse(texts[i], strlen(texts[i]), &c, NULL) !=
		    -IMGD_E_FORMAT)
			fail_msg("%s is not refused", texts[i]);
	assert_int_equal(image_config_parse("{\"rootfs\":{}}", 13, &c, NULL),
	    0);
	image_config_free(c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_image_manifest_is_read),
		cmocka_unit_test(types_that_are_not_read_are_named),
		cmocka_unit_test(malformed_manifests_are_refused),
		cmocka_unit_test(layers_at_the_limit_and_past_it),
		cmocka_unit_test(platforms_are_parsed_and_shown),
		cmocka_unit_test(platforms_run_what_their_elders_ran),
		cmocka_unit_test(the_best_entry_of_an_index_is_chosen),
		cmocka_unit_test(no_entry_for_a_platform),
		cmocka_unit_test(an_image_config_is_read),
		cmocka_unit_test(malformed_configs_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
