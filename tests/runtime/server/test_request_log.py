"""--log-requests: what each level writes."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from sglang_lang.runtime import logs
from sglang_lang.runtime.server.request_log import SHOWN_CHARS, RequestLog
from tests.runtime.text.echo import Side

from .conftest import Connect


async def lines_of(
    level: int, connect: Connect, side: Side, caplog: pytest.LogCaptureFixture, text: str
) -> list[dict[str, Any]]:
    side.manager.observers.append(RequestLog(side.manager.tokenizer, level))
    caplog.handler.setFormatter(logs.JsonFormatter())
    with caplog.at_level(logging.INFO, "sglang_lang.runtime.server.request_log"):
        async with connect() as client:
            body = {"text": text, "rid": "r", "sampling_params": {"max_new_tokens": 3}}
            await client.post("/generate", json=body, headers={"x-request-id": "mine"})
    return [json.loads(line) for line in caplog.text.splitlines()]


@pytest.mark.parametrize(
    ("level", "fields"),
    [(0, set()), (1, {"sampling_params"}), (2, {"sampling_params", "prompt", "output"})],
)
async def test_each_level_says_more(
    level: int, fields: set[str], connect: Connect, side: Side, caplog: pytest.LogCaptureFixture
) -> None:
    started, ended = await lines_of(level, connect, side, caplog, "hello")
    assert (started["message"], started["rid"], started["request_id"]) == (
        "request started",
        "r",
        "mine",
    )
    assert (ended["message"], ended["rid"], ended["request_id"]) == ("request ended", "r", "mine")
    assert (started["prompt_tokens"], ended["completion_tokens"]) == (5, 3)
    assert ended["finish_reason"] == "length" and ended["seconds"] > 0
    found = {"sampling_params", "prompt", "output"} & (set(started) | set(ended))
    assert found == fields
    if level == 2:
        assert (started["prompt"], ended["output"]) == ("hello", "hel")
        assert started["sampling_params"]["max_new_tokens"] == 3


@pytest.mark.parametrize(("level", "length"), [(2, SHOWN_CHARS), (3, SHOWN_CHARS + 9)])
def test_only_the_highest_level_shows_all(side: Side, level: int, length: int) -> None:
    log = RequestLog(side.manager.tokenizer, level)
    assert len(log._text([65] * (SHOWN_CHARS + 9))) == length
