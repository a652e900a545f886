/* The documents of an archive, in the form that docker save has had since
 * Docker 25: an OCI layout and Docker's own form at once. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/save.h"
#include "lib/cleanup.h"
#include "registry/manifest.h"
#include "registry/reference.h"

#define LAYER_TYPE "application/vnd.oci.image.layer.v1.tar"

const char *
save_blob_name(const char *digest, char buf[SAVE_BLOB_NAME_SIZE])
{
	(void)snprintf(buf, SAVE_BLOB_NAME_SIZE, "blobs/sha256/%s",
	    digest_hex(digest));
	return buf;
}

void
save_put_descriptor(struct strbuf *sb, const char *type, const char *digest,
    uint64_t size)
{
	strbuf_printf(sb, "{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%ju",
	    type, digest, (uintmax_t)size);
}

int
save_make_manifest(struct saved_image *img, struct imgd_error **err)
{
	struct strbuf *sb = &img->manifest;
	size_t i;

	strbuf_puts(sb, "{\"schemaVersion\":2,\"mediaType\":\""
	    MEDIA_OCI_MANIFEST "\",\"config\":");
	save_put_descriptor(sb, MEDIA_OCI_CONFIG, img->image.id, img->config_len);
	strbuf_puts(sb, "},\"layers\":[");
	for (i = 0; i < img->image.n_layers; i++) {
		strbuf_puts(sb, i > 0 ? "," : "");
		save_put_descriptor(sb, LAYER_TYPE, img->image.layers[i].diff_id,
		    img->hold.layers[i].tar_bytes);
		strbuf_putc(sb, '}');
	}
	strbuf_puts(sb, "]}");
	if (sb->is_failed)
		return imgd_error_set(err, ENOMEM, "out of memory");
	return digest_of(sb->data, sb->len, img->manifest_digest, err);
}

static void
put_index_entry(struct strbuf *sb, const struct saved_image *img,
    const struct saved_tag *tag)
{
	strbuf_puts(sb, sb->data[sb->len - 1] == '}' ? "," : "");
	save_put_descriptor(sb, MEDIA_OCI_MANIFEST, img->manifest_digest,
	    img->manifest.len);
	if (tag != NULL) {
		cleanup_free char *name = NULL;

		if (asprintf(&name, "%s:%s", tag->repository, tag->tag) < 0)
			sb->is_failed = true;
		else
			strbuf_puts(sb,
			    ",\"annotations\":{\"io.containerd.image.name\":");
		strbuf_json(sb, name != NULL ? name : "");
		strbuf_puts(sb,
		    ",\"org.opencontainers.image.ref.name\":");
		strbuf_json(sb, tag->tag);
		strbuf_putc(sb, '}');
	}
	strbuf_putc(sb, '}');
}

void
save_put_index(const struct save *s, struct strbuf *sb)
{
	size_t i, k;

	strbuf_puts(sb, "{\"schemaVersion\":2,\"mediaType\":\""
	    MEDIA_OCI_INDEX "\",\"manifests\":[");
	for (i = 0; i < s->n && !sb->is_failed; i++) {
		const struct saved_image *img = &s->images[i];

		if (img->n_tags == 0)
			put_index_entry(sb, img, NULL);
		for (k = 0; k < img->n_tags && !sb->is_failed; k++)
			put_index_entry(sb, img, &img->tags[k]);
	}
	save_put_signatures(s, sb);
	strbuf_puts(sb, "]}");
}

/* The repository as people type it; NULL if memory is out. */
static char *
familiar(const char *repository)
{
	cleanup(reference_done) struct reference ref = REFERENCE_INIT;

	return reference_parse(repository, 0, &ref, NULL) >= 0
	    ? reference_familiar_name(&ref)
	    : NULL;
}

static void
put_repo_tags(struct strbuf *sb, const struct saved_image *img)
{
	size_t i;

	if (img->n_tags == 0) {
		strbuf_puts(sb, "null");
		return;
	}
	strbuf_putc(sb, '[');
	for (i = 0; i < img->n_tags; i++) {
		cleanup_free char *name = familiar(img->tags[i].repository);
		cleanup_free char *whole = NULL;

		if (name == NULL ||
		    asprintf(&whole, "%s:%s", name, img->tags[i].tag) < 0) {
			sb->is_failed = true;
			return;
		}
		strbuf_puts(sb, i > 0 ? "," : "");
		strbuf_json(sb, whole);
	}
	strbuf_putc(sb, ']');
}

void
save_put_docker_manifest(const struct save *s, struct strbuf *sb)
{
	char name[SAVE_BLOB_NAME_SIZE];
	size_t i, k;

	strbuf_putc(sb, '[');
	for (i = 0; i < s->n; i++) {
		const struct saved_image *img = &s->images[i];

		strbuf_printf(sb, "%s{\"Config\":\"%s\",\"RepoTags\":",
		    i > 0 ? "," : "", save_blob_name(img->image.id, name));
		put_repo_tags(sb, img);
		strbuf_puts(sb, ",\"Layers\":[");
		for (k = 0; k < img->image.n_layers; k++)
			strbuf_printf(sb, "%s\"%s\"", k > 0 ? "," : "",
			    save_blob_name(img->image.layers[k].diff_id,
				name));
		strbuf_puts(sb, "]}");
	}
	strbuf_puts(sb, "]\n");
}

/* All tags of the repository, whichever image they are. */
static void
put_repository(const struct save *s, const char *repository, const char *name,
    struct strbuf *sb)
{
	bool is_first = true;
	size_t i, k;

	strbuf_puts(sb, sb->len > 0 ? "," : "{");
	strbuf_json(sb, name);
	strbuf_puts(sb, ":{");
	for (i = 0; i < s->n; i++) {
		const struct saved_image *img = &s->images[i];
		const size_t n = img->image.n_layers;

		for (k = 0; k < img->n_tags && n > 0; k++) {
			if (strcmp(img->tags[k].repository, repository) != 0)
				continue;
			strbuf_puts(sb, is_first ? "" : ",");
			is_first = false;
			strbuf_json(sb, img->tags[k].tag);
			strbuf_printf(sb, ":\"%s\"",
			    digest_hex(img->image.layers[n - 1].diff_id));
		}
	}
	strbuf_putc(sb, '}');
}

/* Whether a tag before the k-th of image i is of the same repository. */
static bool
is_known(const struct save *s, size_t i, size_t k)
{
	const char *repository = s->images[i].tags[k].repository;
	size_t a, b;

	for (a = 0; a <= i; a++)
		for (b = 0; b < (a < i ? s->images[a].n_tags : k); b++)
			if (strcmp(s->images[a].tags[b].repository,
				repository) == 0)
				return true;
	return false;
}

void
save_put_repositories(const struct save *s, struct strbuf *sb)
{
	size_t i, k;

	for (i = 0; i < s->n; i++)
		for (k = 0; k < s->images[i].n_tags; k++) {
			const char *repo = s->images[i].tags[k].repository;
			cleanup_free char *name = familiar(repo);

			if (name == NULL)
				sb->is_failed = true;
			else if (!is_known(s, i, k))
				put_repository(s, repo, name, sb);
		}
	if (sb->len > 0)
		strbuf_puts(sb, "}\n");
}
