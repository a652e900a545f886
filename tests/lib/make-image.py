#!/usr/bin/env python3
"""Make a real image from the files of installed Debian packages.

usage: make-image.py [--small] [--near] DIR TAG

Writes the OCI layout DIR with one image named TAG.  Nothing is downloaded.
Its layers hold what images hold, and what is easily got wrong:

  1  a minimal Debian system: setuid programs, hard links, merged /usr
  2  a file capability, xattrs, a hard link to a file of layer 1, a file
     below a directory that only layer 1 has
  3  a whiteout, an opaque directory, a file below a link of layer 1
  4  a fifo, a sparse-looking file, nanosecond times, a long name

--small: layer 1 is a handful of files instead (for tests that need no shell).
--near: without the hard link to a file of layer 1, which Docker's overlay2
cannot make.
"""
import gzip
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile

PACKAGES = """base-files base-passwd bash coreutils dash debianutils diffutils
findutils grep gzip hostname libacl1 libattr1 libaudit1 libc-bin libc6
libcap-ng0 libcrypt1 libgmp10 libpam0g libpcre2-8-0 libselinux1 libsemanage2
libsepol2 libtinfo6 login passwd perl-base sed tar""".split()
SMALL_PACKAGES = ["base-files", "base-passwd"]
# Links of the merged /usr, whichever the host has.
USR_LINKS = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"]
# cap_net_raw=ep, version 2: linux/capability.h, struct vfs_cap_data.
CAPABILITY = bytes([1, 0, 0, 2, 0, 0x20] + [0] * 14)
TIME = 1700000000


class Layer:
    """One layer: a tar in memory, entries in the order they are added."""

    def __init__(self):
        self.raw = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.raw, mode="w",
                                format=tarfile.PAX_FORMAT)
        self.names = set()
        self.inodes = {}

    def add(self, name, data=b"", mode=0o644, kind=tarfile.REGTYPE, uid=0,
            gid=0, link="", mtime=TIME, xattrs=None):
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.uid, info.gid = kind, mode, uid, gid
        info.linkname, info.mtime = link, mtime
        for key, value in (xattrs or {}).items():
            # tarfile wants text; these bytes survive the way back.
            info.pax_headers["SCHILY.xattr." + key] = value.decode(
                "utf-8", "surrogateescape")
        if kind == tarfile.REGTYPE:
            info.size = len(data)
        self.names.add(name)
        self.tar.addfile(info, io.BytesIO(data) if info.size else None)

    def add_dir(self, name, mode=0o755, **more):
        if name not in self.names:
            self.add(name, mode=mode, kind=tarfile.DIRTYPE, **more)

    def add_parents(self, name):
        parts = name.split("/")[:-1]
        for i in range(1, len(parts) + 1):
            self.add_dir("/".join(parts[:i]))

    def add_host_file(self, path):
        """Add the host's file, its hard links as such."""
        name = path.lstrip("/")
        if name in self.names:
            return
        st = os.lstat(path)
        self.add_parents(name)
        mode = stat.S_IMODE(st.st_mode)
        owner = {"uid": st.st_uid, "gid": st.st_gid,
                 "mtime": int(st.st_mtime)}
        if stat.S_ISDIR(st.st_mode):
            self.add_dir(name, mode, **owner)
        elif stat.S_ISLNK(st.st_mode):
            self.add(name, mode=0o777, kind=tarfile.SYMTYPE,
                     link=os.readlink(path), **owner)
        elif stat.S_ISREG(st.st_mode):
            inode = (st.st_dev, st.st_ino)
            if inode in self.inodes:
                self.add(name, mode=mode, kind=tarfile.LNKTYPE,
                         link=self.inodes[inode], **owner)
                return
            if st.st_nlink > 1:
                self.inodes[inode] = name
            with open(path, "rb") as f:
                self.add(name, f.read(), mode, **owner)

    def finish(self):
        self.tar.close()
        return self.raw.getvalue()


def package_files(packages):
    for package in packages:
        out = subprocess.run(["dpkg", "-L", package], check=False,
                             capture_output=True, text=True,
                             env=dict(os.environ, LC_ALL="C")).stdout
        for path in out.splitlines():
            # Packages still say /bin/sh where the file is /usr/bin/sh.
            head, tail = os.path.split(path)
            real = os.path.join(os.path.realpath(head or "/"), tail)
            if real.startswith("/") and real != "/." and \
               os.path.lexists(real) and real.lstrip("/") not in USR_LINKS:
                yield real


def base_layer(small):
    layer = Layer()
    layer.add_dir(".")
    for name in ["etc", "usr", "var", "run", "dev", "proc", "sys", "mnt"]:
        layer.add_dir(name)
    layer.add_dir("tmp", 0o1777)
    layer.add_dir("root", 0o700)
    layer.add_dir("usr/bin")
    for name in USR_LINKS:
        if os.path.islink("/" + name):
            layer.add_dir("usr/" + name)
            layer.add(name, mode=0o777, kind=tarfile.SYMTYPE,
                      link="usr/" + name)
    for path in package_files(SMALL_PACKAGES if small else PACKAGES):
        layer.add_host_file(path)
    for name in ["passwd", "group"]:
        master = f"/usr/share/base-passwd/{name}.master"
        if os.path.exists(master) and "etc/" + name not in layer.names:
            with open(master, "rb") as f:
                layer.add("etc/" + name, f.read())
    # Whatever the packages held, these are there.
    layer.add_dir("srv")
    layer.add("srv/original", b"the first of three names\n")
    layer.add("srv/second", kind=tarfile.LNKTYPE, link="srv/original")
    layer.add_dir("srv/setuid-dir", 0o2775, gid=50)
    layer.add("srv/setuid", b"#!/bin/sh\n", 0o4755)
    layer.add_dir("srv/old")
    layer.add("srv/old/hidden", b"must not be seen above layer 3\n")
    layer.add("srv/removed", b"removed by layer 3\n")
    layer.add("srv/link", mode=0o777, kind=tarfile.SYMTYPE, link="old")
    return layer.finish()


def second_layer(near):
    layer = Layer()
    layer.add("srv/capable", b"#!/bin/sh\n", 0o755,
              xattrs={"security.capability": CAPABILITY})
    layer.add("srv/attributes", b"x\n",
              xattrs={"user.note": b"text", "trusted.note": b"root's"})
    if not near:
        layer.add("srv/third", kind=tarfile.LNKTYPE, link="srv/original")
    layer.add("etc/motd", b"imgd's demonstration image\n")
    layer.add("etc/hostname", b"imgd\n", uid=1000, gid=1000)
    return layer.finish()


def third_layer():
    layer = Layer()
    layer.add("srv/.wh.removed")
    layer.add_dir("srv/old")
    layer.add("srv/old/.wh..wh..opq")
    layer.add("srv/old/new", b"seen\n")
    layer.add("srv/link/through-a-link", b"lies in srv/old\n")
    return layer.finish()


def fourth_layer():
    layer = Layer()
    layer.add("srv/fifo", mode=0o622, kind=tarfile.FIFOTYPE)
    layer.add("srv/zeroes", b"\0" * (256 << 10) + b"end\n")
    layer.add("srv/times", b"x\n", mtime=TIME + 0.123456789)
    layer.add("srv/" + "n" * 255, b"the longest name there is\n")
    layer.add("srv/\u00fcml\u00e4ut", b"UTF-8\n")
    return layer.finish()


def write_blob(root, data, media_type):
    digest = hashlib.sha256(data).hexdigest()
    with open(os.path.join(root, "blobs", "sha256", digest), "wb") as f:
        f.write(data)
    return {"mediaType": media_type, "digest": "sha256:" + digest,
            "size": len(data)}


def main():
    args = sys.argv[1:]
    small = "--small" in args
    near = "--near" in args
    args = [a for a in args if a not in ("--small", "--near")]
    if len(args) != 2:
        sys.exit("usage: make-image.sh [--small] [--near] DIR TAG")
    root, tag = args
    os.makedirs(os.path.join(root, "blobs", "sha256"), exist_ok=True)
    arch = subprocess.run(["dpkg", "--print-architecture"], check=True,
                          capture_output=True, text=True).stdout.strip()
    oci = "application/vnd.oci.image."
    steps = [("add a Debian system", base_layer(small)),
             ("add capabilities and links", second_layer(near)),
             ("remove and hide", third_layer()),
             ("add odd files", fourth_layer())]
    layers = [write_blob(root, gzip.compress(raw, 6, mtime=0),
                         oci + "layer.v1.tar+gzip") for _, raw in steps]
    created = "2023-11-14T22:13:20Z"
    history = [{"created": created, "created_by": text}
               for text, _ in steps]
    history.insert(1, {"created": created, "empty_layer": True,
                       "created_by": "CMD [\"/bin/bash\"]"})
    config = {
        "created": created,
        "architecture": {"armhf": "arm", "i386": "386",
                         "ppc64el": "ppc64le"}.get(arch, arch),
        "os": "linux",
        "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
                   "Cmd": ["/bin/bash"]},
        "rootfs": {"type": "layers", "diff_ids": [
            "sha256:" + hashlib.sha256(raw).hexdigest()
            for _, raw in steps]},
        "history": history,
    }
    manifest = {
        "schemaVersion": 2, "mediaType": oci + "manifest.v1+json",
        "config": write_blob(root, json.dumps(config).encode(),
                             oci + "config.v1+json"),
        "layers": layers,
    }
    entry = write_blob(root, json.dumps(manifest).encode(),
                       oci + "manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
    with open(os.path.join(root, "index.json"), "w") as f:
        json.dump({"schemaVersion": 2, "manifests": [entry]}, f)
    with open(os.path.join(root, "oci-layout"), "w") as f:
        json.dump({"imageLayoutVersion": "1.0.0"}, f)


main()
