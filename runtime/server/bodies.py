"""Request bodies to typed structs, with errors that name the field."""

from __future__ import annotations

import json
import re
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from ..errors import RequestError

S = TypeVar("S", bound=msgspec.Struct)
_PATH = re.compile(r" - at `\$\.?([^`]*)`")


async def read(request: Request, kind: type[S]) -> S:
    """Decode the body.

    Raises:
        RequestError: names the field that is wrong; 413 for a body that is too large.
    """
    return decode(await body_of(request), kind)


async def read_optional(request: Request, kind: type[S]) -> S:
    """``read``, but no body at all is an empty one."""
    return decode(await body_of(request) or b"{}", kind)


async def body_of(request: Request) -> bytes:
    """All of the body, without the iterators of ``Request.body``.

    Raises:
        ClientDisconnect: the client has left before it was here.
    """
    body, more = b"", True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def decode(data: bytes, kind: type[S]) -> S:
    """JSON text to a struct; RequestError names the field that is wrong."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        message = str(error)
        path = _PATH.search(message)
        field = path[1] if path else _quoted_field(message)
        raise RequestError(message.replace("`$.", "`"), param=field or None) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"the body is not valid JSON: {error}") from error


def namespace(extra_key: str | None, cache_salt: str | None) -> str | None:
    """One name for both; no two different pairs give the same."""
    if not extra_key and not cache_salt:
        return None
    return json.dumps([extra_key or "", cache_salt or ""])


def _quoted_field(message: str) -> str | None:
    quoted = re.search(r"field `([^`]*)`", message)
    return quoted[1] if quoted else None
