#!/usr/bin/env python3
"""A registry with OCI 1.1's list of referrers, in front of one without.

Usage: referrers.py PORT

Serves what the registry at that loopback port has, but the indexes under the
tags sha256-HEX: they are the answers to /v2/NAME/referrers/DIGEST.  Prints its
own port.  GET /_requests gives the paths that were asked for, one a line.  Ends
when its standard input ends.
"""
import http.server
import re
import sys
import threading
import urllib.error
import urllib.request

BASE = "http://127.0.0.1:" + sys.argv[1]
INDEX = "application/vnd.oci.image.index.v1+json"
asked = []


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, data, headers):
        self.send_response(status)
        for key in ("Content-Type", "Docker-Content-Digest"):
            if headers.get(key) is not None:
                self.send_header(key, headers[key])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_GET(self):
        if self.path == "/_requests":
            self.answer(200, "\n".join(asked).encode(), {})
            return
        asked.append(self.path)
        path = re.sub("/referrers/sha256:", "/manifests/sha256-", self.path)
        if re.search("/manifests/sha256-[0-9a-f]{64}$", self.path):
            path = "/v2/none"
        request = urllib.request.Request(
            BASE + path, headers={"Accept": self.headers.get("Accept", "*/*")},
            method=self.command)
        try:
            with urllib.request.urlopen(request) as reply:
                self.answer(200, reply.read(), reply.headers)
        except urllib.error.HTTPError as e:
            self.answer(e.code, e.read(), e.headers)

    do_HEAD = do_GET


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


main()
