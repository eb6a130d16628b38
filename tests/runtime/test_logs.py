"""Log lines: what they hold, in both formats."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from sglang_lang.runtime import logs
from sglang_lang.runtime.request_context import HttpRequest, working_for


def record(message: str, fields: dict[str, object] | None = None) -> logging.LogRecord:
    made = logging.LogRecord("a.b", logging.INFO, "file", 1, message, (), None)
    if fields is not None:
        made.fields = fields
    return made


def test_a_json_line_holds_fields_and_the_request() -> None:
    with working_for(HttpRequest("r1")):
        line = logs.JsonFormatter().format(record('say "hi"\n', {"tokens": 3, "who": object}))
    assert "\n" not in line
    parsed = json.loads(line)
    assert parsed["time"].endswith("Z")
    assert (parsed["level"], parsed["logger"], parsed["message"]) == ("info", "a.b", 'say "hi"\n')
    assert (parsed["request_id"], parsed["tokens"]) == ("r1", 3)


def test_a_json_line_holds_the_exception() -> None:
    made = record("broken")
    try:
        raise ValueError("why")
    except ValueError:
        made.exc_info = sys.exc_info()
    assert "ValueError: why" in json.loads(logs.JsonFormatter().format(made))["exception"]


def test_text_lines_end_with_the_fields() -> None:
    with working_for(HttpRequest("r1")):
        line = logs.TextFormatter().format(record("done", {"n": 1, "text": "a b"}))
    assert line.endswith("INFO a.b: done request_id=r1 n=1 text='a b'")
    assert logs.TextFormatter().format(record("done")).endswith("a.b: done")


def test_an_event_carries_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("sglang_lang.test")
    with caplog.at_level(logging.INFO, logger.name):
        logs.event(logger, "happened", count=2)
    assert caplog.records[0].__dict__["fields"] == {"count": 2}
