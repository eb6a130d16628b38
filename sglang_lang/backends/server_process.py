"""A server of our own in a child process, as a backend."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
import weakref
from types import TracebackType
from typing import IO, Any, Self

import httpx

from ..errors import BackendError
from .runtime_endpoint import RuntimeEndpoint

POLL_SECONDS = 0.1
STOP_SECONDS = 30.0
LOG_TAIL = 2000  # characters of the server's log in an error


class Runtime(RuntimeEndpoint):
    """Starts a server and is an endpoint of it; ``shutdown`` (or a ``with`` block) stops it.

    Args:
        log_level: of the server.
        launch_timeout: seconds it may take to get ready.
        chat_template_name: a template of the registry instead of the model's own.
        server_args: flags of the server by name, such as ``model_path``. Without ``port`` it
            takes a free one.

    Raises:
        BackendError: the server did not start; the message ends with what it said.
    """

    def __init__(
        self,
        log_level: str = "error",
        launch_timeout: float = 300.0,
        chat_template_name: str | None = None,
        **server_args: Any,
    ) -> None:
        port = server_args.setdefault("port", _free_port())
        host = server_args.setdefault("host", "127.0.0.1")
        self.url = f"http://{host}:{port}"
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "sglang_lang.launch_server"),
                *_flags({"log_level": log_level, **server_args}),
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        # Also when this object or the interpreter ends without a shutdown.
        self._stop = weakref.finalize(self, _end, self._process, self._log)
        try:
            self._wait_ready(launch_timeout)
            super().__init__(
                self.url, server_args.get("api_key"), chat_template_name=chat_template_name
            )
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    def shutdown(self) -> None:
        """Stop the server; requests that are running are lost."""
        super().shutdown()
        self._stop()

    def _wait_ready(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._is_ready():
            if self._process.poll() is not None:
                raise BackendError(f"the server ended before it was ready: {self._said()}")
            if time.monotonic() > deadline:
                raise BackendError(f"the server is not ready after {seconds:.0f} s: {self._said()}")
            time.sleep(POLL_SECONDS)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health").status_code == 200
        except httpx.TransportError:
            return False

    def _said(self) -> str:
        self._log.seek(0)
        return self._log.read()[-LOG_TAIL:].strip()


def _end(process: subprocess.Popen[bytes], log: IO[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    log.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _flags(server_args: dict[str, Any]) -> list[str]:
    flags = []
    for name, value in server_args.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            flags.append(flag)
        elif value is not False and value is not None:
            flags += [flag, str(value)]
    return flags
