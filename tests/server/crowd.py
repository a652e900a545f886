#!/usr/bin/env python3
"""A hundred clients that pull one image at once.

usage: crowd.py SOCKET NAME TAG N

Each must see progress of its own and the true end.  Prints how many lines
each saw.
"""
import http.client
import json
import socket
import sys
import threading

path, name, tag, n = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)


results = [None] * n


def pull(i):
    c = Connection("x", timeout=300)
    c.request("POST", "/images/create?fromImage=%s&tag=%s" % (name, tag))
    r = c.getresponse()
    lines = [json.loads(x) for x in r.read().split(b"\r\n") if x.strip()]
    results[i] = r.status, lines


threads = [threading.Thread(target=pull, args=(i,)) for i in range(n)]
for t in threads:
    t.start()
for t in threads:
    t.join()
for status, lines in results:
    assert status == 200, (status, lines)
    assert "Status: " in lines[-1]["status"], lines[-1]
    assert any(x.get("status") == "Pull complete" for x in lines), lines
print("%d clients, %d to %d lines each" %
      (n, min(len(x[1]) for x in results), max(len(x[1]) for x in results)))
