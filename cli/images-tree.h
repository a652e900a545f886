/* Images as a tree: layers that several share are there once. */
#ifndef CLI_IMAGES_TREE_H
#define CLI_IMAGES_TREE_H

#include <json-c/json.h>
#include <stdbool.h>

/*
 * Print a tree of Docker's summaries, with Layers: a row for each run of
 * layers that belong to the same images, with the images that end there.
 *
 * is_long: whole ids.  0, or -1 after a message if memory is out.
 */
int images_tree_print(struct json_object *images, bool is_long);

#endif
