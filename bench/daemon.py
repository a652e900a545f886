"""The clients of bench/daemon.sh.

    fill SOCKET N          import N small images
    first SOCKET PROGRAM…  start it, wait for the first answer, end it
    idle SOCKET PID        memory of the daemon
    list SOCKET SECONDS    ask for the list of images, by two processes; then
                           the same of a server that only sends as many bytes
"""
import http.client
import io
import multiprocessing
import socket
import subprocess
import sys
import tarfile
import threading
import time


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("imgd")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def wait_for(path):
    while True:
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
            s.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            if s.recv(100):
                return
        except OSError:
            time.sleep(0.001)
        finally:
            s.close()


def fill(path, n):
    wait_for(path)
    c = Connection(path)
    for i in range(n):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            info = tarfile.TarInfo("file")
            info.size = 20
            tar.addfile(info, io.BytesIO(b"%20d" % i))
        c.request("POST", "/images/create?fromSrc=-&repo=bench%d:1" % i,
                  body=data.getvalue())
        answer = c.getresponse().read()
        assert b"sha256:" in answer, answer


def first(path, program):
    began = time.monotonic()
    p = subprocess.Popen(program, stdin=subprocess.DEVNULL)
    wait_for(path)
    print("first answer after %.1f ms" % ((time.monotonic() - began) * 1e3))
    p.terminate()
    p.wait()


def idle(path, pid):
    wait_for(path)
    time.sleep(1)
    kb = {}
    with open("/proc/%d/smaps_rollup" % pid) as f:
        for line in f:
            key, _, value = line.partition(":")
            if value.endswith("kB\n"):
                kb[key] = int(value.split()[0])
    print("anonymous %d kB, resident %d kB, proportional %d kB" %
          (kb["Anonymous"], kb["Rss"], kb["Pss"]))


def lister(path, until, results):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    # A buffer of one's own: a client must not be what is measured.
    buffer = bytearray(1 << 18)
    view = memoryview(buffer)
    n = size = 0
    while time.monotonic() < until:
        s.sendall(b"GET /images/json HTTP/1.1\r\nHost: x\r\n\r\n")
        got = s.recv_into(buffer)
        while buffer.find(b"\r\n\r\n", 0, got) < 0:
            got += s.recv_into(view[got:])
        end = buffer.find(b"\r\n\r\n", 0, got)
        head = bytes(buffer[:end]).lower()
        length = int(head.split(b"content-length:")[1].split()[0])
        left = length - (got - end - 4)
        while left > 0:
            left -= s.recv_into(view[:left] if left < len(buffer) else view)
        n += 1
        size = length
    results.put((n, size))


def serve_bytes(path, size):
    """What the machine can do: no work, a thread for each connection."""
    answer = (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size +
              bytes(size))
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(10)

    def serve(s):
        try:
            while s.recv(1000):
                s.sendall(answer)
        except OSError:
            pass

    while True:
        s = listening.accept()[0]
        threading.Thread(target=serve, args=(s,), daemon=True).start()


def list_images(path, seconds):
    rate, size = measure(path, seconds)
    print("%.0f lists a second, %d bytes each" % (rate, size))
    floor = multiprocessing.Process(target=serve_bytes,
                                    args=(path + ".floor", size))
    floor.start()
    rate, _ = measure(path + ".floor", seconds)
    print("%.0f a second of a server that only sends" % rate)
    floor.kill()
    floor.join()


def measure(path, seconds):
    wait_for(path)
    results = multiprocessing.Queue()
    until = time.monotonic() + seconds
    many = [multiprocessing.Process(target=lister,
                                    args=(path, until, results))
            for _ in range(2)]
    for p in many:
        p.start()
    done = [results.get() for _ in many]
    for p in many:
        p.join()
    return sum(n for n, _ in done) / seconds, max(size for _, size in done)


verb, path = sys.argv[1:3]
if verb == "fill":
    fill(path, int(sys.argv[3]))
elif verb == "first":
    first(path, sys.argv[3:])
elif verb == "idle":
    idle(path, int(sys.argv[3]))
else:
    list_images(path, float(sys.argv[3]))
