/* Remembering which layers are damaged, for the next pull or fsck. */
#ifndef CORE_LAYER_DAMAGE_H
#define CORE_LAYER_DAMAGE_H

#include <stdbool.h>

#include "core/engine.h"

/* Whether a driver or a packer fails so because the layer is damaged. */
bool layer_code_is_damage(int code);

/* Remember that the layer is damaged: the next pull of an image with it makes
 * it good. */
void layer_note_damage(struct engine *e, const char *key,
    const char *problem);

/* The driver failed with code to hand the layer out: that may be the fault of
 * one below it, which is remembered then. */
void layer_note_unreadable(struct engine *e, struct driver *d,
    const char *key, int code, const char *problem);

#endif
