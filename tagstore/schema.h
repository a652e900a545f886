/*
 * The schema of imgd.db as a list of migrations: entry n brings user_version
 * from n to n + 1.  Entries are never changed once released.
 */
#ifndef TAGSTORE_SCHEMA_H
#define TAGSTORE_SCHEMA_H

static const char *const schema_migrations[] = {
	"CREATE TABLE images("
	"  id TEXT PRIMARY KEY, config BLOB NOT NULL,"
	"  manifest BLOB NOT NULL, manifest_type TEXT NOT NULL,"
	"  created TEXT NOT NULL, pulled_at INTEGER NOT NULL"
	") WITHOUT ROWID;"
	"CREATE TABLE image_layers("
	"  image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,"
	"  position INTEGER NOT NULL, diff_id TEXT NOT NULL,"
	"  chain_id TEXT NOT NULL, blob_digest TEXT NOT NULL,"
	"  media_type TEXT NOT NULL, size INTEGER NOT NULL,"
	"  PRIMARY KEY(image, position)"
	") WITHOUT ROWID;"
	"CREATE INDEX image_layers_chain ON image_layers(chain_id);"
	/* Which drivers hold an image. */
	"CREATE TABLE image_drivers("
	"  image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,"
	"  driver TEXT NOT NULL, PRIMARY KEY(image, driver)"
	") WITHOUT ROWID;"
	"CREATE TABLE layers("
	"  key TEXT PRIMARY KEY, driver TEXT NOT NULL, chain_id TEXT,"
	"  diff_id TEXT NOT NULL, parent TEXT REFERENCES layers(key),"
	"  state TEXT NOT NULL CHECK(state IN ('staging','ready','dying')),"
	"  size INTEGER NOT NULL DEFAULT 0,"
	"  tar_bytes INTEGER NOT NULL DEFAULT 0"
	") WITHOUT ROWID;"
	"CREATE UNIQUE INDEX layers_chain ON layers(driver, chain_id)"
	"  WHERE state <> 'dying' AND chain_id IS NOT NULL;"
	"CREATE INDEX layers_parent ON layers(parent);"
	"CREATE INDEX layers_state ON layers(state);"
	"CREATE TABLE tags("
	"  repository TEXT NOT NULL, tag TEXT NOT NULL,"
	"  image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,"
	"  manifest_digest TEXT NOT NULL, PRIMARY KEY(repository, tag)"
	") WITHOUT ROWID;"
	"CREATE INDEX tags_image ON tags(image);"
	"CREATE TABLE digests("
	"  repository TEXT NOT NULL, manifest_digest TEXT NOT NULL,"
	"  image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,"
	"  PRIMARY KEY(repository, manifest_digest)"
	") WITHOUT ROWID;"
	"CREATE INDEX digests_image ON digests(image);"
	/* Where a blob may be had again, or mounted from. */
	"CREATE TABLE sources("
	"  blob_digest TEXT NOT NULL, registry TEXT NOT NULL,"
	"  repository TEXT NOT NULL,"
	"  PRIMARY KEY(blob_digest, registry, repository)"
	") WITHOUT ROWID;"
	"CREATE TABLE mounts("
	"  target TEXT PRIMARY KEY, image TEXT NOT NULL, key TEXT NOT NULL,"
	"  driver TEXT NOT NULL, reference TEXT NOT NULL,"
	"  boot_id TEXT NOT NULL, mnt_ns TEXT NOT NULL"
	") WITHOUT ROWID;"
	"CREATE INDEX mounts_key ON mounts(key);"
	"CREATE TABLE pulls("
	"  id TEXT PRIMARY KEY, reference TEXT NOT NULL, driver TEXT NOT NULL"
	") WITHOUT ROWID;"
	"CREATE TABLE pull_layers("
	"  pull TEXT NOT NULL REFERENCES pulls(id) ON DELETE CASCADE,"
	"  key TEXT NOT NULL, PRIMARY KEY(pull, key)"
	") WITHOUT ROWID;"
	"CREATE INDEX pull_layers_key ON pull_layers(key);",

	/* Writable layers on the top layer of an image. */
	"CREATE TABLE containers("
	"  key TEXT PRIMARY KEY, name TEXT NOT NULL, driver TEXT NOT NULL,"
	"  image TEXT NOT NULL, reference TEXT NOT NULL,"
	"  parent TEXT NOT NULL REFERENCES layers(key),"
	"  state TEXT NOT NULL CHECK(state IN ('making','ready','dying')),"
	"  quota INTEGER NOT NULL, created_at INTEGER NOT NULL"
	") WITHOUT ROWID;"
	"CREATE UNIQUE INDEX containers_name ON containers(name)"
	"  WHERE state <> 'dying';"
	"CREATE INDEX containers_parent ON containers(parent);"
	/* 'tree', 'rw' (a container's), 'block' (target is a device). */
	"ALTER TABLE mounts ADD COLUMN kind TEXT NOT NULL DEFAULT 'tree';",

	/* Blobs that are on their way into files, and what of them is surely
	 * on the disk. */
	"CREATE TABLE partials("
	"  blob_digest TEXT PRIMARY KEY, size INTEGER NOT NULL,"
	"  boot_id TEXT NOT NULL, used_at INTEGER NOT NULL"
	") WITHOUT ROWID;"
	"CREATE TABLE partial_marks("
	"  blob_digest TEXT NOT NULL REFERENCES partials(blob_digest)"
	"    ON DELETE CASCADE,"
	"  bytes INTEGER NOT NULL, prefix_digest TEXT NOT NULL,"
	"  PRIMARY KEY(blob_digest, bytes)"
	") WITHOUT ROWID;"
	/* How fast registries were. */
	"CREATE TABLE rates("
	"  registry TEXT PRIMARY KEY, bytes_per_s INTEGER NOT NULL"
	") WITHOUT ROWID;",

	/* What layers of version 1 registries are, whose ids say nothing of
	 * their bytes: it only saves another download. */
	"CREATE TABLE v1_layers("
	"  registry TEXT NOT NULL, v1_id TEXT NOT NULL, json BLOB NOT NULL,"
	"  chain_id TEXT NOT NULL, PRIMARY KEY(registry, v1_id)"
	") WITHOUT ROWID;"
	"CREATE INDEX v1_layers_chain ON v1_layers(chain_id);"
	"CREATE INDEX image_layers_blob ON image_layers(blob_digest);",

	/* Which blobs layers were sent or fetched as, and uploads that have
	 * not come to an end. */
	"CREATE TABLE layer_blobs("
	"  diff_id TEXT NOT NULL, registry TEXT NOT NULL,"
	"  format TEXT NOT NULL, blob_digest TEXT NOT NULL,"
	"  size INTEGER NOT NULL, used_at INTEGER NOT NULL,"
	"  PRIMARY KEY(diff_id, registry, format)"
	") WITHOUT ROWID;"
	"CREATE INDEX layer_blobs_used ON layer_blobs(used_at);"
	"CREATE TABLE uploads("
	"  registry TEXT NOT NULL, repository TEXT NOT NULL,"
	"  diff_id TEXT NOT NULL, format TEXT NOT NULL,"
	"  location TEXT NOT NULL, bytes INTEGER NOT NULL,"
	"  prefix_digest TEXT NOT NULL, used_at INTEGER NOT NULL,"
	"  PRIMARY KEY(registry, repository, diff_id, format)"
	") WITHOUT ROWID;",

	/* When images were used last, in ms since the epoch: beside their
	 * rows, which are large. */
	"CREATE TABLE image_uses("
	"  image TEXT PRIMARY KEY REFERENCES images(id) ON DELETE CASCADE,"
	"  used_at INTEGER NOT NULL"
	") WITHOUT ROWID;",

	/* Layers that do not hold what they should. */
	"CREATE TABLE damaged("
	"  key TEXT PRIMARY KEY REFERENCES layers(key) ON DELETE CASCADE,"
	"  problem TEXT NOT NULL, found_at INTEGER NOT NULL"
	") WITHOUT ROWID;"
	/* Layers that hold, or will, what another held before its repair:
	 * mounts may show it. */
	"CREATE TABLE replaced("
	"  key TEXT PRIMARY KEY REFERENCES layers(key) ON DELETE CASCADE"
	") WITHOUT ROWID;",

	/* Who vouches for images, and the manifests and indexes that lead from
	 * what was signed to them; the newest have the greatest numbers. */
	"CREATE TABLE signatures("
	"  id INTEGER PRIMARY KEY,"
	"  image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,"
	"  payload BLOB NOT NULL, signature TEXT NOT NULL,"
	"  UNIQUE(image, signature, payload)"
	");"
	"CREATE TABLE signed_documents("
	"  id INTEGER PRIMARY KEY,"
	"  image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,"
	"  digest TEXT NOT NULL, document BLOB NOT NULL,"
	"  UNIQUE(image, digest)"
	");",
};

#define SCHEMA_VERSION \
	((int)(sizeof(schema_migrations) / sizeof(schema_migrations[0])))

#endif
