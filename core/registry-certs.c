#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/registry-certs.h"
#include "lib/cleanup.h"
#include "lib/fs-at.h"
#include "lib/limits.h"
#include "lib/strbuf.h"

void
registry_certs_done(struct registry_certs *c)
{
	free(c->ca_pem);
	free(c->cert_pem);
	if (c->key_pem != NULL)
		explicit_bzero(c->key_pem, strlen(c->key_pem));
	free(c->key_pem);
	*c = (struct registry_certs) { 0 };
}

static int
is_of_certs(const struct dirent *de)
{
	return de->d_name[0] != '.' &&
	    (str_ends(de->d_name, ".crt") || str_ends(de->d_name, ".cert") ||
		str_ends(de->d_name, ".key"));
}

static int
read_pem(int dir_fd, const char *path, const char *name, char **ret,
    struct imgd_error **err)
{
	int r;

	free(*ret);
	*ret = NULL;
	r = fs_read_file(dir_fd, name, LIMIT_CERT_BYTES, ret, NULL, err);
	if (r < 0)
		(void)imgd_error_prefix(err, "%s", path);
	return r;
}

static int
add_ca(struct registry_certs *c, int dir_fd, const char *path,
    const char *name, struct imgd_error **err)
{
	cleanup_free char *pem = NULL;
	char *all;
	int r;

	r = read_pem(dir_fd, path, name, &pem, err);
	if (r < 0)
		return r;
	if (asprintf(&all, "%s%s\n", c->ca_pem != NULL ? c->ca_pem : "",
		pem) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	free(c->ca_pem);
	c->ca_pem = all;
	if (strlen(all) > LIMIT_CERTS_BYTES)
		return imgd_error_set(err, EFBIG,
		    "%s: more than %u bytes of certificates", path,
		    LIMIT_CERTS_BYTES);
	return 0;
}

/* name is NAME.cert or NAME.key: read it and the other, if it is the first. */
static int
add_pair(struct registry_certs *c, int dir_fd, const char *path,
    const char *name, struct imgd_error **err)
{
	cleanup_free char *cert = NULL, *key = NULL;
	int len = (int)(strrchr(name, '.') - name);

	if (asprintf(&cert, "%.*s.cert", len, name) < 0 ||
	    asprintf(&key, "%.*s.key", len, name) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	if (faccessat(dir_fd, key, F_OK, 0) < 0)
		return imgd_error_set(err, ENOENT,
		    "%s: missing key %s for client certificate %s; CA "
		    "certificates must use the extension .crt",
		    path, key, cert);
	if (faccessat(dir_fd, cert, F_OK, 0) < 0)
		return imgd_error_set(err, ENOENT,
		    "%s: missing client certificate %s for key %s", path,
		    cert, key);
	if (c->cert_pem != NULL)
		return 0;
	if (read_pem(dir_fd, path, cert, &c->cert_pem, err) < 0 ||
	    read_pem(dir_fd, path, key, &c->key_pem, err) < 0)
		return -imgd_error_code(*err);
	return 0;
}

static int
read_dir(const char *dir, const char *host, struct registry_certs *c,
    struct imgd_error **err)
{
	cleanup_close int dir_fd = -EBADF;
	cleanup_free char *path = NULL;
	struct dirent **names = NULL;
	int i, n, r = 0;

	if (asprintf(&path, "%s/%s", dir, host) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	n = dir_fd < 0 ? -1
		       : scandirat(dir_fd, ".", &names, is_of_certs, alphasort);
	if (n < 0)
		return imgd_error_set(err, errno, "%s: %s", path,
		    strerror(errno));
	for (i = 0; i < n; i++) {
		if (r >= 0 && str_ends(names[i]->d_name, ".crt"))
			r = add_ca(c, dir_fd, path, names[i]->d_name, err);
		else if (r >= 0)
			r = add_pair(c, dir_fd, path, names[i]->d_name, err);
		free(names[i]);
	}
	free(names);
	return r;
}

int
registry_certs_read(const char *const *dirs, const char *host,
    struct registry_certs *ret, struct imgd_error **err)
{
	cleanup(registry_certs_done) struct registry_certs c = { 0 };
	cleanup_error struct imgd_error *e = NULL;
	int r = 0;

	for (; *dirs != NULL && r >= 0; dirs++)
		r = read_dir(*dirs, host, &c, &e);
	if (r < 0)
		return imgd_error_set(err, -r, "%s", imgd_error_msg(e));
	*ret = c;
	c = (struct registry_certs) { 0 };
	return 0;
}
