"""What is known of one request's output at a moment: the text side of a RequestOutput."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import RequestError
from ..messages import FinishReason, Logprobs


@dataclass(slots=True)
class Generation:
    """Output of one sequence so far; ``delta`` is the text that the last message added.

    Of the output ids from before it, ``kept`` still stand and ``withdrawn`` do not: jump-forward
    may replace some.
    """

    rid: str
    text: str = ""
    delta: str = ""
    output_ids: list[int] = field(default_factory=list)
    kept: int = 0
    withdrawn: int = 0
    finish: FinishReason | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    host_tokens: int = 0  # of those, from the host tier
    forced_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    forced_spans: list[tuple[int, int]] = field(default_factory=list)  # in text; once it ended
    num_retractions: int = 0
    input_logprobs: Logprobs | None = None
    output_logprobs: Logprobs | None = None
    pooled: bytes = b""  # the vector of a pooling request, float32
    e2e_latency: float = 0.0
    warnings: list[str] = field(default_factory=list)

    def meta_info(self, token_text: dict[int, str] | None = None) -> dict[str, Any]:
        """SGLang's ``meta_info``; with ``token_text`` logprob entries name their token's text."""
        meta: dict[str, Any] = {
            "id": self.rid,
            "finish_reason": finish_dict(self.finish, self.completion_tokens),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cached_tokens": self.cached_tokens,
            "cached_tokens_details": self.cached_tokens_details,
            "forced_tokens": self.forced_tokens,
            "num_retractions": self.num_retractions,
            "e2e_latency": self.e2e_latency,
        }
        if self.drafted_tokens:
            meta["spec_drafted_tokens"] = self.drafted_tokens
            meta["spec_accepted_tokens"] = self.accepted_tokens
            meta["spec_accept_rate"] = self.accepted_tokens / self.drafted_tokens
        if self.forced_spans:
            meta["forced_spans"] = self.forced_spans
        if self.warnings:
            meta["warnings"] = self.warnings
        texts = token_text or {}
        if self.input_logprobs is not None:
            meta["input_token_logprobs"] = _entries(self.input_logprobs, texts)
            meta["input_top_logprobs"] = _rivals(self.input_logprobs.top, texts)
            meta["input_token_ids_logprobs"] = _rivals(self.input_logprobs.chosen, texts)
        if self.output_logprobs is not None:
            meta["output_token_logprobs"] = _entries(self.output_logprobs, texts)
            meta["output_top_logprobs"] = _rivals(self.output_logprobs.top, texts)
            meta["output_token_ids_logprobs"] = _rivals(self.output_logprobs.chosen, texts)
            meta["output_token_logprobs_length"] = len(self.output_logprobs.values)
        return meta

    @property
    def cached_tokens_details(self) -> dict[str, int] | None:
        """None where nothing was cached, as upstream has it."""
        if not self.cached_tokens:
            return None
        return {"device": self.cached_tokens - self.host_tokens, "host": self.host_tokens}

    def as_dict(self, token_text: dict[int, str] | None = None) -> dict[str, Any]:
        """SGLang's native response: text, output_ids, meta_info."""
        return {
            "text": self.text,
            "output_ids": list(self.output_ids),
            "meta_info": self.meta_info(token_text),
        }

    def logprob_token_ids(self) -> set[int]:
        """Every token id that the logprobs mention."""
        ids: set[int] = set()
        for logprobs in (self.input_logprobs, self.output_logprobs):
            if logprobs is not None:
                ids.update(logprobs.token_ids)
                ids.update(i for row in (*logprobs.top, *logprobs.chosen) for _, i in row)
        return ids


def finish_dict(finish: FinishReason | None, length: int) -> dict[str, Any] | None:
    """SGLang's form; ``length`` is the number of output tokens."""
    if finish is None:
        return None
    out: dict[str, Any] = {"type": finish.type}
    if finish.type == "stop":
        out["matched"] = finish.matched
    elif finish.type == "length":
        out["length"] = length
    elif finish.type == "abort":
        out |= {"message": finish.message, "status_code": finish.status_code}
    return out


def extend_logprobs(target: Logprobs | None, more: Logprobs | None) -> Logprobs | None:
    if more is None:
        return target
    if target is None:
        return more
    target.token_ids += more.token_ids
    target.values += more.values
    target.top += more.top
    target.chosen += more.chosen
    target.forced += more.forced
    return target


def _entries(
    logprobs: Logprobs, texts: dict[int, str]
) -> list[tuple[float | None, int, str | None]]:
    return [
        (value, token_id, texts.get(token_id))
        for value, token_id in zip(logprobs.values, logprobs.token_ids, strict=True)
    ]


def _rivals(
    rows: list[list[tuple[float, int]]], texts: dict[int, str]
) -> list[list[tuple[float, int, str | None]]]:
    return [[(value, token_id, texts.get(token_id)) for value, token_id in row] for row in rows]


def raise_aborted(generation: Generation, param_names: Mapping[str, str]) -> None:
    """An aborted request ends in an exception that says why, in the client's words."""
    finish = generation.finish
    assert finish is not None
    raise RequestError(
        finish.message or "the request was aborted",
        param=param_names.get(finish.param, finish.param) if finish.param else None,
        status=finish.status_code or 500,
        code="request_aborted" if finish.status_code == 499 else None,
    )
