"""What an operator asks of a running server: flush the cache, abort requests."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...errors import RequestError
from ..bodies import read
from ..context import context_of
from ..routing import Routes

router = Routes()


@router.api_route("/flush_cache", ["GET", "POST"])
async def flush_cache(request: Request) -> Response:
    reply = await context_of(request).manager.control("flush_cache")
    text = "cache flushed\n" if reply.ok else f"{reply.message}\n"
    return Response(text, 200 if reply.ok else 400, media_type="text/plain")


class AbortBody(msgspec.Struct):
    rid: str | None = None
    abort_all: bool | None = None


@router.post("/abort_request", body=AbortBody)
async def abort_request(request: Request) -> Response:
    body = await read(request, AbortBody)
    if not body.rid and not body.abort_all:
        raise RequestError("give the rid (a prefix is enough), or abort_all", param="rid")
    context_of(request).manager.abort("" if body.abort_all else body.rid or "")
    return Response(status_code=200)
