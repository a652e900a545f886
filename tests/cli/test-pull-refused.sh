#!/bin/sh
# What a registry can do wrong: each is one clear line, exit 1, and a store as
# it was.
. "$srcdir/tests/lib/cli.sh"
lying_start || exit 99
host=127.0.0.1:$lying_port
printf '{ "storage-driver": "vfs" }\n' >"$dir/daemon.json"
digest=sha256:$(printf '5%.0s' $(seq 64))

registry_start "$dir/registry" || exit 99
printf x >"$dir/x"
tar -C "$dir" -cf "$dir/x.tar" x
"$lib/make-oci.py" "$dir/oci" 0 "$dir/x.tar"
registry_push "$dir/oci:0" t/whole:1
ok "a store to begin with" imgd pull -q "127.0.0.1:$registry_port/t/whole:1"

# A layer that is there already is not asked for: these come first.
refused "blob's digest" "layer [0-9a-f]{12}: .*verification failed for digest" \
    imgd pull -q "$host/t/blob-digest:1"
refused "a blob that is too long" "layer [0-9a-f]{12}: " \
    imgd pull -q "$host/t/blob-length:1"
refused "an endless blob" "layer [0-9a-f]{12}: " \
    imgd pull -q "$host/t/blob-no-length:1"
refused "damaged gzip" "layer [0-9a-f]{12}: .*gzip" \
    imgd pull -q "$host/t/bad-gzip:1"
refused "gzip cut short" "layer [0-9a-f]{12}: .*(gzip|short)" \
    imgd pull -q "$host/t/cut-gzip:1"

ok "an image without a fault" imgd pull -q "$host/t/ok:1"
refused "unknown name" "repository $host/t/missing not found|pull access denied" \
    imgd pull -q "$host/t/missing:1"
refused "unknown tag" "manifest for $host/t/ok:nope not found" \
    imgd pull -q "$host/t/ok:nope"
refused "nobody listens" "127.0.0.1:1.*(refused|connect)" \
    imgd pull -q 127.0.0.1:1/t/ok:1
refused "a name that is none" "NAME|name|reference" imgd pull -q 'UP//x:1'
refused "401 without end" "t/auth-loop" imgd pull -q "$host/t/auth-loop:1"
refused "basic without credentials" "no basic auth credentials" \
    imgd pull -q "$host/t/basic:1"
refused "403" "denied" imgd pull -q "$host/t/forbidden:1"
refused "429" "rate limit" imgd pull -q "$host/t/rate:1"
refused "500, with an escape sequence in its text" '\\x1b' \
    imgd pull -q "$host/t/broken:1"
refused "manifest's digest, by tag" "t/header-lie.*digest" \
    imgd pull -q "$host/t/header-lie:1"
refused "manifest's digest, of a child" "t/child-digest.*digest" \
    imgd pull -q "$host/t/child-digest:1"
refused "a digest that the registry has not" "t/ok" \
    imgd pull -q "$host/t/ok@$digest"
refused "config's digest" "t/config-digest.*digest" \
    imgd pull -q "$host/t/config-digest:1"
refused "fewer diff_ids than layers" \
    "layers from manifest don't match image configuration" \
    imgd pull -q "$host/t/diff-count:1"
refused "a media type that nobody knows" \
    "unsupported media type application/vnd.example.unknown" \
    imgd pull -q "$host/t/media-type:1"
refused "an artifact" "artifact" imgd pull -q "$host/t/artifact:1"
refused "layers and manifests in one document" "t/mixed" \
    imgd pull -q "$host/t/mixed:1"
refused "a document that is no JSON" "t/bad-json" \
    imgd pull -q "$host/t/bad-json:1"
refused "a key twice" "t/doubled-key.*twice|duplicate" \
    imgd pull -q "$host/t/doubled-key:1"
refused "a schema 1 manifest of nothing" "layers and history do not match" \
    imgd pull -q "$host/t/schema1:1"
refused "only a foreign platform" "no matching manifest for linux/" \
    imgd pull -q "$host/t/foreign-platform:1"
refused "the platform asked for is not there" \
    "no matching manifest for linux/s390x" \
    imgd pull -q --platform linux/s390x "$host/t/index:1"
refused "a manifest of 5 MiB" "t/huge-manifest" \
    imgd pull -q "$host/t/huge-manifest:1"
refused "90 kB of headers" "t/huge-headers.*header" \
    imgd pull -q "$host/t/huge-headers:1"
refused "redirects without end" "redirect" \
    imgd pull -q "$host/t/redirect-loop:1"
refused "a redirect to a file" "redirect|file:" \
    imgd pull -q "$host/t/redirect-file:1"
ok "a connection that breaks is resumed" imgd pull -q "$host/t/drop:1"
ok "and all that was pulled is whole" imgd fsck --deep

# A tar whose diff_id is not what the config says.
"$lib/make-oci.py" --wrong-diff-id 0 "$dir/oci" 1 "$dir/x.tar"
registry_push "$dir/oci:1" t/diff:1
refused "diff_id" "layer [0-9a-f]{12}: diff_id mismatch" \
    imgd pull -q "127.0.0.1:$registry_port/t/diff:1"

# Only addresses are loopback's own: a name wants TLS, also one that leads there.
refused "https spoken to a plain port" "TLS|SSL|wrong version" \
    imgd pull -q "reg.localhost:$lying_port/t/ok:1"

cli_end
