"""What an operator asks of a running server: the cache, the requests, the weights, the memory."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...errors import RequestError
from ...messages import (
    AdminRequest,
    ContinueGeneration,
    ControlReply,
    MemoryTag,
    PauseGeneration,
    PauseMode,
    ReleaseMemory,
    ResumeMemory,
    UpdateWeights,
)
from ..bodies import read, read_optional
from ..context import context_of
from ..routing import Routes
from ..streaming import json_response

router = Routes()
MAX_FLUSH_SECONDS = 600.0
FLUSH_POLL_SECONDS = 0.05
WEIGHTS_SECONDS = 3600.0  # for loading weights, and for running requests to finish before
ALL_MEMORY: list[MemoryTag] = ["weights", "kv_cache"]


@router.api_route("/flush_cache", ["GET", "POST"])
async def flush_cache(request: Request) -> Response:
    """Forget all cached KV; with ``?timeout=`` wait so many seconds for requests to finish."""
    given = request.query_params.get("timeout", "0")
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_FLUSH_SECONDS:
        raise RequestError(
            f"timeout must be in [0, {MAX_FLUSH_SECONDS:g}] seconds, got {given!r}",
            param="timeout",
        )
    manager = context_of(request).manager
    end = time.monotonic() + seconds
    reply = await manager.control("flush_cache")
    while not reply.ok and time.monotonic() < end:
        await asyncio.sleep(FLUSH_POLL_SECONDS)
        reply = await manager.control("flush_cache")
    text = "cache flushed\n" if reply.ok else f"{reply.message}\n"
    return Response(text, 200 if reply.ok else 400, media_type="text/plain")


class AbortBody(msgspec.Struct):
    rid: str | None = None
    abort_all: bool | None = None


@router.post("/abort_request", body=AbortBody)
async def abort_request(request: Request) -> Response:
    """End the requests whose rid starts so, or all."""
    body = await read(request, AbortBody)
    if not body.rid and not body.abort_all:
        raise RequestError("give the rid (a prefix is enough), or abort_all", param="rid")
    context_of(request).manager.abort("" if body.abort_all else body.rid or "")
    return Response(status_code=200)


class PauseBody(msgspec.Struct):
    mode: PauseMode = "abort"


@router.post("/pause_generation", body=PauseBody)
async def pause_generation(request: Request) -> Response:
    """Compute nothing more until /continue_generation; new requests wait."""
    body = await read_optional(request, PauseBody)
    await _done(request, PauseGeneration(mode=body.mode))
    return json_response({"status": "ok", "message": "generation is paused"})


@router.post("/continue_generation")
async def continue_generation(request: Request) -> Response:
    await _done(request, ContinueGeneration())
    return json_response({"status": "ok", "message": "generation goes on"})


class UpdateWeightsBody(msgspec.Struct, kw_only=True):
    model_path: str
    load_format: str | None = None
    abort_all_requests: bool | None = None
    weight_version: str | None = None
    flush_cache: bool | None = None
    keep_pause: bool | None = None

    def request(self) -> UpdateWeights:
        if self.load_format not in (None, "auto", "safetensors"):
            raise RequestError(
                f"load_format must be safetensors, got {self.load_format!r}", param="load_format"
            )
        return UpdateWeights(
            model_path=self.model_path,
            abort_all_requests=bool(self.abort_all_requests),
            flush_cache=self.flush_cache is not False,
        )


@router.post("/update_weights_from_disk", body=UpdateWeightsBody)
async def update_weights_from_disk(request: Request) -> Response:
    """Replace the weights by those of a folder; a 400 has changed nothing."""
    body = await read(request, UpdateWeightsBody)
    context = context_of(request)
    reply = await context.manager.ask(body.request(), WEIGHTS_SECONDS)
    if reply.ok:
        context.manager.weights_path = body.model_path
        context.weight_version = body.weight_version or context.weight_version
    answer: dict[str, Any] = {
        "success": reply.ok,
        "message": reply.message or "the weights are updated",
        "num_paused_requests": reply.data.get("num_paused_requests", 0),
    }
    return json_response(answer, 200 if reply.ok else 400)


class MemoryBody(msgspec.Struct):
    tags: list[MemoryTag] | None = None


@router.api_route("/release_memory_occupation", methods=["GET", "POST"], body=MemoryBody)
async def release_memory(request: Request) -> Response:
    """Give memory back to the system; requests wait until it is resumed."""
    body = await read_optional(request, MemoryBody)
    await _done(request, ReleaseMemory(tags=body.tags or ALL_MEMORY))
    return Response(status_code=200)


@router.api_route("/resume_memory_occupation", methods=["GET", "POST"], body=MemoryBody)
async def resume_memory(request: Request) -> Response:
    body = await read_optional(request, MemoryBody)
    await _done(request, ResumeMemory(tags=body.tags or ALL_MEMORY), WEIGHTS_SECONDS)
    return Response(status_code=200)


async def _done(request: Request, wanted: AdminRequest, timeout: float = 60.0) -> ControlReply:
    """Have it done; RequestError says why it cannot be."""
    reply = await context_of(request).manager.ask(wanted, timeout)
    if not reply.ok:
        raise RequestError(reply.message)
    return reply
