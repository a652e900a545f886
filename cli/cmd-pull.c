#include "config.h"

#include "cli/cli.h"

int
cmd_pull(struct cli *cli, int argc, char **argv)
{
	struct transfer t = { 0 };
	const char *platform = NULL;
	const struct option_spec specs[] = {
		{ 'a', "all-tags", &t.is_all, NULL },
		{ 'q', "quiet", &t.is_quiet, NULL },
		{ 0, "json", &t.is_json, NULL },
		{ 0, "driver", NULL, &t.driver },
		{ 0, "retry", NULL, &t.retry },
		{ 0, "limit-rate", NULL, &t.limit_rate },
		{ 0, "platform", NULL, &platform },
		{ 0, "registry-v1", &t.is_v1, NULL },
		{ 0, "verify-key", NULL, &t.verify_key },
		{ 0, "any-name", &t.is_any_name, NULL },
		{ 0, NULL, NULL, NULL },
	};
	int n;

	if (parse_options(cli, argc, argv, specs, 1, 1, &n) < 0)
		return EXIT_USAGE;
	return transfer_run(cli, argv[1], &t, "platform", platform);
}
