#!/usr/bin/env python3
"""A registry on loopback that takes uploads, and can lie.

Usage: push-registry.py [--cut=BYTES] [--rate=BYTES]

The last part of a repository's name chooses the fault ("t/ok" has none).
--cut is how much of an upload's request comes through where links break;
--rate is how many bytes in a second are read where they are slow.  Prints two
port numbers: the registry's, and that of another "host" for uploads.
GET /_requests tells what was asked, as JSON; DELETE /_requests forgets it; GET
/_state tells each repository's blobs and tags, and the sizes of the uploads
that go on.  Ends when its standard input ends.
"""
import json
import sys
import time
import uuid
from urllib.parse import parse_qs, urlsplit

import frame
from frame import count, dump, lock, sha

options = {"cut": 700000, "rate": 1000000}
PIECE = 32 << 10
repos = {}
uploads = {}
other_port = 0


class Repo:
    def __init__(self):
        self.blobs = {}
        self.manifests = {}
        self.tags = {}


def repo_of(name):
    with lock:
        return repos.setdefault(name, Repo())


class Upload:
    def __init__(self, repo):
        self.repo = repo
        self.data = bytearray()
        self.is_dead = False


class Handler(frame.Handler):
    common = [("Docker-Distribution-Api-Version", "registry/2.0")]
    received = 0

    def describe(self):
        return {"method": self.command, "path": self.path,
                "port": self.server.server_port,
                "has_auth": "Authorization" in self.headers,
                "pieces": self.headers.get("Content-Range")}

    # ---- the request's body ----

    def body(self):
        """In pieces, as they come; short if the client goes."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while True:
                size = int(self.rfile.readline().strip() or b"0", 16)
                left = size
                while left > 0:
                    data = self.rfile.read1(min(left, PIECE))
                    if not data:
                        return
                    left -= len(data)
                    yield data
                self.rfile.readline()
                if size == 0:
                    return
        left = int(self.headers.get("Content-Length", "0"))
        while left > 0:
            data = self.rfile.read1(min(left, PIECE))
            if not data:
                return
            left -= len(data)
            yield data

    def take(self, fault, up):
        """Add the body to the upload; False: hang up."""
        begin, taken = time.monotonic(), 0
        is_well = fault == "cut-forgets" and count("forgets") > 3
        for data in self.body():
            if fault.startswith("cut") and not is_well and \
                    taken + len(data) > options["cut"]:
                up.data += data[:options["cut"] - taken]
                # As a proxy may: what it had is all the registry has.
                up.is_dead = fault == "cut-forgets"
                self.close_connection = True
                return False
            up.data += data
            taken += len(data)
            if fault.startswith("slow"):
                time.sleep(max(0, begin + taken / options["rate"] -
                               time.monotonic()))
        return True

    # ---- who may ----

    def may(self, name, fault):
        """Tokens are good for a few requests."""
        if fault not in ("short-tokens", "late-401", "late-401-pieces",
                         "refused"):
            return True
        auth = self.headers.get("Authorization", "")
        if fault == "refused" and auth:
            self.error(403, "DENIED", "requested access to the resource is "
                       "denied")
            return False
        if auth and count(auth) <= 6:
            return True
        if fault.startswith("late-401"):
            for _ in self.body():
                pass
        self.close_connection = True
        self.error(401, "UNAUTHORIZED", "token expired", [(
            "WWW-Authenticate",
            'Bearer realm="http://127.0.0.1:%d/token",service="s",'
            'scope="repository:%s:pull,push"' % (
                self.server.server_port, name))])
        return False

    # ---- uploads ----

    def place(self, name, fault, i):
        port = other_port if fault == "elsewhere" else self.server.server_port
        url = "/v2/%s/blobs/uploads/%s?_state=%d" % (name, i, count("state"))
        if fault in ("elsewhere", "ok"):
            url = "http://127.0.0.1:%d%s" % (port, url)
        return ("Location", url)

    def begin(self, name, fault):
        i = str(uuid.uuid4())
        with lock:
            uploads[i] = Upload(name)
        headers = [("Range", "0-0"), self.place(name, fault, i)]
        if fault == "no-location":
            headers.pop()
        if fault == "min-piece":
            headers.append(("OCI-Chunk-Min-Length", str(9 << 20)))
        self.reply(202, b"", headers)

    def status(self, status, name, fault, i):
        n = len(uploads[i].data)
        if fault == "kept-more":
            n += 1 << 30
        self.reply(status, b"", [("Range", "0-%d" % max(n - 1, 0)),
                                 self.place(name, fault, i)])

    def patch(self, name, fault, i):
        up = uploads[i]
        wanted = self.headers.get("Content-Range")
        if fault == "no-patch":
            return self.error(405, "UNSUPPORTED")
        if fault == "no-pieces" and wanted:
            return self.error(400, "UNSUPPORTED")
        if wanted and int(wanted.split("-")[0]) != len(up.data):
            return self.error(416, "RANGE_INVALID")
        if fault == "cut-hole" and count("hole") == 2:
            # It lost the end of what it had.
            del up.data[len(up.data) // 2:]
            return self.error(416, "RANGE_INVALID")
        if fault == "full":
            return self.error(507, "UNKNOWN", "no space left")
        if not self.take(fault, up):
            return None
        if fault == "kept-less" and count("less") == 1:
            del up.data[100000:]
        if fault == "flips" and count("flip") == 1:
            up.data[5] ^= 1
            self.close_connection = True
            return None
        return self.status(202, name, fault, i)

    def finish(self, name, fault, i, digest):
        up = uploads[i]
        if not self.take("", up):
            return None
        if sha(up.data) != digest:
            return self.error(400, "DIGEST_INVALID", "provided digest did not "
                              "match uploaded content")
        if fault != "keeps-nothing":
            repo_of(name).blobs[digest] = bytes(up.data)
        del uploads[i]
        if fault == "lost-answer":
            self.close_connection = True
            return None
        if fault == "other-digest":
            digest = sha(b"other")
        return self.reply(201, b"", [
            ("Location", "/v2/%s/blobs/%s" % (name, digest)),
            ("Docker-Content-Digest", digest)])

    def upload(self, name, fault, i, query):
        if i not in uploads or uploads[i].is_dead:
            return self.error(404, "BLOB_UPLOAD_UNKNOWN")
        if self.command == "GET":
            return self.status(204, name, fault, i)
        if self.command == "PATCH":
            return self.patch(name, fault, i)
        if self.command == "PUT":
            return self.finish(name, fault, i, query["digest"][0])
        del uploads[i]
        return self.reply(204)

    # ---- what is there ----

    def blob(self, name, fault, digest):
        data = repo_of(name).blobs.get(digest)
        if data is None or (fault == "shows-late" and
                            count(digest) == 1):
            return self.error(404, "BLOB_UNKNOWN")
        return self.reply(200, data, [("Docker-Content-Digest", digest)])

    def manifest(self, name, fault, ref):
        repo = repo_of(name)
        if self.command == "PUT":
            return self.put_manifest(repo, fault, ref)
        digest = repo.tags.get(ref, ref)
        if digest not in repo.manifests:
            return self.error(404, "MANIFEST_UNKNOWN")
        kind, data = repo.manifests[digest]
        return self.reply(200, data, [("Content-Type", kind),
                                      ("Docker-Content-Digest", digest)])

    def put_manifest(self, repo, fault, ref):
        data = b"".join(self.body())
        doc = json.loads(data)
        for d in [doc["config"], *doc["layers"]]:
            if len(repo.blobs.get(d["digest"], b"")) != d["size"]:
                return self.error(400, "MANIFEST_BLOB_UNKNOWN",
                                  "blob unknown to registry")
        digest = sha(data)
        if fault != "no-manifest":
            repo.tags[ref] = digest
            repo.manifests[digest] = (self.headers["Content-Type"], data)
        if fault == "other-manifest":
            digest = sha(b"other")
        return self.reply(201, b"", [("Docker-Content-Digest", digest)])

    # ---- routes ----

    def state(self):
        with lock:
            text = {"repos": {name: {
                "blobs": {d: len(b) for d, b in repo.blobs.items()},
                "tags": repo.tags} for name, repo in repos.items()},
                "uploads": [[up.repo, len(up.data)]
                            for up in uploads.values()]}
        self.reply(200, dump(text))

    def answer(self):
        url = urlsplit(self.path)
        if url.path == "/_state":
            return self.state()
        if url.path == "/token":
            return self.reply(200, dump({"token": "t%d" % count("token")}))
        parts = url.path.split("/")[2:]
        if len(parts) < 4:
            return self.reply(200, b"{}")
        at = parts.index("manifests" if "manifests" in parts else "blobs")
        name, fault = "/".join(parts[:at]), parts[at - 1]
        if not self.may(name, fault):
            return None
        if fault == "busy" and count((self.command, "busy")) < 2:
            for _ in self.body():
                pass
            return self.error(503, "UNAVAILABLE", "busy")
        if parts[at] == "manifests":
            return self.manifest(name, fault, parts[-1])
        if parts[at + 1] != "uploads":
            return self.blob(name, fault, parts[-1])
        if parts[-1] == "":
            return self.begin(name, fault)
        return self.upload(name, fault, parts[-1], parse_qs(url.query))


def main():
    global other_port
    for arg in sys.argv[1:]:
        name, _, value = arg.lstrip("-").partition("=")
        options[name] = int(value)
    servers = [frame.Server(Handler) for _ in range(2)]
    other_port = servers[1].server_port
    frame.serve(servers)


main()
