"""The application on a real socket, over the echoing scheduler, in a thread of this process."""

from __future__ import annotations

import asyncio
import socket
import threading
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import uvicorn

from sglang_lang.runtime.server.app import create_app
from sglang_lang.runtime.server.context import ServerContext
from sglang_lang.runtime.server.http_protocol import BoundedHttpProtocol
from sglang_lang.runtime.server_args import ServerArgs
from tests.runtime.text.echo import Side

from .conftest import CONFIG


class EchoServer:
    """Runs while it is a context; ``args`` are fields of ServerArgs."""

    def __init__(self, **args: Any) -> None:
        self._folder = TemporaryDirectory()
        self._args = ServerArgs(**{"files_dir": self._folder.name, **args})
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.address: tuple[str, int] = self._listener.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        async with Side() as side:
            self.side = side
            context = ServerContext(self._args, side.manager, CONFIG, "echo")
            self.context = context
            config = uvicorn.Config(
                create_app(context), http=BoundedHttpProtocol, log_config=None, access_log=False
            )
            self._server = uvicorn.Server(config)
            self._started.set()
            await self._server.serve(sockets=[self._listener])

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._listener.close()
        self._folder.cleanup()
        assert not self._thread.is_alive()
