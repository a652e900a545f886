#!/usr/bin/env python3
"""A registry on loopback that can lie.

Usage: lying-registry.py [--ping=none|bearer|basic] [--drop=BYTES]
                         [--tls=FILE]

Serves one small image under every repository name; the name of the
repository chooses the fault ("t/ok" has none).  Prints two port numbers on
one line: the registry's, and that of another "host" that redirects go to.
With --tls, FILE holds the first one's key and certificate; the other stays
without.
GET /_requests tells what was asked, as JSON; DELETE /_requests forgets it.
Ends when its standard input ends.
"""
import base64
import gzip
import io
import random
import sys
import tarfile
import time
from urllib.parse import parse_qs, urlsplit

import frame
from frame import count, dump, lock, sha

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker.distribution.manifest."
USER, PASSWORD, IDENTITY = "user", "pa:ss word", "identity"
options = {"ping": "none", "drop": 100000, "tls": None}
other_port = 0


def flip(data):
    """The same length, another content."""
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


def make_tar(name, size):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = size
        tar.addfile(info, io.BytesIO(random.Random(size).randbytes(size)))
    return out.getvalue()


TARS = [make_tar("base", 700000), make_tar("top", 5000)]
LAYERS = [gzip.compress(tar, mtime=0) for tar in TARS]


class Image:
    """Documents and blobs of a repository, as its fault wants them."""

    def __init__(self, fault):
        self.blobs = {}
        self.manifests = {}
        tars, layers = TARS, list(LAYERS)
        if fault == "cut-4k":
            tars = [make_tar("small", 60000)]
            layers = [gzip.compress(tar, mtime=0) for tar in tars]
        if fault == "bad-gzip":
            layers[1] = flip(layers[1][:-8]) + layers[1][-8:]
        if fault == "cut-gzip":
            layers[1] = layers[1][:-5]
        arch = "s390x" if fault == "foreign-platform" else "amd64"
        diffs = [sha(tar) for tar in tars]
        if fault == "diff-count":
            diffs.pop()
        config = dump({"os": "linux", "architecture": arch,
                       "rootfs": {"type": "layers", "diff_ids": diffs},
                       "config": {"Cmd": ["/bin/sh"]}})
        layer_type = OCI + "layer.v1.tar+gzip"
        if fault == "media-type":
            layer_type = "application/vnd.example.unknown"
        manifest = {
            "schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
            "config": self.add(OCI + "config.v1+json", config),
            "layers": [self.add(layer_type, data) for data in layers]}
        if fault == "artifact":
            manifest["artifactType"] = "application/vnd.example.sbom"
        if fault == "mixed":
            manifest["manifests"] = []
        if fault == "foreign-url":
            manifest["layers"][1]["urls"] = [
                "http://127.0.0.1:%d/blob/%s" % (other_port, sha(layers[1]))]
        if fault == "schema1":
            self.top = self.put(DOCKER + "v1+prettyjws", dump(
                {"schemaVersion": 1, "name": "t/schema1", "fsLayers": []}))
            return
        if fault == "schema1-list":
            entry = {"mediaType": DOCKER + "v1+prettyjws",
                     "digest": sha(b"1"), "size": 1,
                     "platform": {"os": "linux", "architecture": arch}}
            self.top = self.put(DOCKER + "list.v2+json", dump(
                {"schemaVersion": 2, "mediaType": DOCKER + "list.v2+json",
                 "manifests": [entry]}))
            return
        if fault == "bad-json":
            self.top = self.put(OCI + "manifest.v1+json", b'{"layers":[}')
            return
        if fault == "doubled-key":
            text = dump(manifest)[:-1] + b', "schemaVersion": 2}'
            self.top = self.put(OCI + "manifest.v1+json", text)
            return
        self.top = self.put(OCI + "manifest.v1+json", dump(manifest))
        if fault in ("index", "child-digest", "foreign-platform", "no-type"):
            entry = {"mediaType": OCI + "manifest.v1+json",
                     "digest": self.top[1], "size": len(self.top[2]),
                     "platform": {"os": "linux", "architecture": arch}}
            proof = {"mediaType": OCI + "manifest.v1+json",
                     "digest": sha(b"proof"), "size": 5,
                     "platform": {"os": "unknown", "architecture": "unknown"}}
            self.top = self.put(OCI + "index.v1+json", dump(
                {"schemaVersion": 2, "manifests": [proof, entry]}))

    def add(self, media_type, data):
        self.blobs[sha(data)] = data
        return {"mediaType": media_type, "digest": sha(data),
                "size": len(data)}

    def put(self, media_type, data):
        entry = (media_type, sha(data), data)
        self.manifests[sha(data)] = entry
        return entry


images = {}


def image(fault):
    with lock:
        if fault not in images:
            images[fault] = Image(fault)
        return images[fault]


class Handler(frame.Handler):
    def describe(self):
        return {"method": self.command, "path": self.path,
                "port": self.server.server_port,
                "has_auth": "Authorization" in self.headers,
                "range": self.headers.get("Range")}

    # ---- who may ----

    def challenge(self, kind, scope=""):
        if kind == "basic":
            value = 'Negotiate, basic realm="a, b"'
        else:
            value = ('Bearer realm="http://127.0.0.1:%d/token",'
                     'service="my registry"%s' % (
                         self.server.server_port, scope))
        self.error(401, "UNAUTHORIZED", "authentication required",
                   [("WWW-Authenticate", value)])

    def basic(self):
        text = "%s:%s" % (USER, PASSWORD)
        return "Basic " + base64.b64encode(text.encode()).decode()

    def token(self, query, form=None):
        scope = (form or query).get("scope", [""])[0]
        auth = self.headers.get("Authorization")
        if (form or query).get("service") != ["my registry"]:
            return self.error(400, "UNSUPPORTED", "service")
        if form is not None and form.get("refresh_token") != [IDENTITY]:
            return self.error(401, "UNAUTHORIZED", "bad identity")
        if auth is not None and auth != self.basic():
            return self.reply(401, dump({"details": "incorrect username or "
                                         "password"}))
        if "other-scope" in scope:
            scope = "repository:t/ok:pull"
        who = "known" if auth or form else "anonymous"
        answer = {"token": "%s|%s" % (who, scope.replace(" ", "+")),
                  "expires_in": 300.5}
        if auth and query.get("offline_token") == ["true"]:
            answer["refresh_token"] = IDENTITY
        self.reply(200, dump(answer))

    def may(self, repo, fault):
        auth = self.headers.get("Authorization")
        scope = ',scope="repository:%s:pull"' % repo
        if fault == "auth-loop":
            self.challenge("bearer", scope + ',error="invalid_token"')
            return False
        if fault in ("bearer", "private", "redirect-auth", "other-scope"):
            want = ["Bearer known|repository:%s:pull" % repo]
            if fault != "private":
                want.append("Bearer anonymous|repository:%s:pull" % repo)
            if auth not in want:
                self.challenge("bearer", scope)
                return False
        if fault == "basic" and auth != self.basic():
            self.challenge("basic")
            return False
        return True

    # ---- documents ----

    def manifest(self, repo, fault, name):
        known = image(fault)
        entry = known.manifests.get(name)
        if entry is None and not name.startswith("sha256:"):
            entry = known.top if name != "nope" else None
        if entry is None:
            return self.error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        media_type, digest, data = entry
        headers = [("Content-Type", media_type),
                   ("Docker-Content-Digest", digest)]
        if fault == "header-lie":
            headers[1] = (headers[1][0], sha(b"a lie"))
        if fault == "manifest-digest" or (
                fault == "child-digest" and name.startswith("sha256:")):
            data = data.replace(b"schemaVersion", b"schemaversion")
        if fault == "no-type":
            headers[0] = ("Content-Type", "application/json")
        if fault == "huge-manifest":
            data += b" " * (5 << 20)
        if fault == "endless-manifest":
            return self.reply_chunked(iter(lambda: b" " * 65536, b""),
                                      headers)
        if fault == "huge-headers":
            headers += [("X-%d" % i, "x" * 1000) for i in range(90)]
        self.reply(200, data, headers)

    def blob(self, fault, digest):
        data = image(fault).blobs.get(digest)
        if data is None:
            return self.error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        is_layer = data[:2] == b"\x1f\x8b"
        is_large = len(data) > 100000
        if fault == "config-digest" and not is_layer:
            data = data.replace(b"linux", b"linuz")
        if fault.startswith("redirect-"):
            return self.redirect(fault, digest)
        if not is_layer:
            return self.reply(200, data)
        if fault == "blob-digest":
            data = flip(data)
        if fault == "blob-length":
            data += b"more"
        if fault == "endless-blob":
            return self.reply_chunked(iter(lambda: data, b""))
        if fault == "cut-4k":
            return self.cut(fault, data)
        if fault == "blob-no-length":
            return self.reply_chunked([data + b"more"])
        if is_large and fault in ("drop", "drop-no-range", "range-lie",
                                  "short-body", "drip"):
            return self.cut(fault, data)
        self.reply(200, data)

    def redirect(self, fault, digest):
        to = {"redirect-file": "file:///etc/passwd",
              "redirect-loop": self.path}.get(
                  fault, "http://127.0.0.1:%d/blob/%s" % (other_port, digest))
        self.reply(307, b"", [("Location", to)])

    def cut(self, fault, data):
        wanted, first = self.headers.get("Range"), self.first_byte()
        total = len(data)
        if fault == "short-body":
            first, end = 0, 1000
        elif fault == "drip":
            self.send_response(200)
            self.send_header("Content-Length", str(total))
            self.end_headers()
            for i in range(600):
                self.wfile.write(data[i:i + 1])
                time.sleep(0.02)
            return
        elif fault == "cut-4k":
            # Each that begins anew ends 4 KiB behind the one before.
            end = total if wanted else 4096 * count("cut-4k")
        elif fault == "drop-no-range":
            first, end = 0, options["drop"] * count(("no-range", self.path))
        elif fault == "range-lie" and wanted:
            first, end = max(first - 10, 0), total
        elif fault == "range-lie" and count(("range-lie", self.path)) > 1:
            end = total
        else:
            end = first + options["drop"]
        end = min(end, total)
        self.send_response(206 if wanted and first else 200)
        if wanted and first:
            self.send_header("Content-Range", "bytes %d-%d/%d" % (
                first, total - 1, total))
        self.send_header("Content-Length", str(total - first))
        self.end_headers()
        self.wfile.write(data[first:end])
        self.close_connection = True

    def tags(self, repo, fault, query):
        last = query.get("last", [""])[0]
        headers = []
        names = ["one", "two", "three"]
        if fault == "tags-pages":
            at = names.index(last) + 1 if last in names else 0
            if at < len(names) - 1:
                headers.append(("Link", '</v2/%s/tags/list?last=%s>; '
                                'rel="next"' % (repo, names[at])))
            names = names[at:at + 1]
        if fault == "tags-loop":
            headers.append(("Link", "<%s>; rel=next" % self.path))
        if fault == "tags-elsewhere":
            headers.append(("Link", '<http://127.0.0.1:%d/tags>; rel="next"'
                            % other_port))
        self.reply(200, dump({"name": repo, "tags": names}), headers)

    # ---- routes ----

    def v2(self, path, query):
        if path == "":
            auth = self.headers.get("Authorization")
            if options["ping"] != "none" and auth not in (
                    self.basic(), "Bearer known|"):
                return self.challenge(options["ping"])
            return self.reply(200, b"{}")
        parts = path.split("/")
        repo, fault = "/".join(parts[:-2]), parts[-3]
        if not self.may(repo, fault):
            return None
        if fault == "forbidden":
            return self.error(403, "DENIED", "requested access to the "
                              "resource is denied")
        if fault == "missing":
            return self.error(404, "NAME_UNKNOWN",
                              "repository name not known to registry")
        if fault == "rate":
            return self.error(429, "TOOMANYREQUESTS", "You have reached your "
                              "pull rate limit.", [("Retry-After", "3600")])
        if fault == "rate-bare":
            return self.reply(429)
        if fault == "flaky" and count((self.command, path)) < 3:
            return self.reply(503, b"<html>busy</html>",
                              [("Content-Type", "text/html")])
        if fault == "rate-soft" and count((self.command, path)) < 2:
            return self.error(429, "TOOMANYREQUESTS", "slower",
                              [("Retry-After", "1")])
        if fault == "broken":
            return self.reply(500, b"out of \x1b[31morder\n",
                              [("Content-Type", "text/plain")])
        if parts[-2] == "manifests":
            return self.manifest(repo, fault, parts[-1])
        if parts[-2] == "blobs":
            return self.blob(fault, parts[-1])
        return self.tags(repo, fault, query)

    def answer(self):
        url = urlsplit(self.path)
        if self.command == "POST":
            body = self.rfile.read(int(self.headers["Content-Length"]))
            return self.token({}, parse_qs(body.decode()))
        path = url.path
        if path.startswith("/bad/"):
            return self.reply(500, b"")
        if path.startswith("/mirror/"):
            path = path[len("/mirror"):]
        if path == "/token":
            return self.token(parse_qs(url.query))
        if path.startswith("/blob/"):
            digest = path[len("/blob/"):]
            for known in images.values():
                if digest in known.blobs:
                    return self.reply(200, known.blobs[digest])
        if path.startswith("/v2/"):
            return self.v2(path[len("/v2/"):], parse_qs(url.query))
        return self.reply(404, b"404 page not found\n",
                          [("Content-Type", "text/plain")])


def main():
    global other_port
    for arg in sys.argv[1:]:
        name, _, value = arg.lstrip("-").partition("=")
        options[name] = int(value) if name == "drop" else value
    servers = [frame.Server(Handler) for _ in range(2)]
    other_port = servers[1].server_port
    if options["tls"]:
        frame.use_tls(servers[0], options["tls"])
    frame.serve(servers)


main()
