"""What a process and its children use, as Linux' /proc tells it: memory, and CPU time."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

PROC = Path("/proc")
KIB = 1024


def process_tree(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for parent in found:
        for children in (PROC / str(parent) / "task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def cpu_share(pids: Sequence[int], seconds: float) -> float:
    """CPU time that the processes use in the next ``seconds``, as a part of one core's."""
    before, begin = sum(map(_cpu_seconds, pids)), time.perf_counter()
    time.sleep(seconds)
    return (sum(map(_cpu_seconds, pids)) - before) / (time.perf_counter() - begin)


def memory(pids: Sequence[int]) -> dict[str, int]:
    """Bytes: ``pss`` now, a page that n processes share counting as 1/n; ``peak_rss`` ever.

    Peaks count a shared page in every process, and need not have been at the same time.
    """
    return {
        "pss": sum(_bytes(pid, "smaps_rollup", "Pss:") for pid in pids),
        "peak_rss": sum(_bytes(pid, "status", "VmHWM:") for pid in pids),
    }


def _cpu_seconds(pid: int) -> float:
    """User and kernel time so far; what stands before them may hold spaces, up to the ``)``."""
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def _bytes(pid: int, name: str, key: str) -> int:
    for line in (PROC / str(pid) / name).read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * KIB
    return 0
