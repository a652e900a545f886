#!/usr/bin/env python3
"""An index and registry of version 1 on loopback, that can lie.

Usage: v1-registry.py [--tls=FILE] [--user=NAME:PASSWORD] TAR…

Serves one image of the tars, base first, under every repository name; the
last part of the name chooses the fault ("t/ok" has none).  Prints four port
numbers on one line: the index's, which is a registry, too; that of another
registry; a port where nobody listens; that of a server of files, which
redirects lead to.  With --tls, FILE holds the first one's key and certificate;
with --user, t/private is for that user alone.
GET /_requests tells what was asked, as JSON; DELETE /_requests forgets it.
Ends when its standard input ends.

Sources: docker-registry 0.8 and 0.9, quay, crane, as they answer Docker 1.2.
"""
import base64
import gzip
import hashlib
import lzma
import socket
import sys
from urllib.parse import parse_qs, urlsplit

import frame
from frame import count, dump, lock

CUT = 70000
options = {"tls": None, "user": None}
ports = []
tars = []
ids = {}  # id: (fault, number)
COOKIE = "session=abc.DEF-1"


def image_id(fault, n):
    # Shared layers have the same names in all repositories without a fault.
    name = "plain" if fault in ("ok", "same") else fault
    i = hashlib.sha256(b"%s %d" % (name.encode(), n)).hexdigest()
    with lock:
        ids.setdefault(i, (fault, n))
    return i


def ancestry(fault):
    return [image_id(fault, n) for n in reversed(range(len(tars)))]


def image_json(fault, n):
    doc = {"id": image_id(fault, n),
           "created": "2014-08-0%dT01:02:03.5Z" % (n + 1),
           "container_config": {"Cmd": ["/bin/sh", "-c", "layer %d" % n]},
           "config": {"Cmd": ["/bin/sh"], "Env": ["A=<%d>" % n]},
           "docker_version": "1.2.0", "architecture": "amd64",
           "os": "linux", "Size": 1, "unknown": {"kept": 1.50}}
    if n > 0:
        doc["parent"] = image_id(fault, n - 1)
    if fault == "wrong-parent" and n == 1:
        doc["parent"] = "5" * 64
    if fault == "no-parent" and n == 1:
        del doc["parent"]
    if fault == "json-id":
        doc["id"] = "5" * 64
    if fault == "arm":
        doc["architecture"] = "arm"
    text = dump(doc)
    if fault == "json-bad":
        text = text[:-1]
    if fault == "json-twice":
        text = text[:-1] + b', "id": "%s"}' % doc["id"].encode()
    if fault == "json-huge":
        text = text[:-1] + b', "x": "%s"}' % (b"x" * (5 << 20))
    return text


def layer(fault, n):
    if fault == "zero" and n == len(tars) - 1:
        return b""
    if fault == "plain-tar":
        return tars[n]
    if fault == "xz":
        return lzma.compress(tars[n], preset=1)
    data = gzip.compress(tars[n], 1, mtime=0)
    if fault == "bad-gzip":
        data = data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]
    if fault == "cut-gzip":
        data = data[:-9]
    return data


def tarsum(fault, n):
    """Of entries that are regular files with ustar headers, one block."""
    sums, at, data = [], 0, tars[n]

    def number(field):
        return b"%d" % int(field.strip(b" \0") or b"0", 8)

    while at < len(data) and data[at:at + 512] != b"\0" * 512:
        h = data[at:at + 512]
        size = int(number(h[124:136]))
        fields = [(b"name", h[:100].rstrip(b"\0")),
                  (b"mode", number(h[100:108])), (b"uid", number(h[108:116])),
                  (b"gid", number(h[116:124])), (b"size", b"%d" % size),
                  (b"mtime", number(h[136:148])), (b"typeflag", h[156:157]),
                  (b"linkname", h[157:257].rstrip(b"\0")),
                  (b"uname", h[265:297].rstrip(b"\0")),
                  (b"gname", h[297:329].rstrip(b"\0")),
                  (b"devmajor", b"0"), (b"devminor", b"0")]
        text = b"".join(k + v for k, v in fields)
        sums.append(hashlib.sha256(
            text + data[at + 512:at + 512 + size]).hexdigest())
        at += 512 + (size + 511) // 512 * 512
    return "tarsum+sha256:" + hashlib.sha256(
        image_json(fault, n) + "".join(sorted(sums)).encode()).hexdigest()


class Handler(frame.Handler):
    common = [("X-Docker-Registry-Version", "0.9.1")]

    def error(self, status, text, headers=()):
        self.reply(status, dump({"error": text}),
                   [("Content-Type", "application/json"), *headers])

    def describe(self):
        wanted = ("Authorization", "Cookie", "Range", "X-Docker-Token")
        return {"path": self.path, "port": self.server.server_port,
                **{name: self.headers[name] for name in wanted
                   if name in self.headers}}

    # ---- index ----

    def is_user(self):
        text = base64.b64encode(options["user"].encode()).decode()
        return self.headers.get("Authorization") == "Basic " + text

    def tokens(self, repo, fault):
        text = 'signature=ABC123,repository="%s",access=read' % repo
        if fault == "tokens":
            return [text, "second=1"]
        if fault == "bad-token":
            return [text + "\x01"]
        return ["Token " + text]

    def places(self, fault):
        here, other, dead, _ = ("127.0.0.1:%d" % port for port in ports)
        return {
            "dead-first": dead + " \t,  " + other + " ",
            "both": here + "," + other,
            "busy": here + "," + other,
            "evil-place": "127.0.0.1:%d/../x" % ports[1],
            "foreign-place": "test.example.com",
            "all-dead": dead,
        }.get(fault, self.headers["Host"])

    def images(self, repo, fault):
        if fault == "missing":
            return self.error(404, "images not found")
        if fault == "private" and not self.is_user():
            return self.error(401, "Requires authorization", [
                ("WWW-Authenticate", 'Basic realm="auth required",Token')])
        if self.headers.get("X-Docker-Token") != "true":
            return self.error(400, "no token wanted")
        headers = [("X-Docker-Token", text)
                   for text in self.tokens(repo, fault)]
        headers.append(("X-Docker-Endpoints", self.places(fault)))
        if fault == "cookie":
            headers.append(("Set-Cookie", COOKIE + "; Path=/; HttpOnly"))
        body = [{"id": i} for i in ancestry(fault)]
        if fault == "index-sum":
            body[0]["checksum"] = "tarsum+sha256:" + "5" * 64
        if fault == "bad-list":
            body = {"id": "x"}
        return self.reply(200, dump([] if fault == "cookie" else body),
                          headers)

    # ---- registry ----

    def may(self, repo, fault):
        """Whether the request is allowed, as the servers of then check it."""
        auth = self.headers.get("Authorization", "")
        if fault == "cookie" and self.headers.get("Cookie") != COOKIE:
            self.error(400, "Missing namespace in request")
            return False
        if options["tls"] and fault == "private":
            if self.is_user():
                return True
        elif fault == "tokens":
            if auth == ('Token signature=ABC123,repository="%s",access=read,'
                        'second=1' % repo):
                return True
        elif auth.startswith('Token Token signature=ABC123,repository="'):
            return True
        elif self.server.server_port == ports[3]:
            return True
        self.error(401, "Requires authorization",
                   [("WWW-Authenticate", "Token")])
        return False

    def tags(self, repo, fault):
        if fault == "no-tags":
            return self.error(404, "Repository not found")
        top = ancestry(fault)[0]
        if fault == "bad-id":
            top = "../../../../etc/passwd"
        if fault == "upper-id":
            top = top.upper()
        tags = {"latest": top, "1": top, "two words": top}
        if fault == "huge-tags":
            tags["x" * (5 << 20)] = top
        if fault == "list-tags":
            tags = [{"name": "1", "layer": top[:8]}]
        # Nobody may look at the type.
        return self.reply(200, dump(tags), [("Content-Type", "text/html")])

    def ancestry(self, fault, n):
        chain = ancestry(fault)[len(tars) - 1 - n:]
        if fault == "cycle":
            chain += [chain[0]]
        if fault == "wrong-order":
            chain[1:] = reversed(chain[1:])
        if fault == "not-first":
            chain.reverse()
        if fault == "bad-ancestor":
            chain[-1] = "../" + chain[-1][3:]
        if fault == "short-ancestry":
            chain.pop()
        if fault == "no-ancestry":
            chain = []
        if fault == "long-ancestry":
            chain += ["%064x" % i for i in range(4096)]
        self.reply(200, dump(chain))

    def json(self, fault, n):
        if fault == "uploading":
            return self.error(400, "Image is being uploaded, retry later")
        text = image_json(fault, n)
        data = layer(fault, n)
        payload = hashlib.sha256(text + b"\n" + data).hexdigest()
        if fault == "checksum":
            payload = "5" * 64
        size = len(data)
        if fault == "bad-size":
            size = "-1"
        if fault == "short-layer":
            size += 1
        headers = [("X-Docker-Size", str(size))]
        if fault in ("ok", "checksum", "tarsum", "both", "same"):
            headers.append(("X-Docker-Payload-Checksum", "sha256:" + payload))
            headers.append(("X-Docker-Payload-Checksum",
                            tarsum("ok", n) if fault in ("ok", "same")
                            else tarsum(fault, n)))
        if fault == "tarsum":
            headers[-1] = ("X-Docker-Checksum", "tarsum+sha256:" + "5" * 64)
        return self.reply(200, text, [] if fault == "no-size" else headers)

    def layer(self, fault, n):
        data = layer(fault, n)
        if fault in ("redirect", "redirect-loop", "redirect-file"):
            if self.server.server_port == ports[3]:
                if "Authorization" in self.headers:
                    return self.error(400, "Only one auth mechanism allowed")
                return self.reply(200, data)
            to = {"redirect-loop": self.path,
                  "redirect-file": "file:///etc/passwd"}.get(
                      fault, "http://127.0.0.1:%d%s" % (ports[3], self.path))
            return self.reply(302, b"", [("Location", to)])
        if fault == "zero" and not data:
            return self.error(416, "Requested range not satisfiable")
        if fault == "huge-layer":
            return self.reply(200, data, length=1 << 60)
        if fault.startswith("cut-") and fault != "cut-gzip" and \
                n == len(tars) - 1:
            return self.cut(fault, data)
        return self.reply(200, data)

    def cut(self, fault, data):
        """Send CUT bytes and hang up."""
        wanted, first = self.headers.get("Range"), self.first_byte()
        total = len(data)
        self.close_connection = True
        if fault == "cut-no-range":
            # The whole again, each time a little more of it.
            part = data[:CUT * count(self.path)]
            return self.reply(200, part, length=total)
        if wanted and first >= total:
            return self.error(416, "Requested range not satisfiable")
        part = data[first:first + CUT]
        if fault == "cut-clean":
            # No length: an end like any other.
            status = 206 if wanted else 200
            headers = [("Content-Range", "bytes %d-%d/%d" % (
                first, total - 1, total))] if wanted else []
            return self.reply(status, part, headers, length=-1)
        if not wanted:
            if fault == "cut-lie" and count(self.path) > 1:
                part = data
            return self.reply(200, part, [("Accept-Ranges", "bytes")],
                              length=total)
        if fault == "cut-lie":
            first -= 7
            part = data[first:first + CUT]
        # As docker-registry says it: no "bytes", and one byte too many.
        return self.reply(206, part, [
            ("Accept-Ranges", "bytes"),
            ("Content-Range", "%d-%d/%d" % (first, total, total))],
            length=total - first + 1)

    # ---- routes ----

    def repository(self, parts):
        repo, fault, what = "/".join(parts[:-1]), parts[-2], parts[-1]
        if what == "images":
            return self.images(repo, fault)
        if what == "tags" and "/" in repo and self.may(repo, fault):
            return self.tags(repo, fault)
        return None

    def image(self, i, what):
        if i not in ids:
            return self.error(404, "Image not found")
        fault, n = ids[i]
        if fault == "busy" and what == "layer" and \
                self.server.server_port == ports[0]:
            return self.error(503, "busy")
        if fault == "both" and self.server.server_port == ports[0]:
            return self.error(500, "out of order")
        if not self.may("t/" + fault, fault):
            return None
        return {"ancestry": self.ancestry, "json": self.json,
                "layer": self.layer}[what](fault, n)

    def search(self, query):
        """Three results, or what the term says; the last has long words."""
        term = query["q"][0]
        results = [{"name": "t/" + term, "description": "d\x1b[31m",
                    "star_count": 7, "is_official": True},
                   {"name": "two"},
                   {"name": "three", "description": "\u00e4" * 60,
                    "star_count": 1, "is_official": False}]
        if term == "nothing":
            results = []
        if term == "nameless":
            results = [{"description": "x"}]
        if term == "huge":
            results = [{"name": "x" * 2000000}]
        body = {"query": term, "num_results": len(results),
                "results": results}
        if term == "list":
            body = []
        self.reply(200, dump(body))

    def answer(self):
        parts = urlsplit(self.path).path.split("/")[1:]
        if parts == ["v1", "_ping"]:
            return self.reply(200, b"{}", [
                ("X-Docker-Registry-Standalone", "True")])
        if parts[:2] == ["v1", "repositories"] and len(parts) > 3:
            return self.repository(parts[2:])
        if parts == ["v1", "users", ""]:
            return self.reply(200 if self.is_user() else 401, b"")
        if parts == ["v1", "search"]:
            return self.search(parse_qs(urlsplit(self.path).query))
        if parts[:2] == ["v1", "images"] and len(parts) == 4:
            return self.image(*parts[2:])
        return self.reply(404, b"<h1>Not Found</h1>",
                          [("Content-Type", "text/html")])


def main():
    for arg in sys.argv[1:]:
        if arg.startswith("--"):
            name, _, value = arg[2:].partition("=")
            options[name] = value
            continue
        with open(arg, "rb") as f:
            tars.append(f.read())
    servers = [frame.Server(Handler) for _ in range(3)]
    # Bound, and never listened on.
    dead = socket.socket()
    dead.bind(("127.0.0.1", 0))
    ports.extend([servers[0].server_port, servers[1].server_port,
                  dead.getsockname()[1], servers[2].server_port])
    if options["tls"]:
        frame.use_tls(servers[0], options["tls"])
    frame.serve(servers, ports)


main()
