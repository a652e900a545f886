#!/usr/bin/env python3
"""A proxy on loopback: every name in it is this machine.

Usage: proxy.py

Forwards GET and HEAD of http: URLs, and tunnels CONNECT, to the same port of
127.0.0.1.  With a Proxy-Authorization of user "no" it answers 407.  Prints its
port.  GET /_requests tells what was asked, as JSON; DELETE /_requests forgets
it.  Ends when its standard input ends.
"""
import base64
import http.client
import socket
import threading
from urllib.parse import urlsplit

import frame


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Handler(frame.Handler):
    def describe(self):
        return {"method": self.command, "url": self.path,
                "auth": self.headers.get("Proxy-Authorization")}

    def is_refused(self):
        auth = self.headers.get("Proxy-Authorization", "Basic Og").split()[-1]
        if not base64.b64decode(auth + "==").startswith(b"no:"):
            return False
        self.close_connection = True
        self.reply(407, b"", [("Proxy-Authenticate", 'Basic realm="p"')])
        return True

    def answer(self):
        if self.is_refused():
            return
        url = urlsplit(self.path)
        to = http.client.HTTPConnection("127.0.0.1", url.port or 80)
        headers = {name: value for name, value in self.headers.items()
                   if not name.lower().startswith("proxy-")}
        to.request(self.command, url.path + (
            "?" + url.query if url.query else ""), headers=headers)
        got = to.getresponse()
        body = got.read()
        self.reply(got.status, body, [
            (name, value) for name, value in got.getheaders()
            if name.lower() not in ("content-length", "transfer-encoding",
                                    "date", "server")])
        to.close()

    def do_CONNECT(self):
        with frame.lock:
            frame.requests.append(self.describe())
        if self.is_refused():
            return
        to = socket.create_connection(
            ("127.0.0.1", int(self.path.rsplit(":", 1)[1])))
        self.send_response(200)
        self.end_headers()
        back = threading.Thread(target=pump, args=(to, self.connection),
                                daemon=True)
        back.start()
        pump(self.connection, to)
        back.join()
        to.close()
        self.close_connection = True


frame.serve([frame.Server(Handler)])
