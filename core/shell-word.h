/* Words of a Dockerfile's instructions, as its shell reads them. */
#ifndef CORE_SHELL_WORD_H
#define CORE_SHELL_WORD_H

#include <json-c/json.h>

#include "imgd/error.h"
#include "lib/strbuf.h"

/*
 * Append a word without its quotes and backslashes, and with its variables'
 * values: $NAME, ${NAME}, and ${NAME:-WORD}, ${NAME:+WORD} and ${NAME:?WORD},
 * also without the colon.  What is not set is empty.
 *
 * env: array of "NAME=VALUE"; of one name the first counts.
 * -EINVAL; -IMGD_E_LIMIT for values of more than LIMIT_EXPANDED_BYTES.
 * Source: moby, vendored buildkit frontend/dockerfile/shell/lex.go.
 */
int shell_word_expand(const char *word, struct json_object *env,
    struct strbuf *to, struct imgd_error **err);

#endif
