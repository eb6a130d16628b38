"""How the API side and the scheduler exchange lists of messages: over ZMQ, or inside one process.

The two ipc:// sockets lie in a private 0700 folder of the API side, one folder for each life of a
scheduler, so a restarted one never sees the messages of the one before. Readers bind and writers
connect, so that a writer may start before its reader. Nothing is dropped:
towards the scheduler the queue is unbounded, since a live request puts at most two messages in it
and the tokenizer manager bounds the live requests; towards the API side ``send`` waits once
``MAX_WAITING_REPLIES`` messages are unread, which slows the scheduler down to its reader.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

import msgspec
import zmq
import zmq.asyncio

from .messages import (
    FromScheduler,
    ToScheduler,
    decode_from_scheduler,
    decode_to_scheduler,
    encode,
)
from .server_args import ServerArgs

Message = TypeVar("Message")

MAX_WAITING_REPLIES = 10_000
MOST_RINGS = 65_536  # bytes that a pipe holds
CLOSE_LINGER_MS = 2_000  # a dying scheduler's last words still get through


class SchedulerPort(Protocol):
    """The scheduler's end. Used from one thread, but for ``wake``."""

    def recv(self, timeout_ms: int) -> list[ToScheduler]:
        """All messages that have arrived; waits at most ``timeout_ms`` (0: not at all) for one."""
        ...

    def wake(self) -> None:
        """Make ``recv`` wait no longer, this time or the next. From any thread."""
        ...

    def send(self, messages: list[FromScheduler]) -> None: ...

    def close(self) -> None: ...


class SchedulerClient(Protocol):
    """The API side's end. Used from one event loop."""

    def send(self, messages: list[ToScheduler]) -> None: ...

    async def recv(self) -> list[FromScheduler]:
        """All messages that have arrived, at least one."""
        ...

    def close(self) -> None: ...


# --------------------------------------------------------------------------- between processes


class SchedulerAddresses(msgspec.Struct, frozen=True):
    """The two ipc:// endpoints of one scheduler process."""

    to_scheduler: str
    from_scheduler: str


class ZmqSchedulerPort:
    """The end of a scheduler in a process of its own."""

    def __init__(self, addresses: SchedulerAddresses) -> None:
        self._context = zmq.Context()
        self._receiver = self._context.socket(zmq.PULL)
        self._receiver.setsockopt(zmq.RCVHWM, 0)
        self._receiver.bind(addresses.to_scheduler)
        self._sender = self._context.socket(zmq.PUSH)
        self._sender.setsockopt(zmq.SNDHWM, MAX_WAITING_REPLIES)
        self._sender.connect(addresses.from_scheduler)
        self._bell, self._bell_button = os.pipe()
        os.set_blocking(self._bell_button, False)
        self._poller = zmq.Poller()
        self._poller.register(self._receiver, zmq.POLLIN)
        self._poller.register(self._bell, zmq.POLLIN)

    def recv(self, timeout_ms: int) -> list[ToScheduler]:
        if timeout_ms > 0 and self._bell in dict(self._poller.poll(timeout_ms)):
            os.read(self._bell, MOST_RINGS)
        return _drain(self._receiver, decode_to_scheduler)

    def wake(self) -> None:
        with suppress(BlockingIOError):  # it rings already
            os.write(self._bell_button, b"!")

    def send(self, messages: list[FromScheduler]) -> None:
        self._sender.send(encode(messages))

    def close(self) -> None:
        self._receiver.close(linger=0)
        self._sender.close(linger=CLOSE_LINGER_MS)
        self._context.term()
        os.close(self._bell)
        os.close(self._bell_button)


class ZmqSchedulerClient:
    """The end of the API process; owns the folder of the sockets and removes it on ``close``."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sglang-lang-"))  # mode 0700
        self.addresses = SchedulerAddresses(
            to_scheduler=f"ipc://{self._folder}/to_scheduler",
            from_scheduler=f"ipc://{self._folder}/from_scheduler",
        )
        self._context = zmq.Context()
        self._sender = self._context.socket(zmq.PUSH)
        self._sender.setsockopt(zmq.SNDHWM, 0)
        self._sender.connect(self.addresses.to_scheduler)
        self._receiver = self._context.socket(zmq.PULL)
        self._receiver.setsockopt(zmq.RCVHWM, MAX_WAITING_REPLIES)
        self._receiver.bind(self.addresses.from_scheduler)
        self._awaitable_receiver = zmq.asyncio.Socket.from_socket(self._receiver)
        self._outbox: list[bytes] = []

    def send(self, messages: list[ToScheduler]) -> None:
        """They leave in the loop's next turn, together with what others send in this one."""
        if not self._outbox:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outbox.append(encode(messages))

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, []
        if outbox:  # parts of one message, which the reader takes one by one
            self._sender.send_multipart(outbox, zmq.NOBLOCK)

    async def recv(self) -> list[FromScheduler]:
        first = decode_from_scheduler(await self._awaitable_receiver.recv())
        return first + _drain(self._receiver, decode_from_scheduler)

    def close(self) -> None:
        self._flush()
        self._awaitable_receiver.close(linger=0)
        self._receiver.close(linger=0)
        self._sender.close(linger=0)
        self._context.term()
        shutil.rmtree(self._folder, ignore_errors=True)


def _drain(socket: zmq.Socket[bytes], decode: Callable[[bytes], list[Message]]) -> list[Message]:
    messages: list[Message] = []
    while True:
        try:
            messages += decode(socket.recv(zmq.NOBLOCK))
        except zmq.Again:
            return messages


# --------------------------------------------------------------------------- start of the process


class SchedulerStart(msgspec.Struct, frozen=True):
    """What a scheduler process is told at birth, as one JSON line on its stdin."""

    args: ServerArgs
    addresses: SchedulerAddresses
    weights_path: str | None = None  # safetensors that have replaced the model's own weights


def receive_start(stdin: BinaryIO) -> SchedulerStart:
    """Read the start line; from then on, this process exits when ``stdin`` ends with its parent."""
    start = msgspec.json.decode(stdin.readline(), type=SchedulerStart)
    threading.Thread(target=_exit_at_end_of, args=(stdin,), daemon=True).start()
    return start


def _exit_at_end_of(stream: BinaryIO) -> None:
    # Not through the stream, whose lock a process that ends cleanly would wait for in vain.
    while os.read(stream.fileno(), 1):
        pass
    os._exit(1)


# --------------------------------------------------------------------------- in one process


@dataclass(slots=True)
class _Channel:
    to_scheduler: deque[ToScheduler] = field(default_factory=deque)
    arrived: threading.Event = field(default_factory=threading.Event)  # in to_scheduler
    from_scheduler: deque[FromScheduler] = field(default_factory=deque)
    replied: asyncio.Event = field(default_factory=asyncio.Event)  # in from_scheduler


def in_process_pair() -> tuple[InProcessSchedulerPort, InProcessSchedulerClient]:
    """Both ends of a channel; call it in the event loop that will read the replies."""
    channel = _Channel()
    loop = asyncio.get_running_loop()
    return InProcessSchedulerPort(channel, loop), InProcessSchedulerClient(channel)


class InProcessSchedulerPort:
    """The end of a scheduler that runs in another thread of this process."""

    def __init__(self, channel: _Channel, loop: asyncio.AbstractEventLoop) -> None:
        self._channel = channel
        self._loop = loop

    def recv(self, timeout_ms: int) -> list[ToScheduler]:
        channel = self._channel
        if timeout_ms > 0 and not channel.to_scheduler:
            channel.arrived.wait(timeout_ms / 1000)
        channel.arrived.clear()  # before emptying: a message put meanwhile sets it again
        return _take_all(channel.to_scheduler)

    def wake(self) -> None:
        self._channel.arrived.set()

    def send(self, messages: list[FromScheduler]) -> None:
        self._channel.from_scheduler.extend(messages)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._channel.replied.set)

    def close(self) -> None:
        self._channel.to_scheduler.clear()


class InProcessSchedulerClient:
    def __init__(self, channel: _Channel) -> None:
        self._channel = channel

    def send(self, messages: list[ToScheduler]) -> None:
        self._channel.to_scheduler.extend(messages)
        self._channel.arrived.set()

    async def recv(self) -> list[FromScheduler]:
        channel = self._channel
        while not channel.from_scheduler:
            await channel.replied.wait()
            channel.replied.clear()
        return _take_all(channel.from_scheduler)

    def close(self) -> None:
        self._channel.from_scheduler.clear()


def _take_all(queue: deque[Message]) -> list[Message]:
    taken = []
    while queue:
        taken.append(queue.popleft())
    return taken
