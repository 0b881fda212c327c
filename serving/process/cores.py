"""Cores that this process may use, which may be fewer than the machine has."""

import math
import os
from pathlib import Path

# Quota of the container (cgroup v2): microseconds of processor time or `max`, and the period in microseconds.
# https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def usable(cpu_max: Path = CPU_MAX) -> int:
    """Return the number of cores that this process is bound to, or that its container's quota is worth, rounded up."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cpu_max.read_text().split()
        return min(bound, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        return bound
