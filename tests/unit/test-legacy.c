/* Old images: schema 1 with its signature, v1 JSON turned into configs. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "registry/cookies.h"
#include "registry/legacy.h"

#define DIFF_1 \
	"sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define DIFF_2 \
	"sha256:2222222222222222222222222222222222222222222222222222222222222222"

/* Signed by a key that was made for this and thrown away. */
static const char signed_manifest[] =
	"{\"schemaVersion\":1,\"name\":\"t/s\",\"tag\":\"1\",\"architecture\""
	":\"amd64\",\"fsLayers\":[{\"blobSum\":\"sha256:3333333333333333"
	"333333333333333333333333333333333333333333333333\"},{\"blo"
	"bSum\":\"sha256:222222222222222222222222222222222222222222"
	"2222222222222222222222\"},{\"blobSum\":\"sha256:111111111111"
	"1111111111111111111111111111111111111111111111111111\"}],"
	"\"history\":[{\"v1Compatibility\":\"{\\\"id\\\": \\\"cccccccccccccc"
	"cccccccccccccccccccccccccccccccccccccccccccccccccc\\\", \\\""
	"parent\\\": \\\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	"bbbbbbbbbbbbbbbbbbbb\\\", \\\"created\\\": \\\"2016-01-03T00:00:"
	"00Z\\\", \\\"throwaway\\\": true}\"},{\"v1Compatibility\":\"{\\\"id\\"
	"\": \\\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	"bbbbbbbbbbbbb\\\", \\\"parent\\\": \\\"aaaaaaaaaaaaaaaaaaaaaaaaa"
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\\\", \\\"created\\\": "
	"\\\"2016-01-02T03:04:05.6Z\\\"}\"},{\"v1Compatibility\":\"{\\\"id\\"
	"\": \\\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	"aaaaaaaaaaaaa\\\", \\\"created\\\": \\\"2016-01-01T00:00:00Z\\\"}\""
	"}],\"signatures\":[{\"header\":{\"jwk\":{\"kty\":\"EC\",\"crv\":\"P-2"
	"56\",\"x\":\"hHvYvw43pWE6J07RdRxklu5qOw3gpMscLMy_ID6OAAc\",\"y"
	"\":\"EDG6CiAs9X5lsjmCWNe1MrrUuZ8kdGTZ4NpyxrslI2k\"},\"alg\":\""
	"ES256\"},\"signature\":\"MqspeaJMhIURQRx2ceflBwwrbudu8NBSvJD"
	"jm_23mwCKQlhaLY16UZho50m5ArTnKPGTQdUatVHQPaIerKrLyw\",\"pr"
	"otected\":\"eyJmb3JtYXRMZW5ndGgiOiA5NTQsICJmb3JtYXRUYWlsIj"
	"ogImZRIiwgInRpbWUiOiAiMjAxNiJ9\"}]}";
static const char payload_digest[] =
	"sha256:503faf5d2e7ea3e0d0be2d70691a139186ed04bef9ab6f2db"
	"3db3961185a3060";

/* The image that Docker's first trees begin with. */
static const char old_json[] =
	"{\"id\":\"511136ea3c5a64f264b78b5433614aec563103b4d4702f3ba"
	"7d4d2698e22c158\",\"comment\":\"Imported from -\",\"created\":\""
	"2013-06-13T14:03:50.821769-07:00\",\"container_config\":{\"H"
	"ostname\":\"\",\"Domainname\":\"\",\"User\":\"\",\"Memory\":0,\"Memory"
	"Swap\":0,\"CpuShares\":0,\"AttachStdin\":false,\"AttachStdout\""
	":false,\"AttachStderr\":false,\"PortSpecs\":null,\"ExposedPor"
	"ts\":null,\"Tty\":false,\"OpenStdin\":false,\"StdinOnce\":false"
	",\"Env\":null,\"Cmd\":null,\"Image\":\"\",\"Volumes\":null,\"Workin"
	"gDir\":\"\",\"Entrypoint\":null,\"NetworkDisabled\":false,\"OnBu"
	"ild\":null},\"docker_version\":\"0.4.0\",\"architecture\":\"x86_"
	"64\",\"Size\":0}";
static const char old_config[] =
	"{\"architecture\":\"x86_64\",\"comment\":\"Imported from -\",\"co"
	"ntainer_config\":{\"Hostname\":\"\",\"Domainname\":\"\",\"User\":\"\""
	",\"AttachStdin\":false,\"AttachStdout\":false,\"AttachStderr\""
	":false,\"Tty\":false,\"OpenStdin\":false,\"StdinOnce\":false,\""
	"Env\":null,\"Cmd\":null,\"Image\":\"\",\"Volumes\":null,\"WorkingD"
	"ir\":\"\",\"Entrypoint\":null,\"OnBuild\":null,\"Labels\":null},\""
	"created\":\"2013-06-13T14:03:50.821769-07:00\",\"docker_vers"
	"ion\":\"0.4.0\",\"history\":[{\"created\":\"2013-06-13T14:03:50."
	"821769-07:00\",\"comment\":\"Imported from -\"}],\"rootfs\":{\"t"
	"ype\":\"layers\",\"diff_ids\":[\"sha256:1111111111111111111111"
	"111111111111111111111111111111111111111111\"]}}";

static const char modern_base[] =
	"{\"id\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	"aaaaaaaaaaaaaaa\",\"author\":\"me\",\"created\":\"2016-01-01T00:"
	"00:00.500Z\"}";
static const char modern_top[] =
	"{ \"id\":\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	"bbbbbbbbbbbbbbbb\",\"parent\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"created\":\"2016-01"
	"-02T03:04:05.6Z\",\"docker_version\":\"1.9.1\",\"config\":{ \"Cm"
	"d\" : [\"a<b\"], \"Odd\": 1.50 },\"container_config\":{\"Cmd\":[\""
	"/bin/sh\",\"-c\",\"echo\"]},\"architecture\":\"amd64\",\"os\":\"linu"
	"x\",\"Size\":5,\"layer_id\":\"x\"}";
static const char modern_config[] =
	"{\"architecture\":\"amd64\",\"config\":{\"Cmd\":[\"a\\u003cb\"],\"Od"
	"d\":1.50},\"container_config\":{\"Cmd\":[\"/bin/sh\",\"-c\",\"echo"
	"\"]},\"created\":\"2016-01-02T03:04:05.6Z\",\"docker_version\":"
	"\"1.9.1\",\"history\":[{\"created\":\"2016-01-01T00:00:00.5Z\",\""
	"author\":\"me\"},{\"created\":\"2016-01-02T03:04:05.6Z\",\"creat"
	"ed_by\":\"/bin/sh -c echo\"}],\"os\":\"linux\",\"rootfs\":{\"type\""
	":\"layers\",\"diff_ids\":[\"sha256:11111111111111111111111111"
	"11111111111111111111111111111111111111\",\"sha256:22222222"
	"22222222222222222222222222222222222222222222222222222222"
	"\"]}}";

static void
payload_is_what_was_signed(void **state)
{
	char digest[DIGEST_STR_SIZE];
	char *payload = NULL;
	size_t len = 0;

	(void)state;
	assert_int_equal(schema1_payload(signed_manifest,
	    strlen(signed_manifest), &payload, &len, NULL), 0);
	assert_int_equal(digest_of(payload, len, digest, NULL), 0);
	assert_string_equal(digest, payload_digest);
	free(payload);
}

static void
changed_payload_is_refused(void **state)
{
	char *text = strdup(signed_manifest), *payload = NULL;
	size_t len = 0;

	(void)state;
	assert_non_null(text);
	strstr(text, "amd64")[0] = 'b';
	assert_int_equal(schema1_payload(text, strlen(text), &payload, &len,
	    NULL), -IMGD_E_DIGEST);
	assert_null(payload);
	free(text);
}

static void
format_length_beyond_the_end_is_refused(void **state)
{
	static const char text[] = "{\"signatures\":[{\"protected\":"
	    "\"eyJmb3JtYXRMZW5ndGgiOjk5OTk5LCJmb3JtYXRUYWlsIjoiZlEifQ\"}]}";
	char *payload = NULL;
	size_t len = 0;

	(void)state;
	assert_int_equal(schema1_payload(text, strlen(text), &payload, &len,
	    NULL), -IMGD_E_FORMAT);
}

static void
layers_come_base_first(void **state)
{
	struct legacy_image image = LEGACY_IMAGE_INIT;
	char *payload = NULL;
	size_t len = 0;

	(void)state;
	assert_int_equal(schema1_payload(signed_manifest,
	    strlen(signed_manifest), &payload, &len, NULL), 0);
	assert_int_equal(schema1_layers(payload, len, &image, NULL), 0);
	assert_int_equal(image.n_layers, 3);
	assert_string_equal(image.layers[0].blob_digest, DIFF_1);
	assert_string_equal(image.layers[0].parent, "");
	assert_string_equal(image.layers[1].blob_digest, DIFF_2);
	assert_true(image.layers[2].is_throwaway);
	assert_string_equal(image.layers[2].blob_digest, "");
	legacy_image_done(&image);
	free(payload);
}

/* Layers are given top first. */
static int
config_of(const char *const *json, size_t n, const char *const *diff_ids,
    size_t n_diff_ids, char **ret)
{
	struct legacy_image image = LEGACY_IMAGE_INIT;
	size_t i, len = 0;
	int r = 0;

	for (i = 0; i < n && r >= 0; i++)
		r = legacy_add(&image, json[i], strlen(json[i]), NULL, NULL);
	if (r >= 0)
		r = legacy_finish(&image, NULL);
	if (r >= 0)
		r = legacy_config(&image, diff_ids, n_diff_ids, ret, &len,
		    NULL);
	legacy_image_done(&image);
	return r;
}

static void
old_json_is_normalised(void **state)
{
	const char *json[] = { old_json }, *diffs[] = { DIFF_1 };
	char *config = NULL;

	(void)state;
	assert_int_equal(config_of(json, 1, diffs, 1, &config), 0);
	assert_string_equal(config, old_config);
	free(config);
}

static void
modern_json_is_kept_as_it_stands(void **state)
{
	const char *json[] = { modern_top, modern_base };
	const char *diffs[] = { DIFF_1, DIFF_2 };
	char *config = NULL;

	(void)state;
	assert_int_equal(config_of(json, 2, diffs, 2, &config), 0);
	assert_string_equal(config, modern_config);
	free(config);
}

static void
wrong_families_are_refused(void **state)
{
	const char *twice[] = { modern_top, modern_top };
	const char *upside_down[] = { modern_base, modern_top };
	const char *orphan[] = { modern_top };
	const char *bad_id[] = { "{\"id\":\"../../etc\"}" };
	char *config = NULL;

	(void)state;
	assert_int_equal(config_of(twice, 2, NULL, 0, &config),
	    -IMGD_E_FORMAT);
	assert_int_equal(config_of(upside_down, 2, NULL, 0, &config),
	    -IMGD_E_FORMAT);
	assert_int_equal(config_of(orphan, 1, NULL, 0, &config),
	    -IMGD_E_FORMAT);
	assert_int_equal(config_of(bad_id, 1, NULL, 0, &config),
	    -IMGD_E_FORMAT);
	assert_int_equal(config_of(NULL, 0, NULL, 0, &config), -IMGD_E_FORMAT);
}

static void
diff_ids_are_counted(void **state)
{
	const char *json[] = { modern_top, modern_base };
	const char *diffs[] = { DIFF_1 };
	char *config = NULL;

	(void)state;
	assert_int_equal(config_of(json, 2, diffs, 1, &config),
	    -IMGD_E_PROTOCOL);
}

static void
cookies_go_home_only(void **state)
{
	struct cookie_jar *jar = cookie_jar_new();
	char *text;

	(void)state;
	assert_non_null(jar);
	cookie_jar_keep(jar, "http://a:80", "s=1; Path=/; Domain=b");
	cookie_jar_keep(jar, "http://a:80", "t=2");
	cookie_jar_keep(jar, "http://a:80", "s=3; HttpOnly");
	cookie_jar_keep(jar, "http://a:80", "nonsense");
	text = cookie_jar_for(jar, "http://a:80");
	assert_string_equal(text, "s=3; t=2");
	free(text);
	assert_null(cookie_jar_for(jar, "http://b:80"));
	assert_null(cookie_jar_for(jar, "http://a:81"));
	assert_null(cookie_jar_for(jar, "https://a:80"));
	cookie_jar_free(jar);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(payload_is_what_was_signed),
		cmocka_unit_test(changed_payload_is_refused),
		cmocka_unit_test(format_length_beyond_the_end_is_refused),
		cmocka_unit_test(layers_come_base_first),
		cmocka_unit_test(old_json_is_normalised),
		cmocka_unit_test(modern_json_is_kept_as_it_stands),
		cmocka_unit_test(wrong_families_are_refused),
		cmocka_unit_test(diff_ids_are_counted),
		cmocka_unit_test(cookies_go_home_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
