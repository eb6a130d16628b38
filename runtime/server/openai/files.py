"""/v1/files: what batches read and write."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from ...errors import RequestError
from ..routing import Routes
from ..streaming import json_response
from .batch_runner import BatchRunner
from .job_database import JobDatabase
from .listing import page

router = Routes()
PURPOSES = ("batch",)


def database_of(request: Request) -> JobDatabase:
    runner: BatchRunner = request.app.state.batches
    return runner.database


@router.post("/v1/files")
async def upload_file(request: Request) -> Response:
    async with request.form(max_files=1, max_fields=16) as form:
        file, purpose = form.get("file"), form.get("purpose")
        if not isinstance(file, UploadFile):
            raise RequestError("file must be a file of a multipart form", param="file")
        if purpose not in PURPOSES:
            raise RequestError(f"purpose must be batch, got {purpose!r}", param="purpose")
        stored = await asyncio.to_thread(
            database_of(request).add_file, file.file, file.filename or "file", str(purpose)
        )
    return json_response(stored)


@router.get("/v1/files")
async def list_files(request: Request) -> Response:
    files = database_of(request).files()
    purpose = request.query_params.get("purpose")
    chosen = [file for file in files if purpose in (None, file.purpose)]
    return json_response(page(chosen, request.query_params, default_limit=10_000))


@router.get("/v1/files/{file_id}")
async def get_file(request: Request, file_id: str) -> Response:
    return json_response(database_of(request).file(file_id))


@router.get("/v1/files/{file_id}/content")
async def file_content(request: Request, file_id: str) -> Response:
    path = database_of(request).content_path(file_id)
    return FileResponse(path, media_type="application/octet-stream")


@router.delete("/v1/files/{file_id}")
async def delete_file(request: Request, file_id: str) -> Response:
    database = database_of(request)
    await asyncio.to_thread(database.delete_file, file_id)
    deleted: dict[str, Any] = {"id": file_id, "object": "file", "deleted": True}
    return json_response(deleted)
