"""The runtime inside this process: the same scheduler and text side, without HTTP.

The scheduler runs in a daemon thread, the text side on an event loop in another; every method may
be called from any thread, every coroutine awaited on any event loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self, TypeVar

from .checkpoints.checkpoint import open_checkpoint
from .errors import EngineDeadError, RequestError
from .ipc import in_process_pair
from .messages import SchedulerReady
from .sampling_params import SamplingParams
from .scheduler.scheduler import Scheduler
from .scheduler.setup import make_scheduler
from .server_args import ServerArgs, resolve
from .text.chat import load_tokenizer, render_chat
from .text.generation import Generation
from .text.pinning import pin_prefix, unpin_prefix
from .text.prompts import as_dict, as_inputs, as_response
from .text.scoring import score_choices
from .text.tokenizer import Tokenizer
from .text.tokenizer_manager import GenerateInput, TokenizerManager

T = TypeVar("T")
SamplingInput = SamplingParams | Mapping[str, Any] | None
START_SECONDS = 600.0
STOP_SECONDS = 30.0


class Engine:
    """Generate without a server.

    Args:
        server_args: fields of ``ServerArgs``, such as ``model_path`` and ``dtype``.

    Raises:
        ModelLoadError: the checkpoint cannot be loaded.
        ServerArgsError: an argument cannot work.
    """

    def __init__(self, **server_args: Any) -> None:
        self.server_args = resolve(ServerArgs(**server_args))
        checkpoint = open_checkpoint(self.server_args.model_path, self.server_args.load_format)
        self.model_name = self.server_args.served_model_name or checkpoint.name
        self._tokenizer = load_tokenizer(checkpoint, self.server_args)
        self._manager = TokenizerManager(
            self._tokenizer, None, generates=checkpoint.config.has_head
        )
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._loop_thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._loop_thread.start()
        try:
            self._scheduler_thread = self._call(self._start())
        except BaseException:
            self._stop_loop()
            raise

    # ------------------------------------------------------------------ generating

    def generate(
        self,
        prompt: str | Sequence[str] | None = None,
        sampling_params: SamplingInput | Sequence[SamplingInput] = None,
        *,
        input_ids: Sequence[int] | Sequence[Sequence[int]] | None = None,
        stream: bool = False,
        **options: Any,
    ) -> Any:
        """Continue one prompt or a list of them.

        Args:
            prompt: text, or a list of texts.
            sampling_params: for all prompts, or a list with one for each.
            input_ids: token ids instead of text.
            stream: return an iterator over the growing response instead (one prompt only).
            options: ``return_logprob``, ``logprob_start_len``, ``top_logprobs_num``,
                ``token_ids_logprob``, ``return_text_in_logprobs``, ``rid``, ``priority``,
                ``extra_key``, ``add_special_tokens``, as over HTTP.

        Returns:
            ``{"text", "output_ids", "meta_info"}``; a list of them for a list of prompts or n > 1.

        Raises:
            RequestError: names the field that is wrong.
        """
        inputs = as_inputs(prompt, sampling_params, input_ids=input_ids, stream=stream, **options)
        if stream:
            return self._iterate(inputs.single(), inputs.with_text)
        return as_response(
            self._manager, inputs, self._call(self._manager.generate_all(inputs.parts))
        )

    async def async_generate(
        self,
        prompt: str | Sequence[str] | None = None,
        sampling_params: SamplingInput | Sequence[SamplingInput] = None,
        *,
        input_ids: Sequence[int] | Sequence[Sequence[int]] | None = None,
        stream: bool = False,
        **options: Any,
    ) -> Any:
        """``generate`` as a coroutine; with ``stream`` it gives an async iterator.

        Cancelling it aborts the requests.
        """
        inputs = as_inputs(prompt, sampling_params, input_ids=input_ids, stream=stream, **options)
        if stream:
            return self._aiterate(inputs.single(), inputs.with_text)
        done = await self._await(self._manager.generate_all(inputs.parts))
        return as_response(self._manager, inputs, done)

    def score_choices(
        self, text: str, choices: Sequence[str], unconditional: bool = False, **options: Any
    ) -> dict[str, Any]:
        """How likely each choice continues the text; see runtime/text/scoring.py."""
        return self._call(self._score(text, choices, unconditional, options))

    async def async_score_choices(
        self, text: str, choices: Sequence[str], unconditional: bool = False, **options: Any
    ) -> dict[str, Any]:
        """``score_choices`` as a coroutine."""
        return await self._await(self._score(text, choices, unconditional, options))

    async def _score(
        self, text: str, choices: Sequence[str], unconditional: bool, options: dict[str, Any]
    ) -> dict[str, Any]:
        scored, prompt = await score_choices(self._manager, text, choices, unconditional, **options)
        return {"choices": [asdict(choice) for choice in scored], "meta_info": prompt.meta_info()}

    # ------------------------------------------------------------------ the rest

    def render_chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
        """The prompt of a conversation, as /v1/chat/completions would build it."""
        return render_chat(self._tokenizer, messages, **options)

    def get_tokenizer(self) -> Tokenizer:
        return self._tokenizer

    def abort_request(self, rid: str) -> None:
        """End the requests whose rid starts with ``rid``; "" ends all."""
        self._loop.call_soon_threadsafe(self._manager.abort, rid)

    def flush_cache(self) -> None:
        """Forget all cached KV; RequestError while requests are running."""
        reply = self._call(self._manager.control("flush_cache"))
        if not reply.ok:
            raise RequestError(reply.message)

    def pin_prefix(self, prefix: str | Sequence[int], extra_key: str | None = None) -> int:
        """Compute a prefix and keep it cached; returns how many tokens are kept."""
        return self._call(pin_prefix(self._manager, _prefix(prefix, extra_key)))

    def unpin_prefix(self, prefix: str | Sequence[int], extra_key: str | None = None) -> None:
        """Give a pinned prefix up; RequestError if there is no such pin."""
        self._call(unpin_prefix(self._manager, _prefix(prefix, extra_key)))

    def model_info(self) -> dict[str, Any]:
        return {
            "model_path": self.server_args.model_path or self.model_name,
            "served_model_name": self.model_name,
            "has_chat_template": self._tokenizer.chat_template is not None,
            "has_image_understanding": False,
            "is_generation": self._manager.generates,
        }

    def get_server_info(self) -> dict[str, Any]:
        """The arguments, and the scheduler's numbers."""
        reply = self._call(self._manager.control("stats"))
        return {**asdict(self.server_args), **reply.data}

    def shutdown(self) -> None:
        """Stop the threads; requests still running end with EngineDeadError."""
        if self._loop.is_closed() or os.getpid() != self._process:
            return
        self._call(self._stop())
        self._scheduler_thread.join(STOP_SECONDS)
        self._stop_loop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    # ------------------------------------------------------------------ threads

    async def _start(self) -> threading.Thread:
        port, self._client = in_process_pair()
        started: Future[tuple[Scheduler, SchedulerReady]] = Future()

        def run() -> None:
            try:
                scheduler, ready = make_scheduler(self.server_args, port)
            except BaseException as error:
                started.set_exception(error)
                return
            started.set_result((scheduler, ready))
            try:
                scheduler.run_forever()
            except BaseException as error:
                dead = EngineDeadError(f"the scheduler ended: {error}")
                self._loop.call_soon_threadsafe(self._manager.detach, dead)
                raise

        thread = threading.Thread(target=run, name="scheduler", daemon=True)
        thread.start()
        _, ready = await asyncio.wait_for(asyncio.wrap_future(started), START_SECONDS)
        self._manager.attach(self._client, ready)
        self._reader = asyncio.ensure_future(self._manager.read_forever(self._client))
        return thread

    async def _stop(self) -> None:
        await self._manager.shutdown()
        self._reader.cancel()

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._loop_thread.join(STOP_SECONDS)
        self._loop.close()

    def _spawn(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        if os.getpid() != self._process:  # nobody would ever do it
            work.close()
            raise EngineDeadError(
                f"the engine's threads are in process {self._process}, from which this one was "
                "forked: make an engine here, or ask a server"
            )
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        future = self._spawn(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(self._spawn(work))

    def _iterate(self, request: GenerateInput, with_text: bool) -> Iterator[dict[str, Any]]:
        stream = self._manager.stream(request)
        try:
            while (response := self._call(self._next(stream, with_text))) is not None:
                yield response
        finally:
            self._call(_close(stream))

    async def _aiterate(
        self, request: GenerateInput, with_text: bool
    ) -> AsyncIterator[dict[str, Any]]:
        stream = self._manager.stream(request)
        try:
            while (response := await self._await(self._next(stream, with_text))) is not None:
                yield response
        finally:
            await self._await(_close(stream))

    async def _next(
        self, stream: AsyncIterator[Generation], with_text: bool
    ) -> dict[str, Any] | None:
        """The response so far; made on the manager's loop, which goes on changing the output."""
        async for generation in stream:
            return as_dict(self._manager, generation, with_text)
        return None


def _prefix(prefix: str | Sequence[int], extra_key: str | None) -> GenerateInput:
    if isinstance(prefix, str):
        return GenerateInput(text=prefix, extra_key=extra_key)
    return GenerateInput(input_ids=prefix, extra_key=extra_key)


async def _close(stream: AsyncIterator[Generation]) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()
