"""POST /open_session and /close_session: conversations that the server keeps; see text/sessions."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...errors import RequestError
from ..bodies import read
from ..context import context_of
from ..routing import Routes
from ..streaming import json_response

router = Routes()


class OpenBody(msgspec.Struct):
    capacity_of_str_len: int
    session_id: str | None = None
    timeout: float | None = None
    streaming: bool | None = None


class CloseBody(msgspec.Struct):
    session_id: str


@router.api_route("/open_session", methods=["GET", "POST"], body=OpenBody)
async def open_session(request: Request) -> Response:
    """Answers with the session's id, as a JSON string."""
    body = await read(request, OpenBody)
    if body.streaming:
        raise RequestError("streaming sessions are not supported", param="streaming")
    sessions = context_of(request).sessions
    return json_response(sessions.open(body.capacity_of_str_len, body.session_id, body.timeout))


@router.api_route("/close_session", methods=["GET", "POST"], body=CloseBody)
async def close_session(request: Request) -> Response:
    body = await read(request, CloseBody)
    context_of(request).sessions.close(body.session_id)
    return Response(status_code=200)
