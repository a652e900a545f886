#!/usr/bin/env python3
"""Push a tag of an OCI layout to a plain registry, each blob once.

usage: push-oci.py LAYOUT TAG http://HOST:PORT/REPOSITORY:TAG
"""
import json
import sys
import urllib.parse
import urllib.request


def call(method, url, data=b"", media_type="application/octet-stream"):
    request = urllib.request.Request(url, data, {"Content-Type": media_type},
                                     method=method)
    with urllib.request.urlopen(request) as reply:
        return reply.headers


def push(layout, tag, target):
    def blob(digest):
        with open(layout + "/blobs/" + digest.replace(":", "/"), "rb") as f:
            return f.read()

    base = "/".join(target.split("/")[:3])
    repo, name = target[len(base) + 1:].rsplit(":", 1)
    with open(layout + "/index.json") as f:
        entries = json.load(f)["manifests"]
    entry = [e for e in entries if e["annotations"][
        "org.opencontainers.image.ref.name"] == tag][0]
    text = blob(entry["digest"])
    manifest = json.loads(text)
    wanted = {d["digest"] for d in manifest["layers"]}
    for digest in wanted | {manifest["config"]["digest"]}:
        headers = call("POST", "%s/v2/%s/blobs/uploads/" % (base, repo))
        url = urllib.parse.urljoin(base, headers["Location"])
        call("PUT", url + ("&" if "?" in url else "?") + "digest=" + digest,
             blob(digest))
    call("PUT", "%s/v2/%s/manifests/%s" % (base, repo, name), text,
         entry["mediaType"])


if __name__ == "__main__":
    push(*sys.argv[1:])
