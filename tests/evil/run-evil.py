#!/usr/bin/env python3
"""Give evil images to imgd in every way that it takes images, and print TAP.

usage: run-evil.py [OPTION]… CASES WORK CANARY
       --program FILE --root DIR --config FILE   imgd, its store
       --registry PORT --lying PORT              a sound and a lying registry
       --archives DIR                            evil archives, NAME.tar with
                                                 NAME.expect; all are refused
       --windows                                 only what may take memory for
                                                 its windows; else the others
       --only PATTERN                            cases with such names

One driver loads a case and another pulls it; which is which takes turns.  A
case that is to be refused: each attempt ends with 1 and one clear line, and
the store is what it was, byte by byte and row by row.  One that is harmless:
all drivers give the same tree, with what the case says of it; it is saved as
the same tars, exported, pushed, read back, and removed without a trace.  After
each, the canaries are as they were: all of /etc, CANARY, the names in / and
what lies beside the store, with content, owners, modes, times and attributes.
"""
import argparse
import glob
import hashlib
import importlib.util
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
import tarfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, HERE + '/../registry')

import frame

DRIVERS = ('vfs', 'overlay')
SAMPLED = 'aufs'  # every 8th case, since its tree is a process of its own
LONGEST = 120  # seconds a command may take, also on a slow machine
# What is learnt of registries: of blobs, which is remembered beyond an image's
# removal, and of how fast they are.
KNOWLEDGE = ('sources', 'layer_blobs')
RATES = 'rates'
PLACES = ('/', '/tmp', '/var', '/dev', '/etc', '/run', '.')


def load_script(name):
    spec = importlib.util.spec_from_file_location(
        name, '%s/../lib/%s.py' % (HERE, name))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tree_list = load_script('tree-list')
push_oci = load_script('push-oci')


# ---- what must stay as it is ----

def describe(path, in_full):
    """One object: what a write to it would change; in full with the time of
    its last change of any kind, which nobody can set back."""
    st = os.lstat(path)
    out = [path, oct(st.st_mode), st.st_uid, st.st_gid, st.st_rdev]
    # The store's directories change with what comes and goes.
    if in_full or not stat.S_ISDIR(st.st_mode):
        out += [st.st_mtime_ns, st.st_nlink, st.st_size]
    if stat.S_ISLNK(st.st_mode):
        out.append(os.readlink(path))
    if in_full:
        out.append(st.st_ctime_ns)
        out += [(n, os.getxattr(path, n, follow_symlinks=False))
                for n in os.listxattr(path, follow_symlinks=False)]
    return repr(out)


def describe_tree(top, in_full, leave_out=lambda name: False):
    found = []
    for base, dirs, names in os.walk(top):
        dirs[:] = [n for n in dirs if not leave_out(n)]
        found.append(describe(base, in_full))
        found += [describe(os.path.join(base, n), in_full)
                  for n in names + dirs
                  if not leave_out(n) and (
                      n in names or os.path.islink(os.path.join(base, n)))]
    return sorted(found)


class World:
    """The canaries and the store."""

    def __init__(self, args):
        self.args = args

    def canaries(self):
        found = describe_tree(self.args.canary, True)
        found += describe_tree('/etc', True)
        found += ['%s %o' % (n, os.lstat('/' + n).st_mode)
                  for n in sorted(os.listdir('/'))]
        found += sorted(n for n in os.listdir(os.path.dirname(
            self.args.canary)))
        for place in PLACES:
            found += glob.glob(place + '/*imgd-evil*')
        return found

    def store(self, with_knowledge):
        def is_moving(name):
            return name.startswith('imgd.db') or name.endswith('lock') or \
                name == 'sock'
        found = describe_tree(self.args.root, False, is_moving)
        db = sqlite3.connect('file:%s/imgd.db?mode=ro' % self.args.root,
                             uri=True, timeout=60)
        for (table,) in db.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' "
                "AND name NOT LIKE 'sqlite%' ORDER BY name").fetchall():
            if table == RATES or (
                    table in KNOWLEDGE and not with_knowledge):
                continue
            found += ['%s %r' % (table, row) for row in db.execute(
                'SELECT * FROM "%s"' % table).fetchall()]
        db.close()
        with open('/proc/self/mountinfo') as mounts:
            found += [line for line in mounts if self.args.root in line]
        return found


def difference(before, after):
    return ['gone or changed: ' + line for line in before
            if line not in after] + \
        ['new or changed: ' + line for line in after if line not in before]


# ---- a registry of the cases that no other takes ----

class Registry(frame.Handler):
    top = None

    def document(self, layout, name):
        if name.startswith('sha256:'):
            media_type = 'application/vnd.oci.image.manifest.v1+json'
            digest = name
            with open(layout + '/blobs/' + name.replace(':', '/'),
                      'rb') as blob:
                if b'"manifests"' in blob.read():
                    media_type = 'application/vnd.oci.image.index.v1+json'
        else:
            with open(layout + '/index.json') as index:
                entry = json.load(index)['manifests'][0]
            digest, media_type = entry['digest'], entry['mediaType']
        return digest, media_type

    def answer(self):
        parts = self.path.strip('/').split('/')
        if parts == ['v2']:
            return self.reply(200, b'{}')
        layout = '%s/%s/oci' % (self.top, parts[-3])
        try:
            headers, digest = [], parts[-1]
            if parts[-2] == 'manifests':
                digest, media_type = self.document(layout, digest)
                headers = [('Content-Type', media_type),
                           ('Docker-Content-Digest', digest)]
            with open(layout + '/blobs/' + digest.replace(':', '/'),
                      'rb') as blob:
                return self.reply(200, blob.read(), headers)
        except OSError:
            return self.error(404, 'BLOB_UNKNOWN', 'blob unknown')


def serve(top):
    Registry.top = top
    server = frame.ThreadingHTTPServer(('127.0.0.1', 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


# ---- one case ----

class Wrong(Exception):
    pass


class Runner:
    def __init__(self, args):
        self.args = args
        self.port = serve(args.cases)
        self.longest = (0, '')
        self.n = 0

    def run(self, *words):
        begin = time.monotonic()
        try:
            done = subprocess.run(
                [self.args.program, '--root', self.args.root, '--config',
                 self.args.config, *words], stdin=subprocess.DEVNULL,
                capture_output=True, timeout=LONGEST, check=False)
        except subprocess.TimeoutExpired as e:
            raise Wrong('no end after %d s: imgd %s' % (
                LONGEST, ' '.join(words))) from e
        self.longest = max(self.longest, (time.monotonic() - begin,
                                          ' '.join(words)))
        return done

    def do(self, *words):
        done = self.run(*words)
        if done.returncode != 0:
            raise Wrong('imgd %s: exit %d: %s' % (
                ' '.join(words), done.returncode, done.stderr))
        return done

    def refuse(self, pattern, *words):
        done = self.run(*words)
        line = done.stderr
        if done.returncode != 1 or line.count(b'\n') != 1 or \
                not re.match(b'imgd: .*(%s)' % pattern.encode(), line) or \
                re.search(rb'[\0-\x09\x0b-\x1f\x7f]', line):
            raise Wrong('imgd %s: exit %d, wanted 1 and a line like "%s": %s'
                        % (' '.join(words), done.returncode, pattern, line))
        if self.args.verbose:
            print('# ' + line.decode().strip()[:200])

    def begin(self):
        """Drivers make their homes when they are first used."""
        name = '127.0.0.1:%d/t/ok:1' % self.args.lying
        for driver in DRIVERS + (SAMPLED,) * self.args.aufs:
            self.do('pull', '-q', '--driver=' + driver, name)
        self.do('rmi', name)

    # ---- ways in ----

    def offer(self, case):
        """Put it into a registry; its name there."""
        if 'fault' in case:
            return '127.0.0.1:%d/t/%s:1' % (self.args.lying, case['fault'])
        name = 'evil/%s' % case['name']
        try:
            push_oci.push('%s/%s/oci' % (self.args.cases, case['name']), '1',
                          'http://127.0.0.1:%d/%s:1' % (
                              self.args.registry, name))
            return '127.0.0.1:%d/%s:1' % (self.args.registry, name)
        except Exception:  # it has reasons of every kind to refuse it
            return '127.0.0.1:%d/%s:1' % (self.port, name)

    def load(self, case):
        top = '%s/%s' % (self.args.cases, case['name'])
        path = top + '/image.tar'
        return 'evil/%s:1' % case['name'], (
            'load', '-q', '-i', path if os.path.exists(path) else top + '/oci')

    def pull(self, case):
        name = self.offer(case)
        return name, ('pull', '-q', name)

    # ---- what is expected ----

    def drivers(self):
        """Which one is first takes turns."""
        return list(DRIVERS)[::1 if self.n % 2 else -1]

    def case_refused(self, case):
        ways = [self.pull(case)[1]]
        if 'fault' not in case:
            ways.append(self.load(case)[1])
        for driver, words in zip(self.drivers(), ways):
            self.refuse(case['pattern'], words[0], '--driver=' + driver,
                        *words[1:])

    def at_once(self, words):
        clients = [subprocess.Popen(
            [self.args.program, '--root', self.args.root, '--config',
             self.args.config, words[0], '--driver=' + driver, *words[1:]],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE) for driver in DRIVERS * 2]
        for client in clients:
            said = client.communicate(timeout=LONGEST)[1]
            if client.returncode != 0:
                raise Wrong('at once: exit %d: %s' % (client.returncode, said))

    def case_harmless(self, case):
        loaded, pulled = self.load(case), self.pull(case)
        drivers = self.drivers()
        if self.args.aufs and self.n % 8 == 0:
            drivers.append(SAMPLED)
        trees = []
        for driver in drivers:
            name, words = pulled if trees else loaded
            if case.get('twice'):
                self.at_once(words)
            self.do(words[0], '--driver=' + driver, *words[1:])
            trees.append(self.look(case, driver, name))
            if trees[-1] != trees[0]:
                raise Wrong('%s and %s differ: %s' % (
                    *drivers[:len(trees)], difference(trees[0], trees[-1])))
        self.read_back(case, loaded[0])
        self.do('rmi', loaded[0], pulled[0])

    def look(self, case, driver, name):
        target = self.args.work + '/mnt'
        self.do('mount', '--driver=' + driver, name, target)
        try:
            if case.get('is_deep'):
                return []
            for check in case['checks']:
                self.check(target, *check)
            if case.get('is_hole'):
                return []
            tree = tree_list.lines(target)
        finally:
            self.do('umount', target)
        if case.get('tools'):
            self.use_tools(driver, name)
        return tree

    def check(self, target, what, path, wanted=None):
        path = os.path.join(target, path.lstrip('/'))
        if what == 'absent':
            found, wanted = os.path.lexists(path), False
        elif what == 'exists':
            found, wanted = os.path.lexists(path), True
        elif what == 'content':
            with open(self.inside(target, path), 'rb') as data:
                found = data.read().decode()
        elif what == 'link':
            found = os.readlink(path)
        elif what == 'mode':
            found = '%o' % stat.S_IMODE(os.lstat(path).st_mode)
        elif what == 'owner':
            found = '%d:%d' % (os.lstat(path).st_uid, os.lstat(path).st_gid)
        elif what == 'device':
            st = os.lstat(path)
            found = '%d:%d' % (os.major(st.st_rdev), os.minor(st.st_rdev))
        elif what == 'size':
            found = '%d' % os.lstat(path).st_size
        elif what == 'count':
            found = '%d' % len(os.listdir(path))
        if found != wanted:
            raise Wrong('%s of %s: %r' % (what, path, found))

    @staticmethod
    def inside(target, path):
        """No link on the way may be what makes a check go well."""
        at = target
        for part in os.path.relpath(path, target).split('/'):
            at += '/' + part
            if os.path.islink(at):
                raise Wrong('%s is a link' % at)
        return at

    def try_to(self, *words):
        """It may refuse, with one line."""
        done = self.run(*words)
        if done.returncode == 1 and done.stderr.count(b'\n') == 1:
            return False
        if done.returncode != 0:
            raise Wrong('imgd %s: exit %d: %s' % (
                ' '.join(words), done.returncode, done.stderr))
        return True

    def use_tools(self, driver, name):
        out = self.args.work + '/export'
        for form in ('ext4', 'squashfs', 'erofs'):
            if self.try_to('export', '--driver=' + driver, '--format', form,
                           '-o', out, name):
                os.unlink(out)
        bundle = self.args.work + '/bundle'
        if self.try_to('bundle', '--driver=' + driver, name, bundle):
            self.do('bundle', '--rm', bundle)

    def read_back(self, case, name):
        out = self.args.work + '/saved.tar'
        self.do('save', '-o', out, name)
        self.same_layers(name, out)
        os.unlink(out)
        if not case.get('is_hole'):
            self.do('export', '-o', out, name)
            os.unlink(out)
        if self.n % 4 == 0:
            self.do('history', name)
            back = '127.0.0.1:%d/back/%s:1' % (self.args.registry,
                                               case['name'])
            self.do('tag', name, back)
            self.do('push', '-q', back)
            self.do('rmi', back)

    def same_layers(self, name, path):
        """The config names the tars by their digests; so do the blobs."""
        with tarfile.open(path) as tar:
            sums = {'sha256:' + hashlib.sha256(
                tar.extractfile(m).read()).hexdigest()
                for m in tar if m.isreg() and '/sha256/' in m.name}
        config = json.loads(self.do('inspect', name).stdout)[0]
        for diff_id in config['RootFS']['Layers']:
            if diff_id not in sums:
                raise Wrong('save has no tar with %s' % diff_id)


# ---- all cases ----

def read_cases(args):
    for path in sorted(glob.glob(args.cases + '/*/case.json')):
        with open(path) as doc:
            case = json.load(doc)
        if bool(case.get('window_mb')) == args.windows:
            yield case
    for path in sorted(glob.glob(args.archives + '/*.tar')
                       if args.archives and not args.windows else []):
        with open(path[:-4] + '.expect') as expect:
            yield {'name': 'archive-' + os.path.basename(path)[:-4],
                   'record': 'make-archive.py', 'expect': 'refused',
                   'pattern': expect.read().strip(), 'archive': path}


def run_case(runner, case):
    if 'archive' in case:
        return runner.refuse(case['pattern'], 'load', '--driver=' +
                             runner.drivers()[0], '-i', case['archive'])
    if case['expect'] == 'refused':
        return runner.case_refused(case)
    return runner.case_harmless(case)


def main():
    parser = argparse.ArgumentParser()
    for name in ('program', 'root', 'config', 'archives', 'only'):
        parser.add_argument('--' + name)
    for name in ('registry', 'lying'):
        parser.add_argument('--' + name, type=int)
    for name in ('windows', 'aufs', 'verbose'):
        parser.add_argument('--' + name, action='store_true')
    for name in ('cases', 'work', 'canary'):
        parser.add_argument(name)
    args = parser.parse_args()
    sys.setrecursionlimit(10000)
    world, runner = World(args), Runner(args)
    runner.begin()
    canaries = world.canaries()
    counts = {'refused': 0, 'harmless': 0}
    n_bad = 0
    for case in read_cases(args):
        if args.only and not re.search(args.only, case['name']):
            continue
        runner.n += 1
        begin = time.monotonic()
        wrong, is_refused = [], case['expect'] == 'refused'
        store = world.store(is_refused)
        try:
            run_case(runner, case)
        except (Wrong, OSError, subprocess.TimeoutExpired) as e:
            wrong.append('%s' % e)
        wrong += difference(canaries, world.canaries())
        wrong += difference(store, world.store(is_refused))
        counts[case['expect']] += 1
        n_bad += bool(wrong)
        print('%sok %d - %s: %s (%s)' % (
            'not ' if wrong else '', runner.n, case['expect'], case['name'],
            case['record']))
        if args.verbose:
            print('# it took %.1f s' % (time.monotonic() - begin))
        for line in wrong[:20]:
            print('# ' + repr(line)[:600])
        sys.stdout.flush()
    print('# %d cases: %d refused, %d harmless; the longest command took '
          '%.1f s: %s' % (runner.n, counts['refused'], counts['harmless'],
                          *runner.longest))
    print('1..%d' % runner.n)
    sys.exit(n_bad > 0)


main()
