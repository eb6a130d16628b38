"""The text side of every request: checks it, tokenises it, follows it to its end, gives its text.

Runs in the API process on one event loop; the scheduler is behind a ``SchedulerClient``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import Any

from ..errors import CapacityError, EngineDeadError, PromptTooLongError, RequestError
from ..ipc import SchedulerClient
from ..messages import (
    AbortRequest,
    Action,
    AdminRequest,
    BatchOutput,
    ControlReply,
    ControlRequest,
    GenerateRequest,
    Pooling,
    RequestOutput,
    SchedulerReady,
)
from ..sampling_params import SamplingParams
from .commands import Commands
from .detokenizer import IncrementalDetokenizer
from .generation import Generation, raise_aborted
from .live_request import LiveRequest, RequestObserver
from .logprob_checks import check_logprobs
from .request_stats import RequestStats
from .tokenizer import Tokenizer

logger = logging.getLogger(__name__)

CONTROL_TIMEOUT_SECONDS = 30.0
INLINE_CHARS = 8192  # longer texts are tokenised in a thread, so that nobody else's stream waits


@dataclass(frozen=True, slots=True)
class GenerateInput:
    """One prompt, as text or as token ids, and how to continue it (see GenerateRequest)."""

    text: str | None = None
    input_ids: Sequence[int] | None = None
    sampling_params: SamplingParams = field(default_factory=SamplingParams)
    rid: str | None = None
    stream: bool = False
    return_logprob: bool = False
    logprob_start_len: int | None = None
    top_logprobs_num: int = 0
    token_ids_logprob: Sequence[int] = ()
    priority: int = 0
    extra_key: str | None = None
    add_special_tokens: bool = True
    pooling: Pooling | None = None  # one vector instead of text; max_new_tokens must be 0
    prompt_field: str | None = None  # what the client calls the prompt, for errors
    param_names: Mapping[str, str] = field(default_factory=dict)  # and sampling parameters


class TokenizerManager:
    """Bookkeeping of the live requests: each ends exactly once.

    Args:
        tokenizer: of the served model.
        max_queued: most live requests beside those that one batch holds; more raise
            CapacityError. None for no limit.
        timeout: seconds after which a request is aborted. None for no limit.
        generates: False for a model without a head, which only embeds.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_queued: int | None,
        timeout: float | None = None,
        generates: bool = True,
    ) -> None:
        self.tokenizer = tokenizer
        self._max_queued = max_queued
        self._timeout = timeout
        self.generates = generates
        self._client: SchedulerClient | None = None
        self.ready: SchedulerReady | None = None
        self._live: dict[str, LiveRequest] = {}
        self.stats = RequestStats()
        self.observers: list[RequestObserver] = []
        self._commands = Commands()
        self._bytes = tokenizer.token_bytes
        self._longest_token = max(len(data) for data in self._bytes if data is not None)
        self.last_message = time.monotonic()
        self.weights_path: str | None = None  # what has replaced the model's own weights

    # ------------------------------------------------------------------ the scheduler

    @property
    def is_alive(self) -> bool:
        return self._client is not None

    @property
    def num_live(self) -> int:
        return len(self._live)

    def attach(self, client: SchedulerClient, ready: SchedulerReady) -> None:
        """From now on requests go to this scheduler."""
        self._client, self.ready = client, ready

    def detach(self, error: Exception) -> None:
        """The scheduler is gone: every live request ends with ``error``."""
        self._client = None
        for live in self._live.values():
            live.fail(error)
            self._end(live, "error")
        self._commands.fail(error)
        self._live.clear()

    async def read_forever(self, client: SchedulerClient) -> None:
        """Hand on what the scheduler says; runs until cancelled."""
        while True:
            messages = await client.recv()
            self.last_message = time.monotonic()
            now = time.perf_counter()
            for message in messages:
                if isinstance(message, BatchOutput):
                    for output in message.outputs:
                        self._take(output, now)
                elif isinstance(message, ControlReply):
                    self._commands.take(message)

    def _take(self, output: RequestOutput, now: float) -> None:
        live = self._live.get(output.rid)
        if live is None:
            return  # aborted by its client, who no longer listens
        live.inbox.append(output)
        self.stats.count_output(live, output, now)
        if output.finish is not None:
            del self._live[output.rid]
            live.times = output.times
            live.generation.completion_tokens = output.completion_tokens
            self._end(live, output.finish.type)
        live.changed.set()

    def _end(self, live: LiveRequest, reason: str) -> None:
        live.end()
        self.stats.count_ended(live, reason)
        for observer in self.observers:
            observer.ended(live, reason)

    # ------------------------------------------------------------------ generating

    async def stream(self, request: GenerateInput) -> AsyncGenerator[Generation, None]:
        """The request's output each time it has grown; the same object, last with ``finish`` set.

        ``delta`` is what came since the last time; nothing changes until the next one is asked for.
        Leaving the iteration early, or cancelling it, aborts the request.

        Raises:
            RequestError: the request is wrong, or its grammar is.
            CapacityError: too many requests are waiting.
            EngineDeadError: the scheduler died.
        """
        live = await self._submit(request)
        generation = live.generation
        try:
            while generation.finish is None:
                await live.changed.wait()
                live.changed.clear()
                if live.error is not None:
                    raise live.error
                live.read()
                if generation.finish is not None and generation.finish.type == "abort":
                    raise_aborted(generation, request.param_names)
                yield generation
        finally:
            if self._live.pop(generation.rid, None) is not None:
                self._end(live, "abort")
                if self._client is not None:
                    self._client.send([AbortRequest(rid_prefix=generation.rid, exact=True)])

    async def generate(self, request: GenerateInput) -> Generation:
        """The request's whole output."""
        async for generation in self.stream(request):
            last = generation
        return last

    async def generate_all(self, requests: Sequence[GenerateInput]) -> list[Generation]:
        """All outputs, in order; the first error aborts the others.

        The scheduler gets them in depth-first order of the tree of their prompts: a cache that
        holds little more than one of them then computes every shared prefix once.
        """
        if len(requests) == 1:
            return [await self.generate(requests[0])]
        prompts = [await self.input_ids(request) for request in requests]
        tasks: dict[int, asyncio.Future[Generation]] = {}
        for i in sorted(range(len(prompts)), key=prompts.__getitem__):
            request = _with_ids(requests[i], prompts[i])
            tasks[i] = asyncio.ensure_future(self.generate(request))
        try:
            return await asyncio.gather(*(tasks[i] for i in range(len(prompts))))
        finally:
            for task in tasks.values():
                task.cancel()

    async def _submit(self, request: GenerateInput) -> LiveRequest:
        arrived = time.perf_counter()
        params = request.sampling_params
        params.validate(self.tokenizer.vocab_size)
        input_ids = await self.input_ids(request)
        client = self._client
        if client is None:
            raise EngineDeadError("the scheduler is not running; try again in some seconds")
        if request.pooling is None and not self.generates:
            raise RequestError("the served model has no output head: it only embeds")
        self._check_queue()
        rid = request.rid or token_hex(16)
        if rid in self._live:
            raise RequestError(f"a request with rid {rid!r} is running", param="rid")
        detokenizer = IncrementalDetokenizer(
            self._skipping_special if params.skip_special_tokens else self.token_text_bytes,
            params.stop,
            params.no_stop_trim,
        )
        message = GenerateRequest(
            rid=rid,
            input_ids=input_ids,
            sampling_params=params,
            stream=request.stream,
            return_logprob=request.return_logprob,
            logprob_start_len=request.logprob_start_len,
            top_logprobs_num=request.top_logprobs_num,
            token_ids_logprob=list(request.token_ids_logprob),
            priority=request.priority,
            extra_key=request.extra_key,
            pooling=request.pooling,
        )
        generation = Generation(rid, prompt_tokens=len(input_ids))
        live = LiveRequest(message, generation, detokenizer, arrived)
        self._live[rid] = live
        self.stats.count_started(live)
        for observer in self.observers:
            observer.started(live)
        client.send([message])
        if self._timeout is not None:
            live.time_out_after(self._timeout)
        return live

    def _check_queue(self) -> None:
        if self._max_queued is None or self.ready is None:
            return
        waiting = len(self._live) - self.ready.max_running_requests
        if waiting >= self._max_queued:
            raise CapacityError(f"{waiting} requests are waiting; try again later")

    async def encode(self, text: str, add_special_tokens: bool, param: str = "text") -> list[int]:
        """Token ids of a prompt.

        Raises:
            PromptTooLongError: it cannot fit, seen before any work is done for it.
        """
        ready = self.ready
        if ready is not None and len(text) > ready.max_req_input_len * self._longest_token:
            raise PromptTooLongError(
                f"{len(text)} characters are more than {ready.max_req_input_len} tokens can hold",
                param=param,
            )
        if len(text) <= INLINE_CHARS:
            return self.tokenizer.encode(text, add_special_tokens)
        return await asyncio.to_thread(self.tokenizer.encode, text, add_special_tokens)

    async def input_ids(self, request: GenerateInput) -> list[int]:
        """The request's prompt as token ids, checked."""
        if self.ready is None:
            raise EngineDeadError("the scheduler is not running; try again in some seconds")
        if (request.text is None) == (request.input_ids is None):
            raise RequestError("give either text or input_ids", param="text")
        if request.input_ids is None:
            assert request.text is not None
            param = request.prompt_field or "text"
            ids = await self.encode(request.text, request.add_special_tokens, param)
        else:
            ids, param = list(request.input_ids), request.prompt_field or "input_ids"
            for token_id in ids:
                if type(token_id) is not int or not 0 <= token_id < self.tokenizer.vocab_size:
                    raise RequestError(
                        f"{param} must be integers in [0, {self.tokenizer.vocab_size}), got "
                        f"{token_id!r}",
                        param=param,
                    )
        if not ids:
            raise RequestError("the prompt is empty", param=param)
        if len(ids) > self.ready.max_req_input_len:
            raise PromptTooLongError(
                f"the prompt has {len(ids)} tokens, and at most {self.ready.max_req_input_len} "
                f"fit (context length {self.ready.context_len})",
                param=param,
            )
        check_logprobs(
            request.logprob_start_len,
            request.top_logprobs_num,
            request.token_ids_logprob,
            len(ids),
            self.tokenizer.vocab_size,
        )
        return ids

    # ------------------------------------------------------------------ the rest

    def abort(self, rid_prefix: str) -> None:
        """End the requests whose rid starts so; "" ends all."""
        if self._client is not None:
            self._client.send([AbortRequest(rid_prefix=rid_prefix)])

    async def shutdown(self) -> None:
        """Tell the scheduler to stop; what is still running ends with EngineDeadError."""
        if self._client is not None:
            await self.control("shutdown")
        self.detach(EngineDeadError("the engine was shut down"))

    async def control(self, action: Action, **fields: Any) -> ControlReply:
        """Ask the scheduler for something that is not generation; see ControlRequest."""
        return await self.ask(ControlRequest(id=0, action=action, **fields))

    async def ask(
        self, request: ControlRequest | AdminRequest, timeout: float = CONTROL_TIMEOUT_SECONDS
    ) -> ControlReply:
        """Send a request that is not generation, and wait for its reply.

        Raises:
            EngineDeadError: there is no scheduler, or it does not answer in ``timeout`` seconds.
        """
        if self._client is None:
            raise EngineDeadError("the scheduler is not running; try again in some seconds")
        return await self._commands.ask(self._client, request, timeout)

    def ping(self) -> None:
        """Make the scheduler say something; nobody waits for it."""
        if self._client is not None:
            self._client.send([ControlRequest(id=0, action="ping")])

    def room_after(self, prompt_len: int) -> int:
        """Output tokens that a prompt of this length leaves room for, at least 1."""
        if self.ready is None:
            return 1
        most = min(self.ready.context_len, self.ready.max_total_num_tokens)
        return max(most - prompt_len, 1)

    def token_texts(self, token_ids: set[int]) -> dict[int, str]:
        """The text of single tokens, for logprobs."""
        return {i: self.token_text_bytes(i).decode("utf-8", "replace") for i in token_ids}

    def token_text_bytes(self, token_id: int) -> bytes:
        """Bytes of a token; a special one's own spelling."""
        data = self._bytes[token_id]
        if data is not None:
            return data
        return self.tokenizer.decode([token_id], skip_special_tokens=False).encode()

    def _skipping_special(self, token_id: int) -> bytes:
        return self._bytes[token_id] or b""


def _with_ids(request: GenerateInput, input_ids: list[int]) -> GenerateInput:
    """The request with its prompt tokenised; errors still name what the client sent."""
    prompt_field = request.prompt_field or ("text" if request.input_ids is None else "input_ids")
    return replace(request, text=None, input_ids=input_ids, prompt_field=prompt_field)


def with_samples(request: GenerateInput, rid: str) -> list[GenerateInput]:
    """The ``n`` single requests of one; a seed gives each of them another draw."""
    params = request.sampling_params
    if params.n == 1:
        return [replace(request, rid=rid)]
    return [
        replace(
            request,
            rid=f"{rid}_{i}",
            sampling_params=replace(
                params, n=1, seed=None if params.seed is None else params.seed + i
            ),
        )
        for i in range(params.n)
    ]
