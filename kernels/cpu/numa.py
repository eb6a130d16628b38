"""Where a model runs on a machine of several NUMA nodes: on which cores, and in whose memory.

Topology comes from Linux' sysfs, placement goes through its system calls; no libnuma. A decoding
step reads all weights once, in an order that is shared out as threads get free, so no page has a
thread that it should be near. Over several nodes pages therefore lie in turn on each of them, and
the step has the bandwidth of all; on one node, its threads find everything in its own memory.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path

SYSFS = Path("/sys/devices/system")

# include/uapi/linux/mempolicy.h, and the call's number on each architecture.
MPOL_INTERLEAVE = 3
SET_MEMPOLICY = {"x86_64": 238, "aarch64": 237}
MASK_BITS = 1024  # nodes that fit into the mask


@dataclass(frozen=True, slots=True)
class Core:
    """A core: the node whose memory is near, and the CPUs (hardware threads) it shows as."""

    node: int
    cpus: frozenset[int]


@dataclass(frozen=True, slots=True)
class Placement:
    """The CPUs that threads may run on, how many threads to have, and the nodes of the memory."""

    cpus: frozenset[int]
    threads: int
    nodes: tuple[int, ...]


def read_cores(root: Path = SYSFS) -> list[Core]:
    """The machine's cores; one on node 0 for each CPU where sysfs does not tell.

    Args:
        root: the folder that has ``node`` and ``cpu``.
    """
    cores: dict[frozenset[int], Core] = {}
    for folder in sorted((root / "node").glob("node[0-9]*")):
        node = int(folder.name.removeprefix("node"))
        for cpu in parse_cpu_list(_read(folder / "cpulist")):
            siblings = _read(root / "cpu" / f"cpu{cpu}" / "topology" / "thread_siblings_list")
            cpus = parse_cpu_list(siblings) or frozenset([cpu])
            cores[cpus] = Core(node, cpus)
    return list(cores.values()) or [Core(0, frozenset([cpu])) for cpu in range(os.cpu_count() or 1)]


def parse_cpu_list(text: str) -> frozenset[int]:
    """Linux' lists of CPUs: ``0-3,8`` is 0, 1, 2, 3 and 8."""
    cpus: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return frozenset(cpus)


def place(cores: Iterable[Core], allowed: Set[int], node: int | None = None) -> Placement:
    """One thread on each core that the process may use, of one node or of all.

    Two threads on one core would share its vector units, which one keeps busy.

    Args:
        cores: of the machine.
        allowed: CPUs that the process may run on.
        node: use this node alone.

    Raises:
        ValueError: there is no such node, or the process may use none of its cores.
    """
    usable = [core for core in cores if core.cpus & allowed]
    chosen = [core for core in usable if node in (None, core.node)]
    if not chosen:
        nodes = sorted({core.node for core in usable})
        raise ValueError(f"this process can use no core of node {node}; it has those of {nodes}")
    cpus = frozenset().union(*(core.cpus & allowed for core in chosen))
    return Placement(cpus, len(chosen), tuple(sorted({core.node for core in chosen})))


def apply(placement: Placement) -> None:
    """Bind this thread, and those it starts from now on, to the CPUs and the nodes' memory.

    Raises:
        OSError: the system does not allow it, as in some containers.
    """
    os.sched_setaffinity(0, placement.cpus)
    if len(placement.nodes) > 1:  # on one node, memory comes from it as it is first touched
        interleave(placement.nodes)


def interleave(nodes: Iterable[int]) -> None:
    """Let the pages that this thread, and those it starts, touch first lie on the nodes in turn.

    Raises:
        OSError: see ``apply``.
    """
    number = SET_MEMPOLICY.get(platform.machine())
    if number is None:
        raise OSError(f"no number of set_mempolicy is known for {platform.machine()}")
    mask = sum(1 << node for node in nodes).to_bytes(MASK_BITS // 8, "little")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, MPOL_INTERLEAVE, mask, ctypes.c_ulong(MASK_BITS + 1)) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"set_mempolicy: {os.strerror(error)}")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
