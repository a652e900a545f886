#!/usr/bin/env python3
"""Push a tag of an OCI layout to a plain registry, each blob once.

usage: push-oci.py LAYOUT TAG http://HOST:PORT/REPOSITORY:TAG
"""
import json
import sys
import urllib.parse
import urllib.request

LAYOUT, TAG, TARGET = sys.argv[1:]
BASE = "/".join(TARGET.split("/")[:3])
REPO, NAME = TARGET[len(BASE) + 1:].rsplit(":", 1)


def call(method, url, data=b"", media_type="application/octet-stream"):
    request = urllib.request.Request(url, data, {"Content-Type": media_type},
                                     method=method)
    with urllib.request.urlopen(request) as reply:
        return reply.headers


def blob(digest):
    with open(LAYOUT + "/blobs/" + digest.replace(":", "/"), "rb") as f:
        return f.read()


def main():
    with open(LAYOUT + "/index.json") as f:
        entries = json.load(f)["manifests"]
    entry = [e for e in entries if e["annotations"][
        "org.opencontainers.image.ref.name"] == TAG][0]
    text = blob(entry["digest"])
    manifest = json.loads(text)
    wanted = {d["digest"] for d in manifest["layers"]}
    for digest in wanted | {manifest["config"]["digest"]}:
        headers = call("POST", "%s/v2/%s/blobs/uploads/" % (BASE, REPO))
        url = urllib.parse.urljoin(BASE, headers["Location"])
        call("PUT", url + ("&" if "?" in url else "?") + "digest=" + digest,
             blob(digest))
    call("PUT", "%s/v2/%s/manifests/%s" % (BASE, REPO, NAME), text,
         manifest["mediaType"])


main()
