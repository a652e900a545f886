"""What the registries of the tests share: HTTP on loopback, and a memory.

GET /_requests tells what was asked, as JSON; DELETE /_requests forgets it.
"""
import hashlib
import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

lock = threading.Lock()
requests = []
counts = {}


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def dump(doc):
    return json.dumps(doc).encode()


def count(key):
    """How often it was asked for with this key."""
    with lock:
        counts[key] = counts.get(key, 0) + 1
        return counts[key]


class Handler(BaseHTTPRequestHandler):
    """Requests go to answer(), after describe() was noted."""
    protocol_version = "HTTP/1.1"
    common = ()  # headers of each reply

    def log_message(self, *args):
        pass

    def reply(self, status, body=b"", headers=(), length=None):
        """length -1: do not tell any."""
        self.send_response(status)
        for name, value in (*self.common, *headers):
            self.send_header(name, value)
        if length != -1:
            self.send_header("Content-Length",
                             str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def reply_chunked(self, pieces, headers=()):
        self.reply(200, b"", [("Transfer-Encoding", "chunked"), *headers], -1)
        for data in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def error(self, status, code, message="no", headers=()):
        """As a registry of version 2 says it."""
        self.reply(status, dump(
            {"errors": [{"code": code, "message": message}]}),
            [("Content-Type", "application/json"), *headers])

    def first_byte(self):
        """Of a request with Range, else 0."""
        wanted = self.headers.get("Range")
        return int(wanted[6:].split("-")[0]) if wanted else 0

    def describe(self):
        return "%s %s" % (self.command, self.path)

    def do_GET(self):
        if self.path == "/_requests":
            with lock:
                body = dump(requests)
            return self.reply(200, body)
        with lock:
            requests.append(self.describe())
        return self.answer()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_GET

    def do_DELETE(self):
        if self.path != "/_requests":
            return self.do_GET()
        with lock:
            requests.clear()
        return self.reply(204)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)

    def handle_error(self, request, client_address):
        pass


def use_tls(server, path):
    """path: a file with key and certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False)


def serve(servers, ports=None):
    """Print the ports and serve until standard input ends."""
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(*(ports or [server.server_port for server in servers]), flush=True)
    sys.stdin.read()
