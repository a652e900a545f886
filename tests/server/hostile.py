#!/usr/bin/env python3
"""Callers that a server must survive.

usage: hostile.py SOCKET PID CASE

Exits 0 if the daemon behaved as the case asks.
"""
import os
import socket
import sys
import threading
import time

path, pid, case = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def connect():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    while True:
        try:
            s.connect(path)
            return s
        except BlockingIOError:  # the queue is full
            time.sleep(0.01)


def read_all(s):
    data = b""
    try:
        while True:
            part = s.recv(65536)
            if not part:
                break
            data += part
    except ConnectionResetError:
        pass
    return data


def ask(data):
    s = connect()
    try:
        s.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass
    return read_all(s)


def status(answer):
    first = answer.split(b"\r\n", 1)[0].split(b" ")
    return int(first[1]) if len(first) > 1 else 0


def ping():
    begin = time.monotonic()
    answer = ask(b"GET /_ping HTTP/1.1\r\nHost: x\r\n"
                 b"Connection: close\r\n\r\n")
    assert status(answer) == 200, answer
    return time.monotonic() - begin


def anonymous_kb():
    with open("/proc/%d/smaps_rollup" % pid) as f:
        for line in f:
            if line.startswith("Pss_Anon:"):
                return int(line.split()[1])
    raise AssertionError("no Pss_Anon")


def check_memory(before, limit_kb):
    """Not more than that came to what the daemon had before."""
    with open("/proc/%d/maps" % pid) as f:
        if "san.so" in f.read():
            return  # a sanitizer's memory says nothing
    after = anonymous_kb()
    print("anonymous %d kB, then %d kB" % (before, after))
    assert after - before < limit_kb


def idle():
    """A thousand idle connections hold nobody up."""
    before = anonymous_kb()
    many = [connect() for _ in range(1000)]
    assert ping() < 5
    check_memory(before, 20000)
    for s in many:
        s.close()
    ping()


def slow_head():
    """Heads that come byte by byte hold nobody up."""
    many = [connect() for _ in range(200)]
    for byte in b"GET /images/j":
        for s in many:
            s.sendall(bytes([byte]))
        assert ping() < 5
    for s in many:
        s.close()


def long_head():
    """100 MB of headers are refused before they are kept."""
    before = anonymous_kb()
    s = connect()
    sent = 0
    try:
        s.sendall(b"GET /_ping HTTP/1.1\r\n")
        while sent < 100 << 20:
            line = b"X-%d: " % sent + b"a" * 8000 + b"\r\n"
            s.sendall(line)
            sent += len(line)
        raise AssertionError("all of it was taken")
    except (BrokenPipeError, ConnectionResetError):
        pass
    print("refused after %d bytes" % sent)
    assert sent < 4 << 20
    check_memory(before, 4000)
    ping()


def long_target():
    """A request line of 1 MB is refused."""
    answer = ask(b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\n\r\n")
    assert status(answer) in (0, 400, 413, 414, 431), answer[:100]
    ping()


def half_closed():
    """Who closes his side after asking is no longer waited for."""
    s = connect()
    s.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(0.5)
    s.shutdown(socket.SHUT_WR)
    s.settimeout(20)
    read_all(s)
    ping()


def bad_chunks():
    """Chunks that are none end the request and nothing else."""
    for body in (b"zz\r\nabc\r\n", b"-5\r\nabcde\r\n",
                 b"ffffffffffffffffffff\r\nabc\r\n", b"5\r\nabcdefgh\r\n"):
        s = connect()
        s.sendall(b"POST /images/load HTTP/1.1\r\nHost: x\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n" + body)
        s.shutdown(socket.SHUT_WR)
        answer = read_all(s)
        assert b"Loaded" not in answer, answer
        ping()


def big_json():
    """A JSON body that is too large is refused, and not kept."""
    before = anonymous_kb()
    body = b'{"a":"' + b"x" * (20 << 20) + b'"}'
    answer = ask(b"POST /auth HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                 b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert status(answer) in (0, 413), answer[:200]
    check_memory(before, 4000)
    ping()


def deep_json():
    """Nor one that is too deep."""
    body = b"[" * 60000
    answer = ask(b"POST /auth HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                 b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert status(answer) == 400, answer[:200]


def names():
    """Names that try to be paths are names that nobody has."""
    for name in ("../../etc/passwd", "%2e%2e%2fetc%2fpasswd", "a%00b",
                 "%ff%fe", "a" * 5000, "..", "%2Fetc%2Fpasswd", "a%0d%0ab",
                 "sha256:../../../x", "x%27;drop table images;--"):
        for method, suffix in (("GET", "/json"), ("GET", "/history"),
                               ("GET", "/get"), ("DELETE", ""),
                               ("POST", "/tag?repo=x"),
                               ("POST", "/push")):
            target = "/images/" + name.replace(" ", "%20") + suffix
            answer = ask(("%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                          "Content-Length: 0\r\n\r\n" %
                          (method, target)).encode())
            assert 400 <= status(answer) < 500 or \
                b"errorDetail" in answer, (target[:80], answer[:300])
            assert b"root:" not in answer
    ping()


def slow_reader():
    """Who does not read what he asked for grows no memory and holds nobody
    up."""
    before = anonymous_kb()
    many = []
    for _ in range(20):
        s = connect()
        s.sendall(b"GET /images/get?names=big HTTP/1.1\r\nHost: x\r\n\r\n")
        many.append(s)
    time.sleep(3)
    assert ping() < 5
    check_memory(before, 20 * 300)
    for s in many:
        s.close()
    ping()


def slow_writer():
    """Who begins to load and stops holds nobody up."""
    many = []
    for _ in range(10):
        s = connect()
        s.sendall(b"POST /images/load HTTP/1.1\r\nHost: x\r\n"
                  b"Content-Length: 1000000\r\n\r\n" + b"a" * 100)
        many.append(s)
    time.sleep(1)
    assert ping() < 5
    for s in many:
        s.close()
    ping()


def pipelined():
    """Requests in one piece are answered in their order."""
    one = b"GET /%s HTTP/1.1\r\nHost: x\r\n%s\r\n"
    answer = ask(one % (b"_ping", b"") + one % (b"version", b"") +
                 one % (b"nothing", b"Connection: close\r\n"))
    parts = answer.split(b"HTTP/1.1 ")
    assert [p[:3] for p in parts[1:]] == [b"200", b"200", b"404"], answer


def delete_and_pull():
    """An image that comes and goes at once is there whole or not at all."""
    stop = time.monotonic() + 6
    wrong = []

    def loop(request, allowed):
        while time.monotonic() < stop:
            answer = ask(request)
            if status(answer) not in allowed:
                wrong.append(answer)

    def request(line):
        return (line + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                "Content-Length: 0\r\n\r\n").encode()

    threads = [
        threading.Thread(target=loop, args=(request(
            "POST /images/create?fromImage=ubuntu&tag=14.04"), (200,))),
        threading.Thread(target=loop, args=(request(
            "POST /images/create?fromImage=ubuntu&tag=14.04"), (200,))),
        threading.Thread(target=loop, args=(request(
            "DELETE /images/ubuntu:14.04?force=1"), (200, 404, 409))),
        threading.Thread(target=loop, args=(request(
            "GET /images/ubuntu:14.04/json"), (200, 404))),
        threading.Thread(target=loop, args=(request(
            "GET /images/json"), (200,))),
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong, wrong[0][:500]


globals()[case]()
