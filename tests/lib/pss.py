"""The memory of a process, as the kernel shares it out among its users."""


def sample(pid):
    """kB: anonymous and shared memory, all, and resident; 0 once it is gone."""
    sums = {"Pss": 0, "Pss_Anon": 0, "Pss_Shmem": 0, "Rss": 0}
    try:
        with open("/proc/%s/smaps_rollup" % pid) as f:
            for line in f:
                key = line.split(":")[0]
                if key in sums:
                    sums[key] = int(line.split()[1])
    except OSError:
        pass
    return sums["Pss_Anon"] + sums["Pss_Shmem"], sums["Pss"], sums["Rss"]
