"""--log-requests: two lines for each request to the scheduler, when it starts and when it ends."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from .. import logs
from ..request_context import working_for
from ..text.live_request import LiveRequest
from ..text.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

SHOWN_CHARS = 2048  # of prompt and output, at level 2


class RequestLog:
    """Writes what its level asks for.

    Args:
        tokenizer: shows prompts and outputs as text.
        level: 0 sizes and times; 1 sampling parameters too; 2 and the beginnings of prompt and
            output; 3 and all of them.
    """

    def __init__(self, tokenizer: Tokenizer, level: int) -> None:
        self._tokenizer = tokenizer
        self._level = level

    def started(self, live: LiveRequest) -> None:
        request = live.request
        fields: dict[str, Any] = {"rid": request.rid, "prompt_tokens": len(request.input_ids)}
        if self._level >= 1:
            fields["sampling_params"] = msgspec.to_builtins(request.sampling_params)
        if self._level >= 2:
            fields["prompt"] = self._text(request.input_ids)
        logs.event(logger, "request started", **fields)

    def ended(self, live: LiveRequest, reason: str) -> None:
        assert live.ended is not None
        generation = live.generation
        fields: dict[str, Any] = {
            "rid": live.request.rid,
            "finish_reason": reason,
            "completion_tokens": generation.completion_tokens,
            "cached_tokens": generation.cached_tokens,
            "seconds": round(live.ended - live.arrived, 6),
        }
        if live.first_token is not None:
            fields["first_token_seconds"] = round(live.first_token - live.arrived, 6)
        if self._level >= 2:
            fields["output"] = self._text(live.output_ids())
        with working_for(live.http_request):
            logs.event(logger, "request ended", **fields)

    def _text(self, token_ids: list[int]) -> str:
        if self._level < 3:  # no token is less than a byte, and few are less than a character
            token_ids = token_ids[:SHOWN_CHARS]
        text = self._tokenizer.decode(token_ids, skip_special_tokens=False)
        if self._level >= 3 or len(text) <= SHOWN_CHARS:
            return text
        return text[:SHOWN_CHARS] + "..."
