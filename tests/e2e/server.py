"""Starts the real server in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from .ports import free_port

START_SECONDS = 120.0
ROOT = Path(__file__).parents[2]


class ServerProcess:
    """A running server; ``url`` is where."""

    def __init__(self, *flags: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        handle, name = tempfile.mkstemp(prefix="server-", suffix=".log")
        self.log = Path(name)
        command = [sys.executable, "-m", "sglang_lang.launch_server", "--port", str(port), *flags]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=handle, stderr=subprocess.STDOUT)
        os.close(handle)
        try:
            self.wait_healthy(START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def is_healthy(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
        return False

    def wait_healthy(self, seconds: float) -> float:
        """Returns the seconds it took."""
        start = time.monotonic()
        while not self.is_healthy():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() - start < seconds, self.log.read_text()
            time.sleep(0.1)
        return time.monotonic() - start

    def scheduler_pid(self) -> int:
        """The child process that holds the model."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [int(pid) for pid in children.read_text().split()]
        found = [p for p in pids if b"scheduler.process" in Path(f"/proc/{p}/cmdline").read_bytes()]
        assert len(found) == 1, found
        return found[0]

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self.log.unlink(missing_ok=True)
        return status


@contextlib.contextmanager
def running_server(*flags: str) -> Iterator[ServerProcess]:
    server = ServerProcess(*flags)
    try:
        yield server
    finally:
        server.stop()


def exit_of(*flags: str) -> tuple[int, str]:
    """Exit status and stderr of a server that should not start."""
    done = subprocess.run(
        [sys.executable, "-m", "sglang_lang.launch_server", *flags],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stderr
