"""A server of our own in a child process, as a backend."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Self

import httpx

from ..background import wait_for
from ..errors import BackendError
from .base import Prompt
from .runtime_endpoint import RuntimeEndpoint

POLL_SECONDS = 0.02
STOP_SECONDS = 30.0
LOG_TAIL = 2000  # characters of the server's log in an error


class Runtime:
    """Starts a server, and is a backend by its endpoint.

    ``shutdown``, or the end of a ``with`` block, stops it.

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
            self.endpoint = RuntimeEndpoint(
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
        self.endpoint.shutdown()
        self._stop()

    @property
    def pid(self) -> int:
        """The process that serves HTTP; the scheduler's is its child."""
        return self._process.pid

    def as_backend(self) -> RuntimeEndpoint:
        return self.endpoint

    @property
    def base_url(self) -> str:
        return self.url

    # ------------------------------------------------------------------ without a program

    def generate(
        self,
        prompt: str | list[str],
        sampling_params: Mapping[str, Any] | None = None,
        return_logprob: bool = False,
        logprob_start_len: int | None = None,
        top_logprobs_num: int | None = None,
        lora_path: Any = None,
    ) -> str:
        """The answer of /generate to one prompt or several, as JSON text."""
        request = {
            "text": prompt,
            "sampling_params": sampling_params,
            "return_logprob": return_logprob,
            "logprob_start_len": logprob_start_len,
            "top_logprobs_num": top_logprobs_num,
            "lora_path": lora_path,
        }
        return json.dumps(wait_for(self.endpoint.post("/generate", request)))

    async def async_generate(
        self, prompt: str, sampling_params: Mapping[str, Any] | None = None
    ) -> AsyncIterator[str]:
        """The continuation of a prompt, in pieces as they come."""
        told = 0
        request = {"text": prompt, "sampling_params": sampling_params}
        async with await self.endpoint.open_session() as session:
            async for answer in self.endpoint.stream(session, request):
                yield answer["text"][told:]
                told = len(answer["text"])

    add_request = async_generate

    def encode(self, prompt: str | list[str]) -> str:
        """The answer of /encode, a unit vector for each prompt, as JSON text."""
        return json.dumps(wait_for(self.endpoint.post("/encode", {"text": prompt})))

    def cache_prefix(self, prefix: str) -> None:
        """Compute a text ahead of the requests that will begin with it."""
        wait_for(self.endpoint.warm(Prompt(prefix)))

    def flush_cache(self) -> None:
        """Forget cached KV."""
        self.endpoint.flush_cache()

    def get_tokenizer(self) -> RemoteTokenizer:
        """The server's tokenizer."""
        return RemoteTokenizer(self.endpoint)

    async def get_server_info(self) -> dict[str, Any]:
        """The server's arguments and state."""
        return await asyncio.to_thread(self.endpoint.get_server_info)

    def _wait_ready(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with httpx.Client() as client:  # one for all: making one costs as much as many polls
            while not self._is_ready(client):
                if self._process.poll() is not None:
                    raise BackendError(f"the server ended before it was ready: {self._said()}")
                if time.monotonic() > deadline:
                    said = self._said()
                    raise BackendError(f"the server is not ready after {seconds:.0f} s: {said}")
                time.sleep(POLL_SECONDS)

    def _is_ready(self, client: httpx.Client) -> bool:
        try:
            return client.get(f"{self.url}/health").status_code == 200
        except httpx.TransportError:
            return False

    def _said(self) -> str:
        self._log.seek(0)
        return self._log.read()[-LOG_TAIL:].strip()


class RemoteTokenizer:
    """The tokenizer of a runtime elsewhere.

    Args:
        endpoint: of the runtime.
    """

    def __init__(self, endpoint: RuntimeEndpoint) -> None:
        self._endpoint = endpoint

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        body = {"prompt": text, "add_special_tokens": add_special_tokens}
        ids: list[int] = wait_for(self._endpoint.post("/tokenize", body))["tokens"]
        return ids

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        body = {"tokens": list(token_ids), "skip_special_tokens": skip_special_tokens}
        return str(wait_for(self._endpoint.post("/detokenize", body))["text"])


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
