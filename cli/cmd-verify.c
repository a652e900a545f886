#include "config.h"

#include <stdio.h>

#include "cli/cli.h"
#include "cli/credentials.h"
#include "lib/cleanup-json.h"
#include "registry/reference.h"

/* What is no name, but an id, has no registry. */
static int
find_credentials(const char *typed, struct credentials *ret,
    struct imgd_error **err)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;

	return reference_parse(typed, 0, &ref, NULL) < 0
	    ? 0
	    : credentials_find(typed, ret, err);
}

static void
print_line(struct json_object *o, const char *title, const char *key)
{
	struct json_object *v = NULL;

	if (!json_object_object_get_ex(o, key, &v))
		return;
	(void)printf("%-11s", title);
	print_escaped(json_object_get_string(v));
	(void)putchar('\n');
}

static void
print_finding(struct json_object *o)
{
	print_line(o, "Image:", "Image");
	print_line(o, "Digest:", "Digest");
	print_line(o, "Signed as:", "SignedAs");
	print_line(o, "Key:", "Key");
	print_line(o, "Source:", "Source");
}

int
cmd_verify(struct cli *cli, int argc, char **argv)
{
	cleanup(credentials_done) struct credentials cred = { 0 };
	cleanup_error struct imgd_error *err = NULL;
	cleanup_json struct json_object *o = NULL;
	bool is_json = false, is_offline = false, is_any_name = false;
	cleanup_free char *pem = NULL;
	const char *key = NULL;
	const struct option_spec specs[] = {
		{ 0, "key", NULL, &key },
		{ 0, "any-name", &is_any_name, NULL },
		{ 0, "offline", &is_offline, NULL },
		{ 0, "json", &is_json, NULL },
		{ 0, NULL, NULL, NULL },
	};
	int n;

	if (parse_options(cli, argc, argv, specs, 1, 1, &n) < 0)
		return EXIT_USAGE;
	if (is_any_name && key == NULL)
		return usage_error(cli, "--any-name goes with --key");
	if (key != NULL && read_verify_key(key, &pem, &err) < 0)
		return report(cli, NULL, err);
	if (!is_offline && find_credentials(argv[1], &cred, &err) < 0)
		return report(cli, argv[1], err);
	{
		const char *const env[][2] = {
			{ "verify-key", pem },
			{ "key-name", key },
			{ "any-name", is_any_name ? "1" : NULL },
			{ "offline", is_offline ? "1" : NULL },
			{ "username", cred.username },
			{ "password", cred.password },
			{ "identity-token", cred.identity_token },
		};

		if (cli_ask(cli, "verify", argv[1], env,
			sizeof(env) / sizeof(env[0]), &o, &err) < 0)
			return report(cli, argv[1], err);
	}
	if (is_json)
		print_json(o, true);
	else
		print_finding(o);
	return 0;
}
