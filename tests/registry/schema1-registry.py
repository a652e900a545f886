#!/usr/bin/env python3
"""A registry on loopback with manifests of schema 1, that can lie.

Usage: schema1-registry.py TAR…

Serves one image of the tars, base first, under every repository name; the
last part of the name chooses the fault ("t/ok" has none).  Manifests are
signed, with openssl(1), by a key made for this run.  Prints its port number.
GET /_requests tells what was asked, as JSON; DELETE /_requests forgets it.
Ends when its standard input ends.
"""
import base64
import gzip
import hashlib
import json
import subprocess
import sys
import tempfile

import frame
from frame import lock, sha

DOCKER = "application/vnd.docker.distribution.manifest."
LIST = DOCKER + "list.v2+json"
MANIFEST = DOCKER + "v2+json"
TYPE = DOCKER + "v1+"
CUT = 70000
tars = []
work = tempfile.TemporaryDirectory()
KEY = work.name + "/key"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*args, data=None):
    return subprocess.run(("openssl",) + args, input=data, check=True,
                          stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout


def raw_signature(der):
    """r and s side by side of SEQUENCE { INTEGER r, INTEGER s }."""
    out, at = b"", 2
    for _ in range(2):
        n = der[at + 1]
        out += der[at + 2:at + 2 + n].lstrip(b"\0").rjust(32, b"\0")
        at += 2 + n
    return out


def sign(payload, fault):
    point = openssl("ec", "-in", KEY, "-pubout", "-outform", "DER")[-64:]
    protected = b64(json.dumps(
        {"formatLength": len(payload) - 2, "formatTail": b64(payload[-2:]),
         "time": "2015-01-01T00:00:00Z"}).encode())
    text = protected + "." + b64(payload)
    if fault == "other-text":
        text += "x"
    der = openssl("dgst", "-sha256", "-sign", KEY, data=text.encode())
    if fault == "format-length":
        protected = b64(b'{"formatLength":99999999,"formatTail":"fQ"}')
    jwk = {"kty": "EC", "crv": "P-256", "x": b64(point[:32]),
           "y": b64(point[32:])}
    if fault == "no-point":
        jwk["y"] = b64(b"\1" * 32)
    return {"header": {"alg": "ES256", "jwk": jwk}, "protected": protected,
            "signature": b64(raw_signature(der))}


def image_id(n):
    return hashlib.sha256(b"schema1 %d" % n).hexdigest()


def entry(n, **more):
    doc = {"id": image_id(n), "created": "2015-08-0%dT01:02:03.5Z" % (n + 1),
           "container_config": {"Cmd": ["/bin/sh", "-c", "layer %d" % n]},
           "config": {"Cmd": ["/bin/sh"], "Env": ["A=%d" % n]},
           "docker_version": "1.9.1", "architecture": "amd64",
           "odd": 1.5, "os": "linux"}
    if n > 0:
        doc["parent"] = image_id(n - 1)
    doc.update(more)
    return doc


class Image:
    def __init__(self, fault):
        blobs = [gzip.compress(tar, 1, mtime=0) for tar in tars]
        digests = [sha(data) for data in blobs]
        entries = [entry(n) for n in range(len(tars))]
        if fault == "throwaway":
            # The blob of nothing, which this registry has not.
            digests.insert(1, "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633c"
                           "b16422d00e8a7c22955b46d4")
            entries = [entry(n) for n in range(len(tars) + 1)]
            entries[1]["throwaway"] = True
        if fault == "doubled":
            digests.append("sha256:" + "5" * 64)
            entries.append(entries[-1])
        if fault == "wrong-order":
            entries[0], entries[1] = entries[1], entries[0]
        if fault == "cycle":
            digests.append(digests[0])
            entries.append(entry(0, parent=image_id(len(tars) - 1)))
        if fault == "bad-id":
            entries[0]["id"] = "../" + entries[0]["id"][3:]
        if fault == "bad-digest":
            digests[0] = "sha256:../../etc/passwd"
        if fault == "many":
            digests = digests[:1] * 5000
            entries = [entry(n) for n in range(5000)]
        compat = [json.dumps(e).replace('1.5,', '1.50,') for e in entries]
        if fault == "bad-history":
            compat[1] = compat[1][:-1]
        history = [{"v1Compatibility": text} for text in reversed(compat)]
        if fault == "short-history":
            history.pop()
        doc = {"schemaVersion": 1, "name": "t/" + fault, "tag": "1",
               "architecture": "amd64",
               "fsLayers": [{"blobSum": d} for d in reversed(digests)],
               "history": history}
        if fault == "mixed":
            doc["layers"] = []
        payload = json.dumps(doc, indent=3).encode()
        self.digest = sha(payload)
        self.payload_size = len(payload)
        self.type = TYPE + "prettyjws"
        if fault == "unsigned":
            self.type = TYPE + "json"
            self.text = payload
        else:
            signatures = [sign(payload, fault)]
            if fault == "two-texts":
                signatures.append(sign(payload[:-1] + b" }", fault))
            self.text = payload[:-2] + b',\n   "signatures": ' + \
                json.dumps(signatures).encode() + b"\n}"
        if fault == "changed":
            self.text = self.text.replace(b"amd64", b"amd65")
        if fault == "huge":
            self.text = b" " * (5 << 20) + self.text
        if fault == "text-plain":
            self.type = "text/plain; charset=utf-8"
        self.blobs = dict(zip(digests, blobs))
        if fault == "throwaway":
            self.blobs = {sha(data): data for data in blobs}


images = {}


def image(fault):
    with lock:
        if fault not in images:
            images[fault] = Image(fault)
        return images[fault]


class Handler(frame.Handler):
    common = [("Docker-Distribution-Api-Version", "registry/2.0")]

    def manifest_list(self, fault):
        """A list in which the image of "ok" is that for amd64."""
        i = image("ok")
        size = {"list": len(i.text), "list-payload": i.payload_size}.get(
            fault, 5)
        own = fault != "list-other-type"
        text = json.dumps({
            "schemaVersion": 2, "mediaType": LIST, "manifests": [
                {"mediaType": MANIFEST, "digest": "sha256:" + "6" * 64,
                 "size": 7, "platform": {"os": "linux",
                                         "architecture": "s390x"}},
                {"mediaType": i.type if own else MANIFEST,
                 "digest": i.digest, "size": size if own else len(i.text),
                 "platform": {"os": "linux", "architecture": "amd64"}}]})
        return self.reply(200, text.encode(), [("Content-Type", LIST)])

    def manifest(self, fault, name):
        if fault.startswith("list") and not name.startswith("sha256:"):
            return self.manifest_list(fault)
        i = image("ok" if fault.startswith("list") else fault)
        if name.startswith("sha256:") and name != i.digest:
            return self.error(404, "MANIFEST_UNKNOWN")
        if TYPE not in self.headers.get("Accept", "") and \
                fault != "list-other-type":
            return self.error(404, "MANIFEST_UNKNOWN")
        digest = "sha256:" + "5" * 64 if fault == "header-lie" else i.digest
        return self.reply(200, i.text, [("Content-Type", i.type),
                                        ("Docker-Content-Digest", digest)])

    def blob(self, fault, digest):
        data = image("ok" if fault.startswith("list") else
                     fault).blobs.get(digest)
        if data is None:
            return self.error(404, "BLOB_UNKNOWN")
        if fault == "other-blob":
            data = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
        if fault == "no-length":
            return self.reply_chunked([data])
        if fault == "huge-blob":
            return self.reply(200, data, length=1 << 60)
        if fault == "cut" and len(data) > CUT:
            wanted, first = self.headers.get("Range"), self.first_byte()
            self.close_connection = True
            return self.reply(
                206 if wanted else 200, data[first:first + CUT],
                [("Content-Range", "bytes %d-%d/%d" % (
                    first, len(data) - 1, len(data)))] if wanted else [],
                length=len(data) - first)
        return self.reply(200, data)

    def answer(self):
        parts = self.path.split("/")
        if self.path == "/v2/":
            return self.reply(200, b"{}")
        if len(parts) == 6 and parts[4] == "manifests":
            return self.manifest(parts[3], parts[5])
        if len(parts) == 6 and parts[4] == "blobs":
            return self.blob(parts[3], parts[5])
        return self.error(404, "NAME_UNKNOWN")


def main():
    for path in sys.argv[1:]:
        with open(path, "rb") as f:
            tars.append(f.read())
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", KEY)
    frame.serve([frame.Server(Handler)])
    work.cleanup()


main()
