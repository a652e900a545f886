/* What talking to a registry takes of the machine's files, read beforehand. */
#include "config.h"

#include <ctype.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "lib/cleanup.h"
#include "lib/strbuf.h"
#include "registry/manifest.h"
#include "registry/session.h"
#include "registry/session-impl.h"

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready;

static void
start_curl(void)
{
	curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
}

int
registry_start_curl(struct imgd_error **err)
{
	(void)pthread_once(&curl_once, start_curl);
	return curl_ready == CURLE_OK
	    ? 0
	    : imgd_error_set(err, IMGD_E_NET, "libcurl: %s",
		  curl_easy_strerror(curl_ready));
}

/* Load what glibc would load when it comes to it. */
static void
load(const char *file)
{
	(void)dlopen(file, RTLD_NOW | RTLD_LOCAL);
}

static void
load_service(const char *name)
{
	char file[64];

	/* "[NOTFOUND=return]" is what to do, and a path is no name. */
	if (!isalpha((unsigned char)*name) || strchr(name, '/') != NULL)
		return;
	(void)snprintf(file, sizeof(file), "libnss_%s.so.2", name);
	load(file);
}

/* glibc's nsswitch.conf(5): "hosts: files dns". */
static void
load_services(void)
{
	cleanup_fclose FILE *f = fopen("/etc/nsswitch.conf", "re");
	char line[512], *word, *save;

	load_service("files");
	load_service("dns");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		if (!str_starts(line, "hosts:"))
			continue;
		for (word = strtok_r(line + 6, " \t\n", &save); word != NULL;
		     word = strtok_r(NULL, " \t\n", &save))
			load_service(word);
	}
}

int
registry_prepare(struct imgd_error **err)
{
	struct platform host;

	load_services();
	load("libgcc_s.so.1"); /* for threads that are cancelled */
	platform_host(&host);
	return registry_start_curl(err);
}

void
registry_ca_paths(const char *ret[2])
{
	const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);

	ret[0] = v->age >= CURLVERSION_SEVENTH ? v->cainfo : NULL;
	ret[1] = v->age >= CURLVERSION_SEVENTH ? v->capath : NULL;
}
