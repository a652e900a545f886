/*
 * Platforms as containerd's "platforms" package understands them: names of
 * Go's, normalised, and for each wanted one an ordered list of what runs
 * there.
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "lib/cleanup.h"
#include "registry/manifest.h"

static const char *const known_os[] = { "aix", "android", "darwin",
	"dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux",
	"netbsd", "openbsd", "plan9", "solaris", "wasip1", "windows", "zos",
	"macos" };

static const char *const known_arch[] = { "386", "amd64", "arm", "armbe",
	"arm64", "arm64be", "loong64", "mips", "mipsle", "mips64", "mips64le",
	"ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x",
	"sparc", "sparc64", "wasm", "i386", "x86_64", "x86-64", "aarch64",
	"armhf", "armel" };

struct alias {
	const char *from, *arch, *variant; /* variant NULL: keep */
};

static const struct alias aliases[] = {
	{ "i386", "386", NULL },
	{ "x86_64", "amd64", NULL },
	{ "x86-64", "amd64", NULL },
	{ "aarch64", "arm64", NULL },
	{ "armhf", "arm", "v7" },
	{ "armel", "arm", "v6" },
};

/* "uname -m" to Go's name, beside the aliases above. */
static const struct alias machines[] = {
	{ "armv5", "arm", "v5" },
	{ "armv6", "arm", "v6" },
	{ "armv7", "arm", "v7" },
	{ "armv8", "arm", "v8" },
	{ "loongarch64", "loong64", NULL },
};

/* Variants that are written in several ways. */
static const struct {
	const char *arch, *from, *to;
} variants[] = {
	{ "amd64", "v1", "" },
	{ "arm64", "8", "" },
	{ "arm64", "v8", "" },
	{ "arm64", "v8.0", "" },
	{ "arm64", "9", "v9" },
	{ "arm64", "9.0", "v9" },
	{ "arm64", "v9.0", "v9" },
	{ "arm", "", "v7" },
	{ "arm", "5", "v5" },
	{ "arm", "6", "v6" },
	{ "arm", "7", "v7" },
	{ "arm", "8", "v8" },
};

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

static void
set(char *to, size_t size, const char *from)
{
	size_t len = strlen(from);

	if (len >= size)
		len = size - 1;
	memcpy(to, from, len);
	to[len] = '\0';
}

static bool
is_one_of(const char *s, const char *const *list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (strcmp(s, list[i]) == 0)
			return true;
	return false;
}

static void
lower(char *s)
{
	for (; *s != '\0'; s++)
		if (*s >= 'A' && *s <= 'Z')
			*s = (char)(*s - 'A' + 'a');
}

static void
resolve_alias(struct platform *p)
{
	size_t i;

	for (i = 0; i < N_OF(aliases); i++) {
		if (strcmp(p->arch, aliases[i].from) != 0)
			continue;
		set(p->arch, sizeof(p->arch), aliases[i].arch);
		if (aliases[i].variant != NULL)
			set(p->variant, sizeof(p->variant),
			    aliases[i].variant);
		return;
	}
}

void
platform_normalize(struct platform *p)
{
	size_t i;

	lower(p->os);
	lower(p->arch);
	lower(p->variant);
	if (p->os[0] == '\0')
		set(p->os, sizeof(p->os), "linux");
	else if (strcmp(p->os, "macos") == 0)
		set(p->os, sizeof(p->os), "darwin");
	resolve_alias(p);
	for (i = 0; i < N_OF(variants); i++) {
		if (strcmp(p->arch, variants[i].arch) == 0 &&
		    strcmp(p->variant, variants[i].from) == 0) {
			set(p->variant, sizeof(p->variant), variants[i].to);
			return;
		}
	}
}

const char *
platform_format(const struct platform *p, char buf[PLATFORM_STR_SIZE])
{
	(void)snprintf(buf, PLATFORM_STR_SIZE, "%s/%s%s%s", p->os, p->arch,
	    p->variant[0] != '\0' ? "/" : "", p->variant);
	return buf;
}

/* ---- this machine ---- */

/* The variant by "CPU architecture" of /proc/cpuinfo: a 64-bit kernel may
 * run a 32-bit program, and uname then tells nothing. */
static void
arm_variant(char *variant, size_t size)
{
	cleanup_fclose FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];
	const char *colon;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		if (strncmp(line, "CPU architecture", 16) != 0)
			continue;
		colon = strchr(line, ':');
		if (colon == NULL)
			continue;
		colon += 1 + strspn(colon + 1, " \t");
		if (*colon >= '5' && *colon <= '8')
			(void)snprintf(variant, size, "v%c", *colon);
		return;
	}
}

static const char *
amd64_level(void)
{
#ifdef __x86_64__
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx512f") &&
	    __builtin_cpu_supports("avx512bw") &&
	    __builtin_cpu_supports("avx512cd") &&
	    __builtin_cpu_supports("avx512dq") &&
	    __builtin_cpu_supports("avx512vl"))
		return "v4";
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
	    __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma"))
		return "v3";
	if (__builtin_cpu_supports("sse4.2") &&
	    __builtin_cpu_supports("popcnt"))
		return "v2";
#endif
	return "";
}

static struct platform this_host;

static void
find_host(void)
{
	struct platform p = { .os = "linux" };
	struct utsname u;
	size_t i;

	if (uname(&u) < 0)
		set(u.machine, sizeof(u.machine), "");
	set(p.arch, sizeof(p.arch), u.machine);
	for (i = 0; i < N_OF(machines); i++) {
		if (strncmp(u.machine, machines[i].from,
			strlen(machines[i].from)) != 0)
			continue;
		set(p.arch, sizeof(p.arch), machines[i].arch);
		if (machines[i].variant != NULL)
			set(p.variant, sizeof(p.variant), machines[i].variant);
	}
	if (u.machine[0] == 'i' && strcmp(u.machine + 2, "86") == 0)
		set(p.arch, sizeof(p.arch), "386");
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	if (strcmp(u.machine, "mips64") == 0)
		set(p.arch, sizeof(p.arch), "mips64le");
#endif
	resolve_alias(&p);
	if (strcmp(p.arch, "arm") == 0)
		arm_variant(p.variant, sizeof(p.variant));
	else if (strcmp(p.arch, "amd64") == 0)
		set(p.variant, sizeof(p.variant), amd64_level());
	this_host = p;
}

void
platform_host(struct platform *ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, find_host);
	*ret = this_host;
}

/* ---- parsing ---- */

static int
refuse(const char *s, struct imgd_error **err)
{
	return imgd_error_set(err, EINVAL, "\"%s\" is not a platform", s);
}

/* Copy a part of s; false if it is empty, too long or has odd characters. */
static bool
take_part(const char *from, size_t len, char *to, size_t size)
{
	size_t i;

	if (len == 0 || len >= size)
		return false;
	for (i = 0; i < len; i++)
		if (!isalnum((unsigned char)from[i]) &&
		    strchr("_-.", from[i]) == NULL)
			return false;
	memcpy(to, from, len);
	to[len] = '\0';
	lower(to);
	return true;
}

static int
parse_word(const char *s, struct platform *p, struct imgd_error **err)
{
	struct platform host;

	platform_host(&host);
	if (strcmp(host.arch, "amd64") == 0)
		host.variant[0] = '\0';
	if (is_one_of(p->os, known_os, N_OF(known_os))) {
		memcpy(p->arch, host.arch, sizeof(p->arch));
		memcpy(p->variant, host.variant, sizeof(p->variant));
		return 0;
	}
	if (!is_one_of(p->os, known_arch, N_OF(known_arch)))
		return refuse(s, err);
	memcpy(p->arch, p->os, sizeof(p->arch));
	memcpy(p->os, host.os, sizeof(p->os));
	resolve_alias(p);
	return 0;
}

int
platform_parse(const char *s, struct platform *ret, struct imgd_error **err)
{
	struct platform p = { .os = "" };
	const char *arch, *variant;
	size_t len = strcspn(s, "/");
	int r;

	if (!take_part(s, len, p.os, sizeof(p.os)))
		return refuse(s, err);
	if (s[len] == '\0') {
		r = parse_word(s, &p, err);
		if (r < 0)
			return r;
		*ret = p;
		return 0;
	}
	if (strcmp(p.os, "macos") == 0)
		set(p.os, sizeof(p.os), "darwin");
	arch = s + len + 1;
	len = strcspn(arch, "/");
	if (!take_part(arch, len, p.arch, sizeof(p.arch)))
		return refuse(s, err);
	resolve_alias(&p);
	if (arch[len] == '/') {
		variant = arch + len + 1;
		if (!take_part(variant, strlen(variant), p.variant,
			sizeof(p.variant)))
			return refuse(s, err);
	}
	*ret = p;
	return 0;
}

/* ---- matching ---- */

/* "vN" or "vN.M" as N * 100 + M; "" as none; -1 if it is neither. */
static int
version_of(const char *variant, int none)
{
	char *end;
	long major, minor = 0;

	if (variant[0] == '\0')
		return none;
	if (variant[0] != 'v' || !isdigit((unsigned char)variant[1]))
		return -1;
	major = strtol(variant + 1, &end, 10);
	if (*end == '.' && isdigit((unsigned char)end[1]))
		minor = strtol(end + 1, &end, 10);
	if (*end != '\0' || major > 99 || minor > 99)
		return -1;
	return (int)(major * 100 + minor);
}

static int
rank_arm(int want, const struct platform *have)
{
	int v = version_of(have->variant, 700);

	if (want < 0 || v < 500 || v > want || v % 100 != 0)
		return -1;
	return (want - v) / 100;
}

static int
rank_arm64(const struct platform *want, const struct platform *have)
{
	int w = version_of(want->variant, 800), v, top, r;

	if (w < 0)
		return -1;
	if (strcmp(have->arch, "arm") == 0) {
		r = rank_arm(800, have);
		return r < 0 ? -1 : 200 + r;
	}
	if (strcmp(have->arch, "arm64") != 0)
		return -1;
	v = version_of(have->variant, 800);
	if (v < 800 || v > w)
		return -1;
	if (v / 100 == w / 100)
		return w - v;
	/* ARMv9.x has all of ARMv8.(x + 5). */
	top = 800 + w % 100 + 5 > 809 ? 809 : 800 + w % 100 + 5;
	return w / 100 == 9 && v <= top ? 100 + top - v : -1;
}

static int
rank_amd64(const struct platform *want, const struct platform *have)
{
	int w = version_of(want->variant, 100), v;

	if (w < 0)
		return -1;
	if (strcmp(have->arch, "386") == 0)
		return have->variant[0] == '\0' ? 100 : -1;
	if (strcmp(have->arch, "amd64") != 0)
		return -1;
	v = version_of(have->variant, 100);
	if (v < 100 || v > w || v % 100 != 0)
		return -1;
	return (w - v) / 100;
}

int
platform_rank(const struct platform *want, const struct platform *have)
{
	struct platform w = *want, h = *have;

	platform_normalize(&w);
	platform_normalize(&h);
	if (strcmp(w.os, h.os) != 0)
		return -1;
	if (strcmp(w.arch, h.arch) == 0 && strcmp(w.variant, h.variant) == 0)
		return 0;
	if (strcmp(w.arch, "amd64") == 0)
		return rank_amd64(&w, &h);
	if (strcmp(w.arch, "arm64") == 0)
		return rank_arm64(&w, &h);
	if (strcmp(w.arch, "arm") == 0 && strcmp(h.arch, "arm") == 0)
		return rank_arm(version_of(w.variant, 700), &h);
	return -1;
}
