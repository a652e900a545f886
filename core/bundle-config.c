#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/bundle-config.h"
#include "lib/cleanup-json.h"
#include "lib/strbuf.h"
#include "registry/json-get.h"

#define OCI_VERSION  "1.0.2"
#define DEFAULT_PATH \
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define NOTE "org.opencontainers.image."

/* moby oci/defaults.go and oci/caps/defaults.go, of 28. */
static const char *const capabilities[] = { "CAP_CHOWN", "CAP_DAC_OVERRIDE",
	"CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
	"CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE", NULL };
static const char *const namespaces[] = { "mount", "network", "uts", "pid",
	"ipc", "cgroup", NULL };
static const char *const masked[] = { "/proc/acpi", "/proc/asound",
	"/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
	"/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
	"/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	NULL };
static const char *const readonly[] = { "/proc/bus", "/proc/fs", "/proc/irq",
	"/proc/sys", "/proc/sysrq-trigger", NULL };
static const struct {
	const char *target, *type, *source, *options; /* by commas */
} mounts[] = {
	{ "/proc", "proc", "proc", "nosuid,noexec,nodev" },
	{ "/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k" },
	{ "/dev/pts", "devpts", "devpts",
	    "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5" },
	{ "/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro" },
	{ "/sys/fs/cgroup", "cgroup", "cgroup", "ro,nosuid,noexec,nodev" },
	{ "/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev" },
	{ "/dev/shm", "tmpfs", "shm",
	    "nosuid,noexec,nodev,mode=1777,size=65536k" },
};

static struct json_object *
text(const char *s)
{
	return json_object_new_string(s);
}

static void
add(struct json_object *o, const char *key, struct json_object *v)
{
	(void)json_object_object_add(o, key, v);
}

static struct json_object *
list(const char *const *words)
{
	struct json_object *a = json_object_new_array();

	for (; *words != NULL; words++)
		(void)json_object_array_add(a, text(*words));
	return a;
}

static struct json_object *
split(const char *words)
{
	struct json_object *a = json_object_new_array();

	while (*words != '\0') {
		size_t n = strcspn(words, ",");

		(void)json_object_array_add(a,
		    json_object_new_string_len(words, (int)n));
		words += n + (words[n] == ',');
	}
	return a;
}

/* ---- what the image says ---- */

/* The object "config"; empty if it has none.  The caller's. */
static int
parse_settings(const struct image_config *image, struct json_object **ret,
    struct imgd_error **err)
{
	if (image->config_json != NULL)
		return json_get_root(image->config_json,
		    strlen(image->config_json), ret, err);
	*ret = json_object_new_object();
	return *ret != NULL ? 0
			    : imgd_error_set(err, ENOMEM, "out of memory");
}

static struct json_object *
member(struct json_object *o, const char *key, enum json_type type)
{
	struct json_object *v = NULL;

	return json_object_object_get_ex(o, key, &v) &&
		json_object_is_type(v, type)
	    ? v
	    : NULL;
}

static const char *
string(struct json_object *o, const char *key)
{
	struct json_object *v = member(o, key, json_type_string);

	return v != NULL ? json_object_get_string(v) : "";
}

static void
append_strings(struct json_object *to, struct json_object *from)
{
	size_t i;

	for (i = 0; from != NULL && i < json_object_array_length(from); i++) {
		struct json_object *v = json_object_array_get_idx(from, i);

		if (json_object_is_type(v, json_type_string))
			(void)json_object_array_add(to, json_object_get(v));
	}
}

/* Entrypoint and Cmd; a shell where there is neither, as runc has it. */
static struct json_object *
make_args(struct json_object *settings, const char *const *command)
{
	struct json_object *args = json_object_new_array();

	append_strings(args, member(settings, "Entrypoint", json_type_array));
	if (command == NULL || *command == NULL)
		append_strings(args, member(settings, "Cmd", json_type_array));
	for (; command != NULL && *command != NULL; command++)
		(void)json_object_array_add(args, text(*command));
	if (json_object_array_length(args) == 0)
		(void)json_object_array_add(args, text("sh"));
	return args;
}

static bool
has_variable(struct json_object *env, const char *start)
{
	size_t i;

	for (i = 0; i < json_object_array_length(env); i++)
		if (str_starts(json_object_get_string(
				   json_object_array_get_idx(env, i)),
			start))
			return true;
	return false;
}

static struct json_object *
make_env(struct json_object *settings, const struct bundle_words *w)
{
	struct json_object *env = json_object_new_array();

	append_strings(env, member(settings, "Env", json_type_array));
	if (!has_variable(env, "PATH="))
		(void)json_object_array_add(env, text(DEFAULT_PATH));
	if (w->has_terminal && !has_variable(env, "TERM="))
		(void)json_object_array_add(env, text("TERM=xterm"));
	return env;
}

static struct json_object *
make_user(const struct image_user *user)
{
	struct json_object *o = json_object_new_object();
	struct json_object *groups = json_object_new_array();
	size_t i;

	add(o, "uid", json_object_new_int64(user->uid));
	add(o, "gid", json_object_new_int64(user->gid));
	/* The main group among them, or giving it up would open what is closed
	 * to that group (CVE-2022-36109). */
	(void)json_object_array_add(groups, json_object_new_int64(user->gid));
	for (i = 0; i < user->n_groups; i++)
		if (user->groups[i] != user->gid)
			(void)json_object_array_add(groups,
			    json_object_new_int64(user->groups[i]));
	add(o, "additionalGids", groups);
	return o;
}

static struct json_object *
make_capabilities(void)
{
	struct json_object *o = json_object_new_object();

	add(o, "bounding", list(capabilities));
	add(o, "effective", list(capabilities));
	add(o, "permitted", list(capabilities));
	return o;
}

static struct json_object *
make_process(struct json_object *settings, const struct image_user *user,
    const struct bundle_words *w)
{
	const char *dir = string(settings, "WorkingDir");
	struct json_object *o = json_object_new_object();
	struct strbuf cwd = STRBUF_INIT;

	if (*dir != '/')
		strbuf_putc(&cwd, '/');
	strbuf_puts(&cwd, dir);
	add(o, "terminal", json_object_new_boolean(w->has_terminal));
	add(o, "user", make_user(user));
	add(o, "args", make_args(settings, w->command));
	add(o, "env", make_env(settings, w));
	add(o, "cwd", text(cwd.data != NULL ? cwd.data : "/"));
	add(o, "capabilities", make_capabilities());
	strbuf_done(&cwd);
	return o;
}

/* ---- annotations ---- */

static void
note(struct json_object *o, const char *key, const char *value)
{
	if (value != NULL && *value != '\0')
		add(o, key, text(value));
}

static int
compare_texts(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void
note_ports(struct json_object *o, struct json_object *ports)
{
	cleanup_free const char **names = NULL;
	struct strbuf sb = STRBUF_INIT;
	size_t i, n = 0;

	if (ports == NULL)
		return;
	names = calloc((size_t)json_object_object_length(ports) + 1,
	    sizeof(*names));
	if (names == NULL)
		return;
	json_object_object_foreach(ports, key, value) {
		(void)value;
		names[n++] = key;
	}
	qsort(names, n, sizeof(*names), compare_texts);
	for (i = 0; i < n; i++)
		strbuf_printf(&sb, "%s%s", i > 0 ? "," : "", names[i]);
	note(o, NOTE "exposedPorts", sb.data);
	strbuf_done(&sb);
}

/* The image's own labels win. */
static struct json_object *
make_annotations(const struct image_config *image,
    struct json_object *settings)
{
	struct json_object *labels = member(settings, "Labels",
	    json_type_object);
	struct json_object *o = json_object_new_object();

	note(o, NOTE "os", image->platform.os);
	note(o, NOTE "architecture", image->platform.arch);
	note(o, NOTE "variant", image->platform.variant);
	note(o, NOTE "author", image->author);
	note(o, NOTE "created", image->created);
	note(o, NOTE "stopSignal", string(settings, "StopSignal"));
	note_ports(o, member(settings, "ExposedPorts", json_type_object));
	if (labels == NULL)
		return o;
	json_object_object_foreach(labels, key, value) {
		if (*key != '\0' && json_object_is_type(value, json_type_string))
			add(o, key, json_object_get(value));
	}
	return o;
}

/* ---- what it does not say ---- */

static struct json_object *
make_mounts(void)
{
	struct json_object *a = json_object_new_array();
	size_t i;

	for (i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		struct json_object *o = json_object_new_object();

		add(o, "destination", text(mounts[i].target));
		add(o, "type", text(mounts[i].type));
		add(o, "source", text(mounts[i].source));
		add(o, "options", split(mounts[i].options));
		(void)json_object_array_add(a, o);
	}
	return a;
}

static struct json_object *
make_linux(void)
{
	struct json_object *o = json_object_new_object();
	struct json_object *resources = json_object_new_object();
	struct json_object *devices = json_object_new_array();
	struct json_object *none = json_object_new_object();
	struct json_object *spaces = json_object_new_array();
	size_t i;

	/* The runtime itself lets in what every container has. */
	add(none, "allow", json_object_new_boolean(0));
	add(none, "access", text("rwm"));
	(void)json_object_array_add(devices, none);
	add(resources, "devices", devices);
	add(o, "resources", resources);
	for (i = 0; namespaces[i] != NULL; i++) {
		struct json_object *space = json_object_new_object();

		add(space, "type", text(namespaces[i]));
		(void)json_object_array_add(spaces, space);
	}
	add(o, "namespaces", spaces);
	add(o, "maskedPaths", list(masked));
	add(o, "readonlyPaths", list(readonly));
	return o;
}

/* ---- all of it ---- */

int
bundle_user(const struct image_config *image, char **ret,
    struct imgd_error **err)
{
	cleanup_json struct json_object *settings = NULL;
	int r = parse_settings(image, &settings, err);

	if (r < 0)
		return r;
	*ret = strdup(string(settings, "User"));
	return *ret != NULL ? 0
			    : imgd_error_set(err, ENOMEM, "out of memory");
}

int
bundle_config(const struct image_config *image, const struct image_user *user,
    const struct bundle_words *w, char **ret, struct imgd_error **err)
{
	cleanup_json struct json_object *settings = NULL;
	cleanup_json struct json_object *o = json_object_new_object();
	struct json_object *root = json_object_new_object();
	int r = parse_settings(image, &settings, err);

	if (r >= 0) {
		add(o, "ociVersion", text(OCI_VERSION));
		add(o, "process", make_process(settings, user, w));
		add(root, "path", text("rootfs"));
		add(root, "readonly", json_object_new_boolean(0));
		add(o, "root", json_object_get(root));
		add(o, "hostname", text(w->hostname));
		add(o, "mounts", make_mounts());
		add(o, "annotations", make_annotations(image, settings));
		add(o, "linux", make_linux());
		*ret = strdup(json_object_to_json_string_ext(o,
		    JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
			JSON_C_TO_STRING_NOSLASHESCAPE));
		if (*ret == NULL)
			r = imgd_error_set(err, ENOMEM, "out of memory");
	}
	(void)json_object_put(root);
	return r;
}
