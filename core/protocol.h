/*
 * The messages between imgd's processes.  Forms are written as in
 * lib/message.h: u32, u64, str, bytes, fd, error = u32 str.
 */
#ifndef CORE_PROTOCOL_H
#define CORE_PROTOCOL_H

#include <stdint.h>

#include "lib/limits.h"

/* Largest payload either side accepts, beside what names a document. */
#define PROTOCOL_MAX_BYTES  (64u << 10)
#define PROTOCOL_MAX_DOC    (LIMIT_CONFIG_BYTES + (64u << 10))
#define PROTOCOL_MAX_ORDER  (PROTOCOL_MAX_BYTES + LIMIT_LAYERS * 80u)

/* A worker's side that stalls within a message is given up after this. */
#define PROTOCOL_TIMEOUT_S  30

/* Well-known descriptors of an exec'd worker. */
#define WORKER_SOCKET_FD   3 /* its messages */
#define WORKER_LIVENESS_FD 4 /* read end; end of file: the engine is gone */
#define WORKER_LOCK_FD     5 /* workers.lock, held shared */

/* ---- client and engine, on ROOT/sock ---- */
enum {
	/* client: str name, u32 n, n str arguments, u32 n, n (str key, str
	 * value), u32 n, n fds */
	JOB_RUN = 1,
	/* engine: str, one JSON object of the job's output stream */
	JOB_OUTPUT,
	/* engine: the job is done: str result */
	JOB_DONE,
	/* engine: the job failed: error */
	JOB_FAILED,
	/* engine: it is ending, start over */
	JOB_GOING,
	/* engine: the job begins: from now on it may have been done, or have
	 * used the descriptors, and whoever asked must not begin it again */
	JOB_BEGUN
};

/* ---- engine and spawner ---- */
enum {
	/* engine: u32 SPAWN_*, fd of the worker's socket */
	SPAWN_RUN = 100,
	/* spawner: fd, a pidfd of the child */
	SPAWN_DONE,
	/* spawner: error */
	SPAWN_FAILED
};
#define SPAWN_UNPACKER 1u
#define SPAWN_PACKER   2u

/*
 * ---- engine and puller, or what else a pull's source is ----
 *
 * The source sends documents and RESOLVED, then serves orders until the socket
 * closes.
 */
enum {
	/* engine, first: session parameters, see puller_params_put */
	PULLER_START = 200,
	/* engine: u32 layer, str blob digest ("": no manifest names one), u64
	 * size, str media type, u32 n, n str urls, fd to write the tar to;
	 * u32 whether the blob is kept in a file, and if so: u32 whether all
	 * of that counts, u32 n, n (u64 bytes, str digest) marks, its fd */
	PULLER_FETCH,
	/* puller: u32 enum registry_doc, str media type, str digest, bytes; a
	 * source whose images may lack a manifest begins with the config */
	PULLER_DOC,
	/* puller: str digest; the name still means the digest known */
	PULLER_UNCHANGED,
	/* puller: str digest of what the name points to; all documents sent */
	PULLER_RESOLVED,
	/* puller: u32 layer, u64 bytes of the blob so far */
	PULLER_PROGRESS,
	/* puller: u32 layer, u64 blob bytes, u64 tar bytes: verified, whole */
	PULLER_LAYER_DONE,
	/* puller: u32 layer, error */
	PULLER_LAYER_FAILED,
	/* puller: error; no further message follows */
	PULLER_FAILED,
	/* puller, for "all tags": str tag; then PULLER_RESOLVED with "" */
	PULLER_TAG,
	/* source, after the documents: u32 n, n u64 sizes of the layers' tars
	 * (0: unknown), base first */
	PULLER_SIZES,
	/* puller: u32 layer, u64 bytes, str digest: the first bytes of the
	 * blob's file are on the disk */
	PULLER_MARK,
	/* puller: u64 bytes, u64 ms: what came, and how long that took */
	PULLER_RATE,
	/* puller: str why, u32 ms: it waits before it asks again */
	PULLER_RETRYING,
	/* puller, for a login: str identity token, "" for none */
	PULLER_LOGGED_IN,
	/* puller, for a search: str name, str description, u64 stars, u32
	 * whether it is official, u32 automated; then PULLER_RESOLVED */
	PULLER_FOUND,
	/* source, if it was asked to, after the documents: str signature in
	 * base64, bytes of what is signed */
	PULLER_SIGNATURE,
	/* source, likewise: bytes of a manifest or index that signatures may
	 * be about */
	PULLER_SIGNED_DOC
};

/*
 * Images from before there were diff_ids: after a manifest of schema 1, or
 * after nothing at all where the registry is of version 1, come the layers
 * instead of a config.  Sizes in orders are then the most that may come.  When
 * all layers are there, the config is asked for.
 */
enum {
	/* puller: str id, str blob digest ("": version 1), u64 size (0:
	 * unknown), bytes of its JSON (empty with a digest); base first */
	PULLER_LEGACY_LAYER = 230,
	/* engine: u32 n, n str diff_ids, base first; the answer is a
	 * PULLER_DOC */
	PULLER_CONFIG_WANTED
};

/*
 * ---- engine and pusher: the puller's module, begun with another message ----
 *
 * Orders of several layers are served at once; each layer's are given one after
 * the other.  A layer that fails is told of with PULLER_LAYER_FAILED, what else
 * fails with PULLER_FAILED; pauses with PULLER_RETRYING.
 */
enum {
	/* engine, first: as PULLER_START */
	PUSHER_START = 250,
	/* engine: u32 layer, str blob digest, u32 n, n str repositories to
	 * mount from */
	PUSHER_FIND,
	/* pusher: u32 layer, u32 PUSHER_*, u64 size, str repository mounted
	 * from */
	PUSHER_FOUND,
	/* engine: u32 layer, u32 enum deflate_format, u32 whether it is sent in
	 * pieces, str location of an upload that was begun ("": none), u64
	 * bytes that arrived there, str digest of them, fds: scratch file,
	 * tar */
	PUSHER_UPLOAD,
	/* pusher: u32 layer, u64 tar bytes so far */
	PUSHER_PROGRESS,
	/* pusher: u32 layer, str location, u64 bytes, str digest: an upload
	 * that may go on there, and what arrived of it */
	PUSHER_MARK,
	/* pusher: u32 layer, str why; the tar is needed once more */
	PUSHER_AGAIN,
	/* engine: u32 layer, fd of the tar */
	PUSHER_TAR,
	/* pusher: u32 layer, str diff_id, u64 tar bytes, str blob digest, u64
	 * blob bytes; all was sent, and waits for the word */
	PUSHER_SENT,
	/* engine: u32 layer; the tar is what it should be */
	PUSHER_COMMIT,
	/* engine: u32 PUSHER_NO_LAYER, str digest, bytes of a config */
	PUSHER_CONFIG,
	/* engine: u32 PUSHER_NO_LAYER, str tag, str media type, str digest,
	 * bytes */
	PUSHER_MANIFEST,
	/* pusher: u32 layer: done, for UPLOAD, CONFIG and MANIFEST */
	PUSHER_DONE
};
#define PUSHER_NO_LAYER UINT32_MAX
#define PUSHER_MISSING 0u
#define PUSHER_EXISTS  1u
#define PUSHER_MOUNTED 2u

/* ---- engine and adopter, which is a pull's source for one image; adopter and
 * mounter, which has the privileges that layers on devices take ---- */
enum {
	/* engine, first: u32 layers at once, str storage driver, str image id
	 * ("": a list is wanted), u32 has_mounter; fds: directory, and the
	 * mounter's socket if there is one */
	ADOPT_START = 400,
	/* adopter: str id, str storage driver, u32 is_step; the list ends with
	 * PULLER_RESOLVED */
	ADOPT_IMAGE,
	/* adopter: str, a name of the image before, as it is written there */
	ADOPT_NAME,

	/* engine to mounter, first: str what device names begin with, fd of
	 * the directory; then the adopter has the socket, whose end ends it */
	MOUNTER_START,
	/* adopter: str name of a layer's directory */
	MOUNTER_OPEN,
	/* mounter: u32 is_unclean, fd of the layer's tree */
	MOUNTER_TREE,
	/* mounter: error; the next may go well */
	MOUNTER_FAILED
};

/* ---- engine and loader, which is a pull's source for one image ---- */
enum {
	/* engine, first: u32 LOADER_*, u32 layers at once, u32 index of the
	 * image, u64 most bytes of a copy, str platform; fds: archive, and but
	 * for LOADER_PULL a scratch file */
	LOADER_START = 450,
	/* loader: str id ("": an old image without), u32 whether it has a
	 * manifest */
	LOADER_IMAGE,
	/* loader: str, a name of the image before, as it is written there */
	LOADER_NAME,
	/* loader: u32 LOADER_IN_*; the list is complete */
	LOADER_LISTED,
	/* engine, of a stream: u32 n, n u32 layers that nobody will ask for */
	LOADER_SKIP,
	/* engine, of a stream: all layers are there, is the rest sound? */
	LOADER_FINISH,
	/* loader: it is */
	LOADER_FINISHED
};
#define LOADER_LIST 1u
#define LOADER_PULL 2u
/* The archive is a tar of a root filesystem: one layer, as a legacy image. */
#define LOADER_IMPORT 3u
/* As LOADER_LIST; but if the archive can be used as it comes the loader goes on
 * as the source of its one image. */
#define LOADER_STREAM 4u

#define LOADER_IN_PLACE  0u
#define LOADER_IN_COPY   1u /* the scratch file */
#define LOADER_IN_STREAM 2u /* with this loader */

/* ---- engine and maker ---- */
enum {
	/* engine, first: str format, bytes what UUID and salt are made of, u64
	 * time, u64 size (0: as needed), u32 whether a hash tree follows; fds:
	 * the tree as a mount, an empty file */
	MAKER_START = 480,
	/* maker: u64 bytes, str UUID, str root hash, u64 hash offset; else
	 * WORKER_FAILED */
	MAKER_DONE
};

/* ---- engine and unpacker ---- */
enum {
	/* worker, first */
	WORKER_READY = 300,
	/* engine: u32 IMGD_WH_*, u32 is_base; fds: directory, tar, recipe,
	 * scratch */
	UNPACK_START,
	/* unpacker: u32 whether it is for the root's metadata alone; the
	 * parent's tree is needed */
	UNPACK_NEED_PARENT,
	/* engine: fd of the parent's tree, or of another directory with such
	 * metadata */
	UNPACK_PARENT,
	/* unpacker: str name, bytes value, fd; wants a trusted.* attribute */
	UNPACK_SET_TRUSTED,
	/* engine: the attribute is set, or the attributes are the same */
	UNPACK_TRUSTED_SET,
	/* either: error, final */
	WORKER_FAILED,
	/* unpacker: str diff_id, u64 tar bytes, u64 content bytes, u64
	 * entries */
	UNPACK_DONE,
	/* engine: fds: tree, recipe, output */
	PACK_START,
	/* packer: str diff_id */
	PACK_DONE,
	/* engine: fds: tree, output; no layer, but the tree as it is.  Done
	 * with a PACK_DONE whose diff_id is "" */
	PACK_TREE,
	/* engine: fds: tree, list of changes (lib/tar.h), output: the layer
	 * that they make */
	PACK_CHANGES,
	/* packer, after that: u64 tar bytes */
	PACK_CHANGES_DONE,
	/* unpacker: u32 whether there is a second, fds: wants the first to
	 * have the trusted.* attributes of the second, or none */
	UNPACK_MATCH_TRUSTED
};

#endif
