"""Placement on machines that are described by a sysfs tree of the test's own."""

from __future__ import annotations

import os
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglang_lang.kernels.cpu import numa


@pytest.fixture
def two_sockets(tmp_path: Path) -> Path:
    """Two nodes of two cores, each core with two hardware threads; a third node has memory alone.

    CPUs are numbered as Linux does: first one of every core, then the other ones.
    """
    for node, cpus in ((0, "0-1,4-5"), (1, "2-3,6-7"), (2, "")):
        folder = tmp_path / "node" / f"node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(f"{cpus}\n")
    for cpu in range(8):
        folder = tmp_path / "cpu" / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    return tmp_path


@given(st.frozensets(st.integers(0, 300)))
def test_lists_of_cpus(cpus: frozenset[int]) -> None:
    assert numa.parse_cpu_list(",".join(map(str, sorted(cpus))) + "\n") == cpus


def test_ranges_of_cpus() -> None:
    assert numa.parse_cpu_list("0-2,8,10-11") == {0, 1, 2, 8, 10, 11}


def test_the_whole_machine_has_a_thread_for_each_core_and_the_memory_of_all(
    two_sockets: Path,
) -> None:
    placed = numa.place(numa.read_cores(two_sockets), frozenset(range(8)))
    assert placed == numa.Placement(frozenset(range(8)), 4, (0, 1))


def test_one_node(two_sockets: Path) -> None:
    placed = numa.place(numa.read_cores(two_sockets), frozenset(range(8)), node=1)
    assert placed == numa.Placement(frozenset({2, 3, 6, 7}), 2, (1,))


def test_only_what_the_process_may_use(two_sockets: Path) -> None:
    placed = numa.place(numa.read_cores(two_sockets), frozenset({0, 1, 4}))
    assert placed == numa.Placement(frozenset({0, 1, 4}), 2, (0,))


@pytest.mark.parametrize("node", [1, 2, 7])
def test_a_node_without_usable_cores(two_sockets: Path, node: int) -> None:
    with pytest.raises(ValueError, match=rf"no core of node {node}; it has those of \[0\]"):
        numa.place(numa.read_cores(two_sockets), frozenset({0, 1}), node)


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    cores = numa.read_cores(tmp_path)
    assert len(cores) == os.cpu_count()
    assert {core.node for core in cores} == {0}


def test_this_machine_can_be_placed_on() -> None:
    allowed = os.sched_getaffinity(0)
    placed = numa.place(numa.read_cores(), allowed)
    assert placed.cpus <= allowed
    assert 1 <= placed.threads <= len(allowed)


def test_a_process_takes_its_place() -> None:
    """In a process of its own, which memory policy and affinity end with."""
    with get_context("spawn").Pool(1) as pool:
        affinity, policy = pool.apply(_take_place)
    assert affinity == {min(os.sched_getaffinity(0))}
    assert policy in ("interleave:0", "default")


def _take_place() -> tuple[set[int], str]:
    cpu = min(os.sched_getaffinity(0))
    numa.apply(numa.Placement(frozenset({cpu}), 1, (0,)))
    try:
        numa.interleave([0])
    except OSError:  # a container may forbid it
        return os.sched_getaffinity(0), "default"
    policies = {line.split()[1] for line in Path("/proc/self/numa_maps").open()}
    return os.sched_getaffinity(0), next(p for p in policies if p != "local")
