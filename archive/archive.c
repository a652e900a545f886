#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "archive/archive-impl.h"
#include "lib/limits.h"

static const struct form_ops *const forms[] = {
	[FORM_DOCKER] = &docker_form,
	[FORM_OCI] = &layout_form,
	[FORM_LEGACY] = &legacy_form,
};

static void
archived_image_done(struct archived_image *img)
{
	size_t i;

	for (i = 0; i < img->n_names; i++)
		free(img->names[i]);
	for (i = 0; i < img->n_layers; i++)
		free(img->layer_paths[i]);
	free(img->names);
	free(img->layer_paths);
	free(img->config_path);
}

void
archive_forget(struct image_archive *a)
{
	size_t i;

	for (i = 0; i < a->n_images; i++)
		archived_image_done(&a->images[i]);
	free(a->images);
	a->images = NULL;
	a->n_images = 0;
	a->n_name_bytes = 0;
}

void
image_archive_free(struct image_archive *a)
{
	if (a == NULL)
		return;
	archive_forget(a);
	members_done(&a->members);
	free(a);
}

/* ---- for the forms ---- */

int
archive_add_image(struct image_archive *a, struct archived_image **ret,
    struct imgd_error **err)
{
	struct archived_image *images;

	if (a->n_images == LIMIT_ARCHIVE_IMAGES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "more than %d images", LIMIT_ARCHIVE_IMAGES);
	images = reallocarray(a->images, a->n_images + 1, sizeof(*images));
	if (images == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	a->images = images;
	*ret = &images[a->n_images++];
	**ret = (struct archived_image) { .n_names = 0 };
	return 0;
}

int
archive_add_name(struct image_archive *a, struct archived_image *img,
    const char *name, struct imgd_error **err)
{
	char **names;

	a->n_name_bytes += strlen(name) + 1;
	if (a->n_name_bytes > LIMIT_ARCHIVE_TAGS_BYTES)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "names of more than %u bytes", LIMIT_ARCHIVE_TAGS_BYTES);
	names = reallocarray(img->names, img->n_names + 1, sizeof(*names));
	if (names == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	img->names = names;
	names[img->n_names] = strdup(name);
	if (names[img->n_names] == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	img->n_names++;
	return 0;
}

bool
archive_has(const struct image_archive *a, const char *name)
{
	cleanup(member_file_done) struct member_file f = MEMBER_FILE_INIT;

	return members_find(&a->members, name, &f, NULL) >= 0 &&
	    f.to_come == NULL;
}

int
found_make_layers(struct found_image *f, size_t n, struct imgd_error **err)
{
	size_t i;

	if (n > LIMIT_LAYERS)
		return imgd_error_set(err, IMGD_E_LIMIT,
		    "more than %d layers", LIMIT_LAYERS);
	f->layers = calloc(n + 1, sizeof(*f->layers));
	if (f->layers == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	for (i = 0; i < n; i++)
		f->layers[i].file.fd = -EBADF;
	f->n_layers = n;
	return 0;
}

int
found_take_config(struct found_image *f, char *config, size_t len,
    struct imgd_error **err)
{
	cleanup(image_config_freep) struct image_config *c = NULL;
	int r;

	f->config = config;
	f->config_len = len;
	r = digest_of(config, len, f->id, err);
	if (r >= 0)
		r = image_config_parse(config, len, &c, err);
	if (r >= 0 && c->n_diff_ids != f->n_layers)
		r = imgd_error_set(err, IMGD_E_FORMAT,
		    "layers length mismatch: expected %zu, got %zu",
		    f->n_layers, c->n_diff_ids);
	return r;
}

/* ---- what there is ---- */

static int
recognise(struct image_archive *a, struct imgd_error **err)
{
	if (archive_has(a, "manifest.json"))
		a->form = FORM_DOCKER;
	else if (archive_has(a, "oci-layout") && archive_has(a, "index.json"))
		a->form = FORM_OCI;
	else if (!a->members.is_dir)
		a->form = FORM_LEGACY;
	else
		return imgd_error_set(err, EINVAL,
		    "neither manifest.json nor an OCI layout is in it");
	return 0;
}

int
archive_list(struct image_archive *a, const struct platform *want,
    struct imgd_error **err)
{
	int r = recognise(a, err);

	if (r >= 0)
		r = forms[a->form]->list(a, want, err);
	if (r >= 0 && a->n_images == 0)
		r = imgd_error_set(err, EINVAL, "there is no image in it");
	return r;
}

int
image_archive_open(int fd, const struct platform *want,
    struct image_archive **ret, struct imgd_error **err)
{
	cleanup(image_archive_freep) struct image_archive *a =
	    calloc(1, sizeof(*a));
	int r;

	if (a == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	r = members_open(fd, &a->members, err);
	if (r >= 0)
		r = archive_list(a, want, err);
	if (r < 0)
		return r;
	*ret = take_ptr(&a);
	return 0;
}

/* ---- one image ---- */

void
found_image_done(struct found_image *f)
{
	size_t i;

	for (i = 0; i < f->n_layers; i++)
		member_file_done(&f->layers[i].file);
	free(f->layers);
	free(f->config);
	free(f->manifest);
	free(f->manifest_type);
	legacy_image_free(f->legacy);
	*f = (struct found_image) { .config = NULL };
}

int
image_archive_find(const struct image_archive *a, size_t i,
    struct found_image *ret, struct imgd_error **err)
{
	return forms[a->form]->find(a, &a->images[i], ret, err);
}
