"""What imgd is to reach, beside what it has reached.

All of imgd's figures are those with overlay; a peer's are its best driver's."""

PEERS = ("dockerd overlay2", "containerd overlayfs", "podman overlay",
         "skopeo + umoci")
CPU_GOALS = {"big": 1 / 3, "distribution": 1 / 3, "small": 1 / 2.5,
             "thin": 1 / 5}
FLOOR_GOALS = (("cpu", 1.3), ("durable", 1.0))


def rows(report):
    """(what, reached, goal, how many digits) of whatever was measured."""
    worst = {}
    for shape, result in report["shapes"].items():
        tools = result["tools"]
        ours = tools.get("imgd overlay")
        if ours is None:
            continue
        for key in ("private", "pss", "noop", "noop_alone", "idle_private",
                    "idle_rss"):
            worst[key] = max(worst.get(key, 0), ours[key])
        if shape not in CPU_GOALS:
            continue
        peers = {n: tools[n] for n in PEERS if n in tools}
        if peers:
            best = min(peers, key=lambda n: peers[n]["cpu"])
            yield ("%s: CPU, of %s's" % (shape, best),
                   ours["cpu"] / peers[best]["cpu"], CPU_GOALS[shape], 2)
        for name in PEERS[:2]:
            if name in peers:
                yield ("%s: durable wall, of %s's" % (shape, name),
                       ours["durable"] / peers[name]["durable"], 1 / 3, 2)
        floor = tools.get("serial floor")
        for key, goal in FLOOR_GOALS if floor else ():
            yield ("%s: %s, of the floor's" % (shape, key),
                   ours[key] / floor[key], goal, 2)
    for key, what, unit, goal in (
            ("private", "most anonymous and shared memory, MB", 1e3, 12),
            ("pss", "most PSS, MB", 1e3, 20),
            ("noop", "nothing to do, by the daemon, ms", 1e-3, 15),
            ("noop_alone", "nothing to do, without, ms", 1e-3, 30),
            ("idle_private", "daemon at rest, anonymous, MB", 1e3, 3),
            ("idle_rss", "daemon at rest, resident, MB", 1e3, 12)):
        if key in worst:
            yield what, worst[key] / unit, goal, 1


def show(report):
    print("\n%-54s%9s%9s" % ("imgd overlay", "reached", "goal"))
    for what, reached, goal, digits in rows(report):
        print("%-54s%9.*f%9.*f  %s" % (what, digits, reached, digits, goal,
                                       "" if reached <= goal else "missed"))
