"""The socket that the server listens on: TCP, or a unix socket."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

from .errors import ServerArgsError
from .server_args import ServerArgs


def bind(args: ServerArgs) -> socket.socket:
    """Take the address before any work is done; nobody can connect until the server listens.

    Raises:
        ServerArgsError: it cannot be used; the message names the flag.
    """
    if args.uds is not None:
        return _bind_unix(Path(args.uds))
    host, port = args.host, args.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise ServerArgsError(f"--host {host} --port {port} cannot be used: {error}") from error
    return listener


def _bind_unix(path: Path) -> socket.socket:
    """A socket left by a server that was killed is replaced; any other file is not."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode) and not _is_served(path):
            path.unlink()
        listener.bind(str(path))
        path.chmod(0o660)
    except OSError as error:
        listener.close()
        raise ServerArgsError(f"--uds {path} cannot be used: {error}") from error
    return listener


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


def address_of(listener: socket.socket, scheme: str) -> str:
    """Where clients find it, for the log."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix socket {name}"
    host = f"[{name[0]}]" if listener.family == socket.AF_INET6 else name[0]
    return f"{scheme}://{host}:{name[1]}"
