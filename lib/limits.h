/*
 * Every limit on what comes from outside, in one place.  Sizes are bytes.
 */
#ifndef LIB_LIMITS_H
#define LIB_LIMITS_H

/* Documents of a registry or archive. */
#define LIMIT_MANIFEST_BYTES   (4u << 20)  /* manifest or index */
#define LIMIT_CONFIG_BYTES     (8u << 20)  /* image config */
#define LIMIT_EXPANDED_BYTES   (128u << 10) /* of a word: MAX_ARG_STRLEN */
#define LIMIT_LEGACY_BYTES     (4u << 20)  /* v1 JSON of all an image's layers */
#define LIMIT_TOKEN_BYTES      (64u << 10) /* token server's answer */
#define LIMIT_ERROR_BODY_BYTES (64u << 10) /* body of an HTTP error */
#define LIMIT_TAGS_BYTES       (4u << 20)  /* a page of tags/list */
#define LIMIT_SEARCH_BYTES     (1u << 20)  /* a search's answer */
#define LIMIT_JSON_DEPTH       64
#define LIMIT_JSON_VALUES      20000
#define LIMIT_HEADER_BYTES     (64u << 10) /* all headers of an answer */
#define LIMIT_REDIRECTS        10

/* Signatures of an image. */
#define LIMIT_SIGNATURES              64 /* all that are looked at */
#define LIMIT_SIGNATURE_PAYLOAD_BYTES (16u << 10) /* what is signed */
#define LIMIT_SIGNATURE_TEXT_BYTES    2048 /* one in base64 */
#define LIMIT_SIGNED_DOCS             16 /* manifests and indexes signed */
#define LIMIT_KEY_BYTES               (64u << 10) /* a file of public keys */

/* Images and layers. */
#define LIMIT_LAYERS         4096
#define LIMIT_LAYER_ENTRIES  2000000
#define LIMIT_PATH_BYTES     4096 /* name of a tar entry, link targets */
#define LIMIT_NAME_BYTES     255  /* one component */
#define LIMIT_PATH_DEPTH     1024
#define LIMIT_PAX_BYTES      (1u << 20) /* one pax header, one GNU long name */
#define LIMIT_SPARSE_ENTRIES 65536
#define LIMIT_XATTRS_BYTES   (1u << 20) /* all xattrs of an entry */
#define LIMIT_LINK_SEARCH    8000000 /* names looked at for hard link groups */
#define LIMIT_ZSTD_WINDOW_LOG 27

/* Other engines' directories. */
#define LIMIT_ADOPT_INDEX_BYTES (4u << 20) /* lists of names, images, layers */
#define LIMIT_ADOPT_IMAGES      4096
#define LIMIT_ADOPT_NAMES       1024 /* of one image */
#define LIMIT_ADOPT_NAMES_BYTES (1u << 20) /* of all images together */
#define LIMIT_ADOPT_LAYERS      16384
#define LIMIT_TAR_SPLIT_LINE    (2u << 20)

/* Image archives. */
#define LIMIT_ARCHIVE_MEMBERS     65536
#define LIMIT_ARCHIVE_NAMES_BYTES (4u << 20) /* of its members */
#define LIMIT_ARCHIVE_IMAGES      1024
#define LIMIT_ARCHIVE_TAGS_BYTES  (1u << 20) /* names of all images together */

/* Certificates of a registry's host. */
#define LIMIT_CERT_BYTES  (256u << 10) /* one file */
#define LIMIT_CERTS_BYTES (1u << 20)   /* all together */

/* Callers of the HTTP API. */
#define LIMIT_QUERY_ITEMS        1024
#define LIMIT_REQUEST_BODY_BYTES (64u << 10) /* a JSON body */
#define LIMIT_CONNECTIONS        4096
#define LIMIT_OUTPUT_BYTES       (256u << 10) /* waiting for a slow reader */

/* References. */
#define LIMIT_REF_PATH_BYTES 255
#define LIMIT_REF_TAG_BYTES  128
#define LIMIT_REF_BYTES      1024

/* Names of containers. */
#define LIMIT_CONTAINER_NAME_BYTES 128

/* What says that a directory is a bundle of ours. */
#define LIMIT_BUNDLE_BYTES (64u << 10)

/* An image's own users, for those who run it. */
#define LIMIT_PASSWD_BYTES (1u << 20) /* /etc/passwd, /etc/group */
#define LIMIT_USER_GROUPS  64

/* Callers of the API. */
#define LIMIT_FILTERS_BYTES (32u << 10) /* a filters parameter */

#endif
