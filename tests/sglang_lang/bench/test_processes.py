"""Numbers of a child process that does something known."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from sglang_lang.bench.processes import cpu_share, memory, process_tree

HELD = 200_000_000  # bytes
CHILD = f"""
import subprocess, sys, threading
held = b"x" * {HELD}
inner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(flush=True)
if sys.argv[1] == "busy":
    threading.Thread(target=lambda: all(True for _ in iter(int, 1)), daemon=True).start()
input()
"""


@pytest.fixture(params=["busy", "idle"])
def child(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-c", CHILD, request.param]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield request.param, process.pid
        process.kill()


def test_a_process_and_its_child(child: tuple[str, int]) -> None:
    kind, pid = child
    pids = process_tree(pid)
    assert len(pids) == 2
    used = memory(pids)
    assert 1.0 < used["pss"] / HELD < 1.5
    assert used["peak_rss"] >= used["pss"]
    share = cpu_share(pids, 0.2)
    assert share > 0.02 if kind == "busy" else share < 0.3
