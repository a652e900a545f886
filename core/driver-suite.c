#include "config.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/driver-call.h"
#include "core/driver-suite.h"
#include "core/module.h"
#include "lib/cleanup.h"

static int
load_suite(driver_suite_main_fn **ret, struct imgd_error **err)
{
	cleanup_free char *dir = NULL, *path = NULL;
	void *module, *symbol;
	int r = module_dir(&dir, err);

	if (r < 0)
		return r;
	if (asprintf(&path, "%s/suite/imgd-driver-suite.so", dir) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = module_load(path, &module, err);
	if (r < 0)
		return imgd_error_prefix(err, "conformance suite");
	symbol = dlsym(module, DRIVER_SUITE_SYMBOL);
	if (symbol == NULL)
		return imgd_error_set(err, ENOEXEC,
		    "%s has no " DRIVER_SUITE_SYMBOL, path);
	memcpy(ret, &symbol, sizeof(*ret));
	return 0;
}

/* Cut "KEY=VALUE" in two; *ret_text is what the options point into. */
static int
split_options(const struct driver_suite *suite,
    struct imgd_option **ret_options, char ***ret_text,
    struct imgd_error **err)
{
	size_t i;

	*ret_options = calloc(suite->n_options + 1, sizeof(**ret_options));
	*ret_text = calloc(suite->n_options + 1, sizeof(**ret_text));
	if (*ret_options == NULL || *ret_text == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < suite->n_options; i++) {
		char *text = strdup(suite->options[i]), *value;

		(*ret_text)[i] = text;
		if (text == NULL)
			return imgd_error_set(err, ENOMEM, "out of memory");
		value = strchr(text, '=');
		if (value == NULL || value == text)
			return imgd_error_set(err, EINVAL,
			    "driver option \"%s\" is not KEY=VALUE", text);
		*value++ = '\0';
		(*ret_options)[i] = (struct imgd_option) { text, value };
	}
	return 0;
}

static void
text_freep(char ***text)
{
	size_t i;

	for (i = 0; *text != NULL && (*text)[i] != NULL; i++)
		free((*text)[i]);
	free(*text);
}

int
driver_suite_run(const struct driver_suite *suite, struct imgd_error **err)
{
	cleanup(driver_info_done) struct driver_info info = { 0 };
	cleanup(driver_info_done) struct driver_info vfs = { 0 };
	cleanup_free struct imgd_option *options = NULL;
	cleanup(text_freep) char **text = NULL;
	struct driver_suite_params p = {
		.driver = &info.table,
		.n_options = (uint32_t)suite->n_options,
		.root = suite->root,
		.glob = suite->glob,
		.is_list = suite->is_list,
	};
	driver_suite_main_fn *run = NULL;
	int r;

	r = driver_load(suite->driver, &info, err);
	if (r >= 0)
		r = split_options(suite, &options, &text, err);
	if (r >= 0)
		r = load_suite(&run, err);
	if (r < 0)
		return r;
	p.options = options;
	if (driver_load("vfs", &vfs, NULL) >= 0)
		p.reference = &vfs.table;
	return run(&p);
}
