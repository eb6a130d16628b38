"""/v1/batches: files of requests that are answered in the background."""

from __future__ import annotations

import time
import uuid

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...errors import RequestError
from ..bodies import read
from ..routing import Routes
from ..streaming import json_response
from .batch_lines import ENDPOINTS
from .batch_runner import BatchRunner
from .job_database import Batch
from .listing import page

router = Routes()
WINDOW_SECONDS = 24 * 3600


class BatchBody(msgspec.Struct):
    input_file_id: str
    endpoint: str
    completion_window: str = "24h"
    metadata: dict[str, str] | None = None

    def check(self) -> None:
        if self.endpoint not in ENDPOINTS:
            raise RequestError(
                f"endpoint must be one of {', '.join(ENDPOINTS)}, got {self.endpoint!r}",
                param="endpoint",
            )
        if self.completion_window != "24h":
            raise RequestError("completion_window must be 24h", param="completion_window")


def runner_of(request: Request) -> BatchRunner:
    runner: BatchRunner = request.app.state.batches
    return runner


@router.post("/v1/batches", body=BatchBody)
async def create_batch(request: Request) -> Response:
    body = await read(request, BatchBody)
    body.check()
    runner = runner_of(request)
    file = runner.database.file(body.input_file_id, "input_file_id")
    now = int(time.time())
    batch = Batch(
        id=f"batch_{uuid.uuid4().hex}",
        endpoint=body.endpoint,
        input_file_id=file.id,
        completion_window=body.completion_window,
        created_at=now,
        expires_at=now + WINDOW_SECONDS,
        metadata=body.metadata,
    )
    runner.database.put_batch(batch)
    runner.start(batch)
    return json_response(batch)


@router.get("/v1/batches")
async def list_batches(request: Request) -> Response:
    batches = runner_of(request).database.batches()
    return json_response(page(batches, request.query_params, default_limit=20))


@router.get("/v1/batches/{batch_id}")
async def get_batch(request: Request, batch_id: str) -> Response:
    return json_response(runner_of(request).database.batch(batch_id))


@router.post("/v1/batches/{batch_id}/cancel")
async def cancel_batch(request: Request, batch_id: str) -> Response:
    return json_response(await runner_of(request).cancel(batch_id))
