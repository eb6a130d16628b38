"""POST /start_profile and /stop_profile: a trace of what the model does, by torch's profiler."""

from __future__ import annotations

import tempfile
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...errors import RequestError
from ...messages import StartProfile, StopProfile
from ..bodies import read_optional
from ..context import context_of
from ..routing import Routes
from ..streaming import json_response

router = Routes()
MAX_STEPS = 10_000
STOP_SECONDS = 300.0  # a long trace takes long to write


class ProfileBody(msgspec.Struct):
    """What SGLang's clients send. A trace has all activities that the machine has."""

    output_dir: str | None = None
    num_steps: int | None = None
    with_stack: bool | None = None
    record_shapes: bool | None = None
    profile_prefix: str | None = None
    start_step: Any = None
    profile_by_stage: Any = None

    def request(self) -> StartProfile:
        for name in ("start_step", "profile_by_stage"):
            if getattr(self, name):
                raise RequestError(f"{name} is not supported by this server", param=name)
        if self.num_steps is not None and not 1 <= self.num_steps <= MAX_STEPS:
            raise RequestError(
                f"num_steps must be in [1, {MAX_STEPS}], got {self.num_steps}", param="num_steps"
            )
        prefix = self.profile_prefix or ""
        if "/" in prefix or "\0" in prefix:
            raise RequestError("profile_prefix must be a plain name", param="profile_prefix")
        return StartProfile(
            output_dir=self.output_dir or tempfile.gettempdir(),
            prefix=prefix,
            num_steps=self.num_steps,
            with_stack=bool(self.with_stack),
            record_shapes=bool(self.record_shapes),
        )


@router.api_route("/start_profile", methods=["GET", "POST"], body=ProfileBody)
async def start_profile(request: Request) -> Response:
    """Record from now on; answers with the file that the trace will be in."""
    body = await read_optional(request, ProfileBody)
    reply = await context_of(request).manager.ask(body.request())
    if not reply.ok:
        raise RequestError(reply.message)
    return json_response({"trace": reply.message})


@router.api_route("/stop_profile", methods=["GET", "POST"])
async def stop_profile(request: Request) -> Response:
    """Write the trace; answers with its file."""
    reply = await context_of(request).manager.ask(StopProfile(), STOP_SECONDS)
    if not reply.ok:
        raise RequestError(reply.message)
    return json_response({"trace": reply.message})
