#!/usr/bin/env python3
"""Make evil images, each a case by name.

usage: make-evil.py DIR CANARY
       make-evil.py --layers DIR

DIR/NAME/… is a case as evil_case.py writes it; CANARY is a directory whose
absolute path some of them try to reach.  With --layers, DIR/NAME.tar are the
layers of cases that are refused for a lone layer, and DIR/NAME.expect is the
pattern of what is said then.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(__file__), '../lib'))

import evil_images
import evil_layers


def all_cases(canary):
    yield from evil_layers.cases(canary)
    yield from evil_images.cases(canary)


def write_layers(top):
    os.makedirs(top, exist_ok=True)
    for case in evil_layers.cases(b'/etc'):
        layers = case.image.layers
        if case.doc['expect'] == 'refused' and len(layers) == 1:
            with open('%s/%s.tar' % (top, case.name), 'wb') as out:
                out.write(layers[0].tar)
            with open('%s/%s.expect' % (top, case.name), 'w') as out:
                out.write(case.doc['pattern'] + '\n')


def main():
    if sys.argv[1] == '--layers':
        return write_layers(sys.argv[2])
    names = set()
    for case in all_cases(os.fsencode(sys.argv[2])):
        assert case.name not in names, case.name
        names.add(case.name)
        case.write(sys.argv[1])
    print('%d cases' % len(names))


main()
