/* Names of images; what is one says itself in a way that means the same. */
#include "config.h"

#include "lib/cleanup.h"
#include "lib/limits.h"
#include "registry/manifest.h"
#include "registry/reference.h"
#include "tests/fuzz/fuzz.h"

static bool
same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void
check_again(const struct reference *ref, char *text)
{
	struct reference again = REFERENCE_INIT;

	MUST(text != NULL);
	MUST(reference_parse(text, 0, &again, NULL) >= 0);
	MUST(same(again.domain, ref->domain) && same(again.path, ref->path));
	/* A digest wins, and the tag beside it is not always told. */
	MUST(same(again.digest, ref->digest));
	MUST(ref->digest != NULL || same(again.tag, ref->tag));
	reference_done(&again);
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	cleanup_error struct imgd_error *err = NULL;
	cleanup_free char *s = text_of(data, len);
	struct reference ref = REFERENCE_INIT;
	struct platform platform;
	int r;

	r = reference_parse(s, 0, &ref, &err);
	must_be_told(r, err);
	if (r >= 0) {
		MUST(strlen(ref.path) <= LIMIT_REF_PATH_BYTES);
		MUST(ref.tag == NULL || reference_tag_is_valid(ref.tag));
		check_again(&ref, reference_canonical(&ref));
		check_again(&ref, reference_familiar(&ref));
	}
	reference_done(&ref);
	(void)platform_parse(s, &platform, NULL);
	return 0;
}
