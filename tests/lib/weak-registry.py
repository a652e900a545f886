#!/usr/bin/env python3
"""A registry on loopback behind a bad link.

Usage: weak-registry.py [--cut BYTES] [--rate BYTES] [--port N] LAYOUT LOG

Serves the tags of an OCI layout under every repository name, with ranges.
--cut closes the connection of a blob after so many bytes; --rate sends no
more in a second, to each; --port is taken instead of any free one.  Prints its
port.  For each answer with a blob LOG gets a line "BLOB FIRST SENT": the
first byte asked for, and how many went out.  Ends by a signal.
"""
import argparse
import json
import re
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = 32 << 10

parser = argparse.ArgumentParser()
parser.add_argument("--cut", type=int, default=0)
parser.add_argument("--rate", type=int, default=0)
parser.add_argument("--port", type=int, default=0)
parser.add_argument("layout")
parser.add_argument("log")
options = parser.parse_args()


def tags():
    """Their digests by name."""
    with open(options.layout + "/index.json") as f:
        return {m["annotations"]["org.opencontainers.image.ref.name"]:
                m["digest"] for m in json.load(f)["manifests"]}


def find(name):
    """The digest of a tag; a digest is its own."""
    return name if name.startswith("sha256:") else tags().get(name)


def path_of(digest):
    return options.layout + "/blobs/" + digest.replace(":", "/")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if self.path.split("?")[0].endswith("/tags/list"):
            return self.answer(200, {}, json.dumps({"tags": list(tags())}).encode())
        what = re.fullmatch(r"/v2/.+/(manifests|blobs)/([^/?]+)", self.path)
        if what is None:
            return self.answer(200, {})
        digest = find(what[2])
        if digest is None:
            return self.answer(404, {})
        if what[1] == "blobs":
            return self.send_blob(digest)
        with open(path_of(digest), "rb") as f:
            body = f.read()
        self.answer(200, {
            "Content-Type": json.loads(body).get(
                "mediaType", "application/vnd.oci.image.manifest.v1+json"),
            "Docker-Content-Digest": digest}, body)

    def send_blob(self, digest):
        with open(path_of(digest), "rb") as f:
            size = f.seek(0, 2)
            wanted = re.fullmatch(r"bytes=(\d+)-",
                                  self.headers.get("Range", ""))
            first = int(wanted[1]) if wanted else 0
            if first >= size:
                return self.answer(416, {})
            self.send_response(206 if wanted else 200)
            if wanted:
                self.send_header("Content-Range", "bytes %d-%d/%d" %
                                 (first, size - 1, size))
            self.send_header("Content-Length", str(size - first))
            self.end_headers()
            f.seek(first)
            sent = self.send_pieces(f, size - first)
        with open(options.log, "a") as log:
            log.write("%s %d %d\n" % (digest, first, sent))

    def send_pieces(self, f, left):
        begin = time.monotonic()
        sent = 0
        # What a dead peer has not read is not to count for much.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)
        while left > 0 and (not options.cut or sent < options.cut):
            n = min(PIECE, left, (options.cut or left + sent) - sent)
            try:
                self.wfile.write(f.read(n))
            except OSError:
                break
            sent += n
            left -= n
            if options.rate:
                due = begin + sent / options.rate
                time.sleep(max(0, due - time.monotonic()))
        self.close_connection = left > 0
        return sent


server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
server.daemon_threads = True
print(server.server_address[1])
sys.stdout.flush()
server.serve_forever()
