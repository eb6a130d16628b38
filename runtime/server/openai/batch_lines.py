"""The lines of a batch's file: read, checked, and answered one by one as their endpoint would."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ...errors import CapacityError, EngineDeadError, RequestError
from ..bodies import decode
from ..context import ServerContext
from ..errors import openai_envelope, status_of
from .chat import ChatCompletion
from .chat_body import ChatBody
from .completion_body import CompletionBody
from .completions import Completion
from .embeddings import EmbeddingBody, embed
from .response_body import ResponseBody
from .responses import ResponseRun
from .sampling_body import SamplingBody, decode_sampling

logger = logging.getLogger(__name__)

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
MAX_LINES = 50_000
MAX_ERRORS = 100  # told of a file that is wrong
PRIORITY = -100  # behind every request of a client that waits


class BatchLine(msgspec.Struct):
    """One request of a batch."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 0, text) of the lines that are not empty."""
    with path.open("rb") as file:
        yield from ((number, line) for number, line in enumerate(file) if line.strip())


def check_lines(path: Path, endpoint: str) -> tuple[int, list[dict[str, Any]]]:
    """How many lines a file has, and what is wrong with it, in OpenAI's words."""
    errors: list[dict[str, Any]] = []
    seen: set[str] = set()
    count = 0
    for number, text in read_lines(path):
        count += 1
        try:
            line = decode(text, BatchLine)
            _check(line, endpoint, seen)
        except RequestError as error:
            errors.append(_line_error(error, number))
            if len(errors) == MAX_ERRORS:
                break
        if count > MAX_LINES:
            errors.append(_line_error(RequestError(f"more than {MAX_LINES} lines"), number))
            break
    if not count:
        errors.append(_line_error(RequestError("the file has no lines", code="empty_file"), None))
    return count, errors


def _check(line: BatchLine, endpoint: str, seen: set[str]) -> None:
    if line.method != "POST":
        raise RequestError("method must be POST", param="method", code="invalid_method")
    if line.url != endpoint:
        raise RequestError(
            f"url must be the batch's endpoint, {endpoint}", param="url", code="mismatched_url"
        )
    if line.custom_id in seen:
        raise RequestError(
            f"custom_id {line.custom_id!r} is used twice",
            param="custom_id",
            code="duplicate_custom_id",
        )
    seen.add(line.custom_id)


def _line_error(error: RequestError, number: int | None) -> dict[str, Any]:
    line = None if number is None else number + 1
    code = error.code or "invalid_json_line"
    return {"code": code, "message": error.message, "param": error.param, "line": line}


async def answer_line(context: ServerContext, text: bytes) -> tuple[bool, dict[str, Any]]:
    """Whether it failed, and the line of the output.

    Raises:
        CapacityError, EngineDeadError: not its fault; it may be asked again later.
    """
    line = decode(text, BatchLine)
    status = 200
    try:
        body = await _answer(context, line.url, bytes(line.body))
    except (CapacityError, EngineDeadError):
        raise
    except Exception as error:
        status, body = status_of(error), openai_envelope(error)
        if status == 500:
            logger.exception("a line of a batch failed")
    response = {"status_code": status, "request_id": f"req_{uuid.uuid4().hex}", "body": body}
    return status != 200, {
        "id": f"batch_req_{uuid.uuid4().hex}",
        "custom_id": line.custom_id,
        "response": response,
        "error": None,
    }


async def _answer(context: ServerContext, url: str, data: bytes) -> dict[str, Any]:
    if url == "/v1/embeddings":
        request = decode(data, EmbeddingBody)
        request.priority = PRIORITY
        return await embed(context, request)
    if url == "/v1/chat/completions":
        chat = decode_sampling(data, ChatBody)
        _put_behind(chat)
        return await ChatCompletion(context, chat).whole()
    if url == "/v1/completions":
        completion = decode_sampling(data, CompletionBody)
        _put_behind(completion)
        return await Completion(context, completion).whole()
    response = decode_sampling(data, ResponseBody)
    _put_behind(response)
    response.background = response.store = False  # the output file keeps it
    return await ResponseRun(context, response).whole()


def _put_behind(body: SamplingBody) -> None:
    """Nobody waits for it: every other request goes first."""
    if body.stream:
        raise RequestError("a line of a batch is not streamed", param="stream")
    body.priority, body.rid = PRIORITY, None
