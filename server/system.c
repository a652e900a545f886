/* What is not about one image: ping, version, info, credentials, events. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup-json.h"
#include "lib/strbuf.h"
#include "server/registry-auth.h"
#include "server/routes.h"

#define JSON_FLAGS (JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)

static struct json_object *
text(const char *s)
{
	return json_object_new_string(s);
}

static void
add_text(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, text(value));
}

static void
add_number(struct json_object *o, const char *key, int64_t value)
{
	json_object_object_add(o, key, json_object_new_int64(value));
}

/* As Docker names machines in the API. */
static const char *
go_arch(const char *machine)
{
	static const char *const names[][2] = {
		{ "x86_64", "amd64" },
		{ "aarch64", "arm64" },
		{ "i686", "386" },
		{ "armv7l", "arm" },
	};
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i][0], machine) == 0)
			return names[i][1];
	return machine;
}

int
route_ping(struct exchange *x, struct imgd_error **err)
{
	(void)err;
	x->is_ping = true;
	exchange_answer(x, 200, "text/plain; charset=utf-8", "OK");
	return 0;
}

int
route_version(struct exchange *x, struct imgd_error **err)
{
	cleanup_json struct json_object *o = json_object_new_object();
	struct json_object *platform = json_object_new_object();
	struct json_object *components = json_object_new_array();
	struct json_object *engine = json_object_new_object();
	struct json_object *details = json_object_new_object();
	struct utsname uts;

	(void)err;
	(void)uname(&uts);
	add_text(platform, "Name", "imgd");
	add_text(details, "ApiVersion", API_VERSION);
	add_text(details, "MinAPIVersion", API_MIN);
	add_text(details, "Arch", go_arch(uts.machine));
	add_text(details, "Os", "linux");
	add_text(details, "KernelVersion", uts.release);
	add_text(details, "Experimental", "false");
	add_text(details, "GitCommit", "n/a");
	add_text(details, "GoVersion", "n/a");
	add_text(engine, "Name", "Engine");
	add_text(engine, "Version", PACKAGE_VERSION);
	json_object_object_add(engine, "Details", details);
	(void)json_object_array_add(components, engine);
	json_object_object_add(o, "Platform", platform);
	json_object_object_add(o, "Components", components);
	add_text(o, "Version", PACKAGE_VERSION);
	add_text(o, "ApiVersion", API_VERSION);
	add_text(o, "MinAPIVersion", API_MIN);
	add_text(o, "GitCommit", "n/a");
	add_text(o, "GoVersion", "n/a");
	add_text(o, "Os", "linux");
	add_text(o, "Arch", go_arch(uts.machine));
	add_text(o, "KernelVersion", uts.release);
	exchange_answer_json(x, 200,
	    json_object_to_json_string_ext(o, JSON_FLAGS));
	return 0;
}

/* ---- info ---- */

/* PRETTY_NAME of os-release(5); in buf. */
static const char *
operating_system(char buf[256])
{
	cleanup_fclose FILE *f = fopen("/etc/os-release", "re");
	char line[256];

	(void)snprintf(buf, 256, "Linux");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "PRETTY_NAME=\"%255[^\"]\"", buf) == 1)
			break;
	return buf;
}

static int64_t
number_of(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	(void)json_object_object_get_ex(o, key, &v);
	return json_object_get_int64(v);
}

static const char *
text_of(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	(void)json_object_object_get_ex(o, key, &v);
	return v != NULL ? json_object_get_string(v) : "";
}

/* The driver that people would get, and what it says of itself. */
static void
add_driver(struct json_object *o, struct json_object *facts)
{
	struct json_object *status = json_object_new_array();
	struct json_object *drivers = NULL, *its = NULL;
	const char *name = text_of(facts, "DefaultDriver");

	(void)json_object_object_get_ex(facts, "Drivers", &drivers);
	if (drivers != NULL)
		(void)json_object_object_get_ex(drivers, name, &its);
	add_text(o, "Driver", name);
	if (its != NULL) {
		json_object_object_foreach(its, key, value) {
			struct json_object *pair = json_object_new_array();

			(void)json_object_array_add(pair, text(key));
			(void)json_object_array_add(pair,
			    json_object_get(value));
			(void)json_object_array_add(status, pair);
		}
	}
	json_object_object_add(o, "DriverStatus", status);
}

static void
add_registries(struct json_object *o, const struct config *c)
{
	struct json_object *registries = json_object_new_object();
	struct json_object *cidrs = json_object_new_array();
	struct json_object *indexes = json_object_new_object();
	struct json_object *mirrors = json_object_new_array();
	struct json_object *hub = json_object_new_object();
	size_t i;

	(void)json_object_array_add(cidrs, text("::1/128"));
	(void)json_object_array_add(cidrs, text("127.0.0.0/8"));
	for (i = 0; i < c->n_registry_mirrors; i++)
		if (strcmp(c->registry_mirrors[i].registry, "docker.io") == 0)
			(void)json_object_array_add(mirrors,
			    text(c->registry_mirrors[i].url));
	add_text(hub, "Name", "docker.io");
	json_object_object_add(hub, "Mirrors", json_object_get(mirrors));
	json_object_object_add(hub, "Secure", json_object_new_boolean(true));
	json_object_object_add(hub, "Official",
	    json_object_new_boolean(true));
	json_object_object_add(indexes, "docker.io", hub);
	for (i = 0; i < c->n_insecure_registries; i++) {
		const char *host = c->insecure_registries[i];
		struct json_object *index;

		if (strchr(host, '/') != NULL) {
			(void)json_object_array_add(cidrs, text(host));
			continue;
		}
		index = json_object_new_object();
		add_text(index, "Name", host);
		json_object_object_add(index, "Mirrors",
		    json_object_new_array());
		json_object_object_add(index, "Secure",
		    json_object_new_boolean(false));
		json_object_object_add(index, "Official",
		    json_object_new_boolean(false));
		json_object_object_add(indexes, host, index);
	}
	json_object_object_add(registries, "InsecureRegistryCIDRs", cidrs);
	json_object_object_add(registries, "IndexConfigs", indexes);
	json_object_object_add(registries, "Mirrors", mirrors);
	json_object_object_add(o, "RegistryConfig", registries);
}

static void
add_host(struct json_object *o)
{
	struct sysinfo memory;
	struct utsname uts;
	char os[256], when[40];
	time_t now = time(NULL);
	struct tm tm;

	(void)uname(&uts);
	(void)sysinfo(&memory);
	(void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ",
	    gmtime_r(&now, &tm));
	add_text(o, "SystemTime", when);
	add_text(o, "KernelVersion", uts.release);
	add_text(o, "OperatingSystem", operating_system(os));
	/* No OSType: with it the CLI prints lines about runc and its like. */
	add_text(o, "Architecture", uts.machine);
	add_text(o, "Name", uts.nodename);
	add_number(o, "NCPU", sysconf(_SC_NPROCESSORS_ONLN));
	add_number(o, "MemTotal",
	    (int64_t)memory.totalram * (int64_t)memory.mem_unit);
}

/* What the CLI prints wrongly if it is not there. */
static void
add_absent(struct json_object *o)
{
	static const char *const lists[] = { "Volume", "Network", "Log" };
	/* Of containers, which are nobody's worry here. */
	static const char *const abilities[] = { "MemoryLimit", "SwapLimit",
		"CpuCfsPeriod", "CpuCfsQuota", "CPUShares", "CPUSet",
		"PidsLimit", "OomKillDisable", "IPv4Forwarding",
		"BridgeNfIptables", "BridgeNfIp6tables" };
	struct json_object *swarm = json_object_new_object();
	struct json_object *plugins = json_object_new_object();
	size_t i;

	add_text(swarm, "NodeID", "");
	add_text(swarm, "NodeAddr", "");
	add_text(swarm, "LocalNodeState", "inactive");
	json_object_object_add(swarm, "ControlAvailable",
	    json_object_new_boolean(false));
	add_text(swarm, "Error", "");
	json_object_object_add(swarm, "RemoteManagers", NULL);
	json_object_object_add(o, "Swarm", swarm);
	for (i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		json_object_object_add(plugins, lists[i],
		    json_object_new_array());
	for (i = 0; i < sizeof(abilities) / sizeof(abilities[0]); i++)
		json_object_object_add(o, abilities[i],
		    json_object_new_boolean(true));
	json_object_object_add(plugins, "Authorization", NULL);
	json_object_object_add(o, "Plugins", plugins);
	add_text(o, "LoggingDriver", "");
	add_text(o, "CgroupDriver", "");
	json_object_object_add(o, "Runtimes", json_object_new_object());
	add_text(o, "DefaultRuntime", "");
	json_object_object_add(o, "SecurityOptions",
	    json_object_new_array());
	json_object_object_add(o, "Warnings", json_object_new_array());
	json_object_object_add(o, "Labels", json_object_new_array());
	json_object_object_add(o, "LiveRestoreEnabled",
	    json_object_new_boolean(true));
	json_object_object_add(o, "ExperimentalBuild",
	    json_object_new_boolean(false));
}

/* The job's facts as Docker's, with ours under "Imgd". */
static void
convert_info(struct exchange *x, const char *result, struct strbuf *out)
{
	cleanup_json struct json_object *facts = json_tokener_parse(result);
	cleanup_json struct json_object *o = json_object_new_object();
	const struct config *c = engine_config(x->engine);
	int64_t n = number_of(facts, "Containers");

	add_text(o, "ID", "");
	add_number(o, "Containers", n);
	add_number(o, "ContainersRunning", 0);
	add_number(o, "ContainersPaused", 0);
	add_number(o, "ContainersStopped", n);
	add_number(o, "Images", number_of(facts, "Images"));
	add_driver(o, facts);
	add_text(o, "ServerVersion", PACKAGE_VERSION);
	add_text(o, "DockerRootDir", text_of(facts, "Root"));
	add_text(o, "IndexServerAddress", "https://index.docker.io/v1/");
	add_registries(o, c);
	add_host(o);
	add_absent(o);
	json_object_object_add(o, "Imgd", json_object_get(facts));
	strbuf_puts(out, json_object_to_json_string_ext(o, JSON_FLAGS));
}

int
route_info(struct exchange *x, struct imgd_error **err)
{
	int r;

	x->convert = convert_info;
	r = exchange_job(x, "info", ANSWER_RESULT, err);
	return r < 0 ? r : exchange_run(x, err);
}

/* ---- auth ---- */

static void
convert_login(struct exchange *x, const char *result, struct strbuf *out)
{
	(void)x;
	strbuf_puts(out, "{\"IdentityToken\":");
	strbuf_json(out, result);
	strbuf_puts(out, ",\"Status\":\"Login Succeeded\"}");
}

/* "https://index.docker.io/v1/" or "host:port", as a name in it. */
static char *
name_in(const char *server)
{
	const char *host = strstr(server, "://");
	char *name;
	int len;

	host = host != NULL ? host + 3 : server;
	len = (int)strcspn(host, "/");
	if (len == 0 || strncmp(host, "index.docker.io", (size_t)len) == 0) {
		host = "docker.io";
		len = (int)strlen(host);
	}
	return asprintf(&name, "%.*s/library/any", len, host) < 0 ? NULL
								   : name;
}

int
route_auth(struct exchange *x, struct imgd_error **err)
{
	cleanup(registry_auth_done) struct registry_auth auth = { 0 };
	cleanup_free char *name = NULL;
	int r;

	if (x->body.data == NULL)
		return imgd_error_set(err, EINVAL, "no credentials are given");
	r = registry_auth_parse(x->body.data, x->body.len, &auth, err);
	explicit_bzero(x->body.data, x->body.len);
	if (r < 0)
		return r;
	name = name_in(auth.server != NULL ? auth.server : "");
	if (name == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	x->convert = convert_login;
	x->is_login = true;
	r = exchange_job(x, "login", ANSWER_RESULT, err);
	if (r >= 0)
		r = job_add_arg(x->job, name, err);
	if (r >= 0)
		r = job_setenv(x->job, "username", auth.username, err);
	if (r >= 0)
		r = job_setenv(x->job, "password", auth.password, err);
	if (r >= 0)
		r = job_setenv(x->job, "identity-token", auth.identity_token,
		    err);
	return r < 0 ? r : exchange_run(x, err);
}

/* ---- space and events ---- */

int
route_df(struct exchange *x, struct imgd_error **err)
{
	int r = exchange_job(x, "df", ANSWER_RESULT, err);

	return r < 0 ? r : exchange_run(x, err);
}

int
route_events(struct exchange *x, struct imgd_error **err)
{
	static const char *const keys[] = { "since", "until", "filters",
		NULL };
	size_t i;
	int r = exchange_job(x, "events", ANSWER_STREAM, err);

	for (i = 0; r >= 0 && keys[i] != NULL; i++)
		r = job_setenv(x->job, keys[i],
		    request_get(&x->request, keys[i]), err);
	if (r < 0)
		return r;
	exchange_commit(x);
	return exchange_run(x, err);
}

/* ---- metrics, in Prometheus's text format ---- */

static void
add_metric(struct strbuf *out, const char *name, const char *help,
    int64_t value)
{
	strbuf_printf(out,
	    "# HELP imgd_%s %s\n# TYPE imgd_%s gauge\nimgd_%s %jd\n", name,
	    help, name, name, (intmax_t)value);
}

static void
convert_metrics(struct exchange *x, const char *result, struct strbuf *out)
{
	cleanup_json struct json_object *facts = json_tokener_parse(result);
	struct engine *e = x->engine;
	int64_t n_jobs, n_downloads, n_uploads;

	pthread_mutex_lock(&e->mutex);
	/* But for the one that asks. */
	n_jobs = (int64_t)e->n_jobs - 1;
	n_downloads = e->n_transfers;
	n_uploads = e->n_uploads;
	pthread_mutex_unlock(&e->mutex);
	add_metric(out, "images", "Images in the store.",
	    number_of(facts, "Images"));
	add_metric(out, "layers", "Layers in the store, of all drivers.",
	    number_of(facts, "Layers"));
	add_metric(out, "layer_bytes", "Bytes of those layers.",
	    number_of(facts, "LayerBytes"));
	add_metric(out, "containers", "Writable layers.",
	    number_of(facts, "Containers"));
	add_metric(out, "partial_blobs", "Blobs kept from broken downloads.",
	    number_of(facts, "PartialBlobs"));
	add_metric(out, "partial_bytes", "Bytes of those blobs.",
	    number_of(facts, "PartialBytes"));
	add_metric(out, "jobs", "Jobs that run.", n_jobs);
	add_metric(out, "downloads", "Layers being fetched.", n_downloads);
	add_metric(out, "uploads", "Layers being sent.", n_uploads);
}

int
route_metrics(struct exchange *x, struct imgd_error **err)
{
	int r;

	if (!x->has_metrics)
		return imgd_error_set(err, ENOENT, "page not found");
	x->convert = convert_metrics;
	x->result_type = "text/plain; version=0.0.4";
	r = exchange_job(x, "info", ANSWER_RESULT, err);
	return r < 0 ? r : exchange_run(x, err);
}
