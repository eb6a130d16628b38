"""A byte tokenizer, and a scheduler that says the prompt back: the text side without a model."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
from tokenizers import AddedToken, models, pre_tokenizers
from tokenizers import Tokenizer as Backend
from tokenizers.decoders import ByteLevel

from sglang_lang.constrained.token_bytes import byte_level_alphabet
from sglang_lang.runtime.histogram import Histogram
from sglang_lang.runtime.messages import (
    AbortRequest,
    AdminRequest,
    BatchOutput,
    ControlReply,
    ControlRequest,
    FinishReason,
    FromScheduler,
    GenerateRequest,
    Logprobs,
    RequestOutput,
    RequestTimes,
    SchedulerMetrics,
    SchedulerReady,
    ToScheduler,
)
from sglang_lang.runtime.text.tokenizer import Tokenizer, TokenizerSettings
from sglang_lang.runtime.text.tokenizer_manager import TokenizerManager

CONTEXT = 256
EOS = "<|end|>"
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def byte_tokenizer(chat_template: str | None = TEMPLATE) -> Tokenizer:
    """Token i is byte i; 256 is the end of sequence."""
    alphabet = byte_level_alphabet()
    backend = Backend(models.BPE(vocab={alphabet[i]: i for i in range(256)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = ByteLevel()
    backend.add_special_tokens([AddedToken(EOS, special=True)])
    templates = {} if chat_template is None else {"default": chat_template}
    return Tokenizer(backend, TokenizerSettings(257, (256,), {"eos_token": EOS}, templates))


class EchoScheduler:
    """A ``SchedulerClient``: answers a request with its own prompt, token by token.

    Prompts that contain "hang" get no answer until they are aborted. Stop strings and the token
    limit end an answer, and so does the end of the prompt; ``stall_after`` tokens of a stream, it
    says no more. A pooling request gets its first two ids. With ``refuses``, a sampling parameter,
    every request is ended because of that one.
    """

    def __init__(self) -> None:
        self.requests: list[GenerateRequest] = []
        self.aborted: list[str] = []
        self.stall_after: int | None = None
        self.refuses: str | None = None
        self._replies: asyncio.Queue[FromScheduler] = asyncio.Queue()

    def send(self, messages: list[ToScheduler]) -> None:
        for message in messages:
            if isinstance(message, GenerateRequest):
                self.requests.append(message)
                if b"hang" not in bytes(i for i in message.input_ids if i < 256):
                    self._answer(message)
            elif isinstance(message, AbortRequest):
                self.aborted.append(message.rid_prefix)
                self._end_aborted(message)
            elif isinstance(message, ControlRequest):
                self._replies.put_nowait(_reply(message))
            else:
                self._replies.put_nowait(ControlReply(id=message.id, ok=False, message="no model"))

    async def recv(self) -> list[FromScheduler]:
        await asyncio.sleep(0)  # so that readers see one token at a time
        return [await self._replies.get()]

    def close(self) -> None:
        pass

    def _answer(self, request: GenerateRequest) -> None:
        if self.refuses is not None:
            refusal = FinishReason("abort", None, "refused", 400, self.refuses)
            self._replies.put_nowait(self._output(request, [], 0, refusal))
            return
        limit = min(request.sampling_params.max_new_tokens, CONTEXT - len(request.input_ids))
        ids = request.input_ids[:limit]
        finish = FinishReason("length" if len(ids) == limit else "stop")
        text = bytes(i for i in ids if i < 256)
        for stop in request.sampling_params.stop:
            if (place := text.find(stop.encode())) >= 0:
                ids = ids[: place + len(stop.encode())]
                finish = FinishReason("stop", matched=stop)
                text = text[: place + len(stop.encode())]
        steps = [[i] for i in ids] if request.stream else [ids]
        for count, step in enumerate((steps or [[]])[: self.stall_after], 1):
            done = count == max(len(steps), 1)
            self._replies.put_nowait(self._output(request, step, count, finish if done else None))

    def _output(
        self, request: GenerateRequest, ids: list[int], count: int, finish: FinishReason | None
    ) -> BatchOutput:
        output = RequestOutput(
            rid=request.rid,
            token_ids=ids,
            finish=finish,
            prompt_tokens=len(request.input_ids),
            completion_tokens=count if request.stream else len(ids),
            cached_tokens=1,
            times=None if finish is None else RequestTimes(0.25, 0.5),
            pooled=np.array(request.input_ids[:2], np.float32).tobytes()
            if request.pooling
            else b"",
        )
        if request.return_logprob:
            output.output_logprobs = _logprobs(ids, request)
            start = request.logprob_start_len
            if start is not None and count == 1:
                prompt = request.input_ids[start:]
                output.input_logprobs = _logprobs(prompt, request)
        return BatchOutput([output])

    def _end_aborted(self, message: AbortRequest) -> None:
        for request in self.requests:
            if message.names(request.rid):
                finish = FinishReason("abort", message="the request was aborted", status_code=499)
                output = RequestOutput(rid=request.rid, token_ids=[], finish=finish)
                self._replies.put_nowait(BatchOutput([output]))


def _logprobs(ids: list[int], request: GenerateRequest) -> Logprobs:
    """The logprob of token i is -i."""
    top = range(request.top_logprobs_num)
    rivals = [[(-float(i + rank), (i + rank) % 256) for rank in top] for i in ids]
    chosen = [(-float(i), i) for i in request.token_ids_logprob]
    return Logprobs(list(ids), [-float(i) for i in ids], rivals, [list(chosen) for _ in ids])


METRICS = SchedulerMetrics(
    num_running_reqs=1,
    num_queue_reqs=2,
    num_grammar_queue_reqs=3,
    num_retracted_reqs=1,
    num_paused_reqs=0,
    num_used_tokens=64,
    max_total_num_tokens=CONTEXT,
    token_usage=0.25,
    utilization=0.125,
    cache_hit_rate=0.5,
    gen_throughput=12.5,
    new_token_ratio=0.3,
    spec_accept_rate=0.5,
    spec_accept_length=1.5,
    page_size=1,
    context_len=CONTEXT,
    num_retracted_requests_total=4,
    evicted_tokens_total=5,
    forced_tokens_total=6,
    prefill_tokens_total=7,
    scheduler_steps_total=8,
    scheduler_idle_seconds_total=9.5,
    num_grammar_cache_hit_total=10,
    num_grammar_aborted_total=11,
    num_grammar_timeout_total=12,
    eviction_duration_seconds=Histogram((0.1, 1.0), [1, 0, 1], 2.05),
    grammar_compilation_time_seconds=Histogram((0.1, 1.0), [0, 2, 0], 1.0),
)


def _reply(request: ControlRequest | AdminRequest) -> ControlReply:
    if not isinstance(request, ControlRequest):
        return ControlReply(id=request.id, ok=True)
    if request.action == "metrics":
        return ControlReply(id=request.id, ok=True, metrics=METRICS)
    data: dict[str, dict[str, Any]] = {
        "stats": {"num_running_reqs": 0, "num_queue_reqs": 0, "num_used_tokens": 0},
        "radix_tree": {"nodes": []},
        "pin_prefix": {"pinned_tokens": len(request.input_ids)},
    }
    return ControlReply(id=request.id, ok=True, data=data.get(request.action, {}))


class Side:
    """A tokenizer manager with an echo scheduler behind it; use as ``async with``."""

    def __init__(
        self,
        tokenizer: Tokenizer | None = None,
        max_queued: int | None = None,
        timeout: float | None = None,
    ) -> None:
        self.scheduler = EchoScheduler()
        self.manager = TokenizerManager(tokenizer or byte_tokenizer(), max_queued, timeout)

    async def __aenter__(self) -> Side:
        ready = SchedulerReady(
            pid=1,
            max_total_num_tokens=CONTEXT,
            max_running_requests=8,
            max_req_input_len=CONTEXT - 1,
            context_len=CONTEXT,
        )
        self.manager.attach(self.scheduler, ready)
        self._reader = asyncio.ensure_future(self.manager.read_forever(self.scheduler))
        return self

    async def __aexit__(self, *error: object) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def until_hanging(self, count: int) -> None:
        """Wait until the scheduler has had so many requests."""
        deadline = time.monotonic() + 10
        while len(self.scheduler.requests) < count:
            assert time.monotonic() < deadline, self.scheduler.requests
            await asyncio.sleep(0)
