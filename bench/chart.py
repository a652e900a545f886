#!/usr/bin/env python3
"""Draw the figures of pull.py: CPU seconds and the time until all is on the
disk, of each tool and shape, as SVG.

usage: chart.py JSON >SVG
"""
import json
import sys
import textwrap
from xml.sax.saxutils import escape

FIGURES = (("cpu", "CPU seconds"), ("durable", "seconds until on the disk"))
FLOOR = "serial floor"
LEFT, WIDTH, GAP = 170, 300, 60  # of names, of a column of bars, between
ROW, HEAD = 17, 34
STYLE = """
text { font: 12px sans-serif; fill: #24292f }
.title { font-weight: bold }
.small { font-size: 10.5px; fill: #57606a }
.ours { fill: #0969da } .other { fill: #afb8c1 }
.floor { stroke: #cf222e; stroke-dasharray: 3 2 }
@media (prefers-color-scheme: dark) {
 text { fill: #e6edf3 } .small { fill: #9198a1 }
 .ours { fill: #4493f8 } .other { fill: #59636e } .floor { stroke: #f85149 }
}
"""


def text(x, y, words, kind="", anchor="start"):
    return '<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>' % (
        x, y, kind, anchor, escape(words))


def bars(x, y, tools, key):
    """A column: a bar for each tool, and the floor as a line through them."""
    shown = {n: t[key] for n, t in tools.items() if n != FLOOR}
    scale = (WIDTH - 45) / max([*shown.values(), tools.get(
        FLOOR, {}).get(key, 0)])
    for i, (name, value) in enumerate(shown.items()):
        top = y + i * ROW
        yield ('<rect x="%.1f" y="%.1f" width="%.1f" height="%d" '
               'class="%s"/>' % (x, top, value * scale, ROW - 4,
                                 "ours" if name.startswith("imgd")
                                 else "other"))
        yield text(x + value * scale + 5, top + ROW - 7, "%.2f" % value)
    if FLOOR in tools:
        at = x + tools[FLOOR][key] * scale
        yield ('<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" class="floor"/>'
               % (at, at, y - 3, y + len(shown) * ROW - 1))


def caption(report):
    m = report["machine"]
    return ["%s, %d CPUs, Linux %s, %s; medians of %d rounds. The line is "
            "bench/serial.c, the floor." % (m["cpu"], m["cpus"], m["kernel"],
                                            m["date"], report["rounds"]),
            *textwrap.wrap("; ".join(report["versions"]), 125)]


def draw(report):
    """SVG."""
    out = []
    y = 24
    for column, (_, title) in enumerate(FIGURES):
        out.append(text(LEFT + column * (WIDTH + GAP), y, title, "title"))
    for shape, result in report["shapes"].items():
        tools = result["tools"]
        y += HEAD
        out.append(text(10, y, "%s: %s, %.0f MB compressed" % (
            shape, result["about"], result["bytes"] / 1e6), "title"))
        y += 8
        names = [n for n in tools if n != FLOOR]
        for i, name in enumerate(names):
            out.append(text(LEFT - 10, y + i * ROW + ROW - 7, name, "", "end"))
        for column, (key, _) in enumerate(FIGURES):
            out += bars(LEFT + column * (WIDTH + GAP), y, tools, key)
        y += len(names) * ROW
    for line in caption(report):
        y += 18
        out.append(text(10, y, line, "small"))
    size = (LEFT + 2 * WIDTH + GAP + 10, y + 14)
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" '
            'width="%d" height="%d">\n<style>%s</style>\n%s\n</svg>\n' % (
                *size, *size, STYLE, "\n".join(out)))


if __name__ == "__main__":
    with open(sys.argv[1]) as f:
        sys.stdout.write(draw(json.load(f)))
