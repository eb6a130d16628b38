"""Log lines of both processes, as text or as JSON, each with the id of its HTTP request."""

from __future__ import annotations

import logging
import time
from typing import Any, Literal

import msgspec

from . import request_context

LogFormat = Literal["text", "json"]

_encode = msgspec.json.Encoder(enc_hook=repr).encode


def set_up(level: str, log_format: LogFormat) -> None:
    """Send every logger's lines to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def event(logger: logging.Logger, message: str, **fields: Any) -> None:
    """An INFO line with fields: keys of the JSON object, or ``key=value`` in text."""
    logger.info(message, extra={"fields": fields})


class TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        parts = [super().formatMessage(record)]
        if (request := request_context.current.get()) is not None:
            parts.append(f"request_id={request.id}")
        fields: dict[str, Any] = getattr(record, "fields", {})
        parts += [f"{key}={value!r}" for key, value in fields.items()]
        return " ".join(parts)


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, request_id, the fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request := request_context.current.get()) is not None:
            line["request_id"] = request.id
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line).decode()
