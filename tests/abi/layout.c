/*
 * Print where all fields of the driver ABI are, and its constants, to be
 * compared with layout-lp64.
 */
#include <stddef.h>
#include <stdio.h>

#include "imgd/driver.h"

#define SIZE(s)     (void)printf("%s %zu\n", #s, sizeof(struct s))
#define FIELD(s, f) (void)printf("%s.%s %zu\n", #s, #f, offsetof(struct s, f))
#define VALUE(name) (void)printf("%s %lu\n", #name, (unsigned long)(name))

static void
print_structs(void)
{
	SIZE(imgd_option);
	FIELD(imgd_option, key);
	FIELD(imgd_option, value);
	SIZE(imgd_env);
	FIELD(imgd_env, struct_size);
	FIELD(imgd_env, flags);
	FIELD(imgd_env, home_fd);
	FIELD(imgd_env, home);
	FIELD(imgd_env, run_dir);
	FIELD(imgd_env, options);
	FIELD(imgd_env, n_options);
	FIELD(imgd_env, log);
	FIELD(imgd_env, cancelled);
	SIZE(imgd_layer_opts);
	FIELD(imgd_layer_opts, struct_size);
	FIELD(imgd_layer_opts, reserved);
	FIELD(imgd_layer_opts, quota_bytes);
	FIELD(imgd_layer_opts, mount_label);
	SIZE(imgd_source);
	FIELD(imgd_source, struct_size);
	FIELD(imgd_source, ctx);
	FIELD(imgd_source, read);
	SIZE(imgd_sink);
	FIELD(imgd_sink, struct_size);
	FIELD(imgd_sink, ctx);
	FIELD(imgd_sink, write);
	SIZE(imgd_kv);
	FIELD(imgd_kv, struct_size);
	FIELD(imgd_kv, ctx);
	FIELD(imgd_kv, put);
	SIZE(imgd_driver);
	FIELD(imgd_driver, struct_size);
	FIELD(imgd_driver, api);
	FIELD(imgd_driver, threads);
	FIELD(imgd_driver, caps);
	FIELD(imgd_driver, max_depth);
	FIELD(imgd_driver, name);
	FIELD(imgd_driver, description);
	FIELD(imgd_driver, options_help);
	FIELD(imgd_driver, probe);
	FIELD(imgd_driver, open);
	FIELD(imgd_driver, narrow);
	FIELD(imgd_driver, cleanup);
	FIELD(imgd_driver, close);
	FIELD(imgd_driver, create);
	FIELD(imgd_driver, create_rw);
	FIELD(imgd_driver, seal);
	FIELD(imgd_driver, flush);
	FIELD(imgd_driver, replace);
	FIELD(imgd_driver, remove);
	FIELD(imgd_driver, exists);
	FIELD(imgd_driver, list);
	FIELD(imgd_driver, get);
	FIELD(imgd_driver, put);
	FIELD(imgd_driver, own_dir);
	FIELD(imgd_driver, apply_diff);
	FIELD(imgd_driver, diff);
	FIELD(imgd_driver, changes);
	FIELD(imgd_driver, diff_size);
	FIELD(imgd_driver, status);
	FIELD(imgd_driver, metadata);
	FIELD(imgd_driver, check);
}

int
main(void)
{
	print_structs();
	VALUE(IMGD_DRIVER_API);
	VALUE(IMGD_THREADS_SERIAL);
	VALUE(IMGD_THREADS_PER_LAYER);
	VALUE(IMGD_THREADS_PARALLEL);
	VALUE(IMGD_CAP_RW);
	VALUE(IMGD_CAP_INDEPENDENT);
	VALUE(IMGD_CAP_EXACT_DIFF);
	VALUE(IMGD_CAP_QUOTA);
	VALUE(IMGD_CAP_LABEL);
	VALUE(IMGD_CAP_LIVE_CHECK);
	VALUE(IMGD_CAP_BLOCKDEV);
	VALUE(IMGD_OPEN_READONLY);
	VALUE(IMGD_GET_TREE);
	VALUE(IMGD_GET_BLOCK);
	VALUE(IMGD_WH_DELETE);
	VALUE(IMGD_WH_AUFS);
	VALUE(IMGD_WH_OVERLAY);
	VALUE(IMGD_CHECK_DEEP);
	VALUE(IMGD_CHECK_REPAIR);
	VALUE(IMGD_STATE_MASK);
	VALUE(IMGD_STATE_STAGED);
	VALUE(IMGD_STATE_SEALED);
	VALUE(IMGD_STATE_RW);
	VALUE(IMGD_STATE_MOUNTED);
	VALUE(IMGD_CHANGE_MODIFY);
	VALUE(IMGD_CHANGE_ADD);
	VALUE(IMGD_CHANGE_DELETE);
	VALUE(IMGD_LOG_DEBUG);
	VALUE(IMGD_LOG_WARN);
	VALUE(IMGD_E_DIGEST);
	VALUE(IMGD_E_FORMAT);
	VALUE(IMGD_E_LIMIT);
	VALUE(IMGD_E_UNKNOWN);
	VALUE(IMGD_E_DENIED);
	VALUE(IMGD_E_PROTOCOL);
	VALUE(IMGD_E_HTTP);
	VALUE(IMGD_E_NET);
	VALUE(IMGD_E_TLS);
	VALUE(IMGD_E_RATE);
	VALUE(IMGD_E_PLATFORM);
	VALUE(IMGD_E_MEDIATYPE);
	VALUE(IMGD_E_GOING);
	VALUE(IMGD_E_CONFLICT);
	return 0;
}
