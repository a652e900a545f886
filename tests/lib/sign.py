#!/usr/bin/env python3
"""Sign a manifest at a plain registry as cosign does, with openssl.

usage: sign.py [--name NAME] [--about DIGEST] [--referrers] [--append]
               [--junk N] [--text TEXT] [--payload TEXT]
               http://HOST:PORT/REPOSITORY DIGEST [KEY…]

Each KEY, a private one in PEM, makes a signature.  NAME and --about are what
the payload says instead of repository and digest; N more signatures are
nobody's.  --text is put in a signature's place, --payload in the payload's.
They are left under the tag sha256-….sig, or, with --referrers, in a manifest of
their own that the tag sha256-… lists; --append keeps what is there.
"""
import argparse
import base64
import hashlib
import json
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"

parser = argparse.ArgumentParser()
parser.add_argument("--name")
parser.add_argument("--about")
parser.add_argument("--referrers", action="store_true")
parser.add_argument("--append", action="store_true")
parser.add_argument("--junk", type=int, default=0)
parser.add_argument("--text")
parser.add_argument("--payload")
parser.add_argument("repository")
parser.add_argument("digest")
parser.add_argument("keys", nargs="*")
ARGS = parser.parse_args()
HOST = urllib.parse.urlsplit(ARGS.repository).netloc
PATH = urllib.parse.urlsplit(ARGS.repository).path.strip("/")
BASE = "http://%s/v2/%s" % (HOST, PATH)


def call(method, url, data=None, media_type="application/octet-stream"):
    request = urllib.request.Request(
        url, data, {"Content-Type": media_type, "Accept": media_type},
        method=method)
    with urllib.request.urlopen(request) as reply:
        return reply.headers, reply.read()


def add_blob(data, media_type):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    headers, _ = call("POST", BASE + "/blobs/uploads/", b"")
    url = urllib.parse.urljoin(BASE, headers["Location"])
    call("PUT", url + ("&" if "?" in url else "?") + "digest=" + digest, data)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def sign(key, payload):
    """ECDSA and RSA sign a hash, Ed25519 the payload itself."""
    with open(key) as f, tempfile.NamedTemporaryFile() as text:
        is_raw = len(f.read()) < 150
        text.write(payload)
        text.flush()
        how = (["pkeyutl", "-sign", "-rawin", "-inkey", key, "-in"] if is_raw
               else ["dgst", "-sha256", "-sign", key])
        return subprocess.run(["openssl"] + how + [text.name], check=True,
                              capture_output=True).stdout


def layer(payload, text):
    d = add_blob(payload, PAYLOAD)
    d["annotations"] = {"dev.cosignproject.cosign/signature": text}
    return d


def make_layers():
    payload = json.dumps({"critical": {
        "identity": {"docker-reference": ARGS.name or HOST + "/" + PATH},
        "image": {"docker-manifest-digest": ARGS.about or ARGS.digest},
        "type": "cosign container image signature"},
        "optional": None}).encode()
    if ARGS.payload is not None:
        payload = ARGS.payload.encode()
    layers = [layer(payload, base64.b64encode(b"junk %d" % i).decode())
              for i in range(ARGS.junk)]
    if ARGS.text is not None:
        layers.append(layer(payload, ARGS.text))
    return layers + [layer(payload, base64.b64encode(sign(key, payload))
                           .decode()) for key in ARGS.keys]


def existing(tag, media_type, members):
    try:
        return json.loads(call("GET", BASE + "/manifests/" + tag, None,
                               media_type)[1])[members]
    except urllib.error.HTTPError:
        return []


def main():
    tag = ARGS.digest.replace(":", "-")
    layers = make_layers()
    if ARGS.append and not ARGS.referrers:
        layers = existing(tag + ".sig", MANIFEST, "layers") + layers
    manifest = {
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": add_blob(b"{}", ARTIFACT if ARGS.referrers else CONFIG),
        "layers": layers}
    if not ARGS.referrers:
        call("PUT", BASE + "/manifests/" + tag + ".sig",
             json.dumps(manifest).encode(), MANIFEST)
        return
    manifest["subject"] = {"mediaType": MANIFEST, "digest": ARGS.digest,
                           "size": 0}
    text = json.dumps(manifest).encode()
    digest = "sha256:" + hashlib.sha256(text).hexdigest()
    call("PUT", BASE + "/manifests/" + digest, text, MANIFEST)
    entries = existing(tag, INDEX, "manifests") if ARGS.append else []
    entries.append({"mediaType": MANIFEST, "digest": digest,
                    "size": len(text), "artifactType": ARTIFACT})
    call("PUT", BASE + "/manifests/" + tag, json.dumps(
        {"schemaVersion": 2, "mediaType": INDEX,
         "manifests": entries}).encode(), INDEX)


main()
