"""POST /generate: SGLang's own request, one prompt or many."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...errors import RequestError
from ...messages import Logprobs
from ...text.generation import Generation
from ...text.prompts import Inputs, as_dict, as_inputs
from ...text.sessions import SessionParams, Sessions
from ...text.tokenizer_manager import GenerateInput, TokenizerManager
from ..answers import plain_reasoning_tokens, server_meta_info
from ..bodies import namespace, read
from ..context import ServerContext, context_of
from ..routing import Routes
from ..streaming import EventStream, event, json_response, merge, while_connected
from .tokens import RenderBody

router = Routes()


class GenerateBody(msgspec.Struct):
    """/generate. None is "not set", and unknown fields are ignored: sglang-router sends both."""

    text: str | list[str] | None = None
    input_ids: list[int | list[int]] | None = None
    chat: RenderBody | None = None  # stands ahead of the text, rendered
    sampling_params: dict[str, Any] | list[dict[str, Any]] | None = None
    return_logprob: bool | list[bool] | None = None
    logprob_start_len: int | list[int] | None = None
    top_logprobs_num: int | list[int] | None = None
    token_ids_logprob: list[int | list[int] | None] | None = None
    return_text_in_logprobs: bool | None = None
    return_prompt_token_ids: bool | None = None
    stream: bool | None = None
    incremental_streaming_output: bool | None = None
    rid: str | list[str] | None = None
    priority: int | None = None
    extra_key: str | None = None
    cache_salt: str | None = None
    add_special_tokens: bool | None = None
    session_params: SessionParams | None = None
    input_embeds: Any = None
    image_data: Any = None
    video_data: Any = None
    audio_data: Any = None
    lora_path: Any = None
    custom_logit_processor: Any = None
    return_hidden_states: Any = None
    return_routed_experts: Any = None

    def inputs(self, opening: str | None) -> Inputs:
        """The single requests; ``opening`` is the chat, rendered.

        Raises:
            RequestError: a field is wrong.
        """
        for name in _UNSERVED:
            if getattr(self, name):
                raise RequestError(f"{name} is not supported by this server", param=name)
        return as_inputs(
            self._text(opening),
            self.sampling_params,
            input_ids=self.input_ids,
            stream=bool(self.stream),
            return_logprob=self.return_logprob or False,
            logprob_start_len=self.logprob_start_len,
            top_logprobs_num=self.top_logprobs_num or 0,
            token_ids_logprob=self.token_ids_logprob or [],
            return_text_in_logprobs=bool(self.return_text_in_logprobs),
            rid=self.rid,
            priority=self.priority or 0,
            extra_key=namespace(self.extra_key, self.cache_salt),
            add_special_tokens=self.add_special_tokens is not False and opening is None,
        )

    def _text(self, opening: str | None) -> str | list[str] | None:
        if opening is None:
            return self.text
        if isinstance(self.text, list) or self.session_params is not None:
            raise RequestError("chat goes with one text and no session", param="chat")
        return opening + (self.text or "")


_UNSERVED = (
    "input_embeds",
    "image_data",
    "video_data",
    "audio_data",
    "lora_path",
    "custom_logit_processor",
    "return_hidden_states",
    "return_routed_experts",
)


@router.api_route("/generate", ["POST", "PUT"], body=GenerateBody)
async def generate(request: Request) -> Response:
    body = await read(request, GenerateBody)
    context = context_of(request)
    opening = None if body.chat is None else body.chat.text(context.tokenizer)
    answer = NativeAnswer(
        context,
        body.inputs(opening),
        context.args.incremental_streaming_output
        if body.incremental_streaming_output is None
        else body.incremental_streaming_output,
        bool(body.return_prompt_token_ids),
        opening,
    )
    if body.session_params is not None:
        answer.session = SessionTurn(context.sessions, body.session_params)
    if body.stream:
        return EventStream(answer.events())
    return json_response(await while_connected(request, answer.whole()))


@dataclass(frozen=True, slots=True)
class SessionTurn:
    """The place of a request in its session."""

    sessions: Sessions
    params: SessionParams

    async def lead_in(self, manager: TokenizerManager, inputs: Inputs) -> Inputs:
        """The request behind what came before it."""
        request = inputs.single()
        before = self.sessions.context(self.params)
        if before:
            request = replace(request, add_special_tokens=False)
        ids = [*before, *await manager.input_ids(request)]
        self.sessions.check_room(self.params, len(ids))
        return replace(inputs, parts=[replace(request, text=None, input_ids=ids)])

    def keep(self, request: GenerateInput, generation: Generation) -> None:
        prompt = list(request.input_ids or ())
        self.sessions.add(self.params, generation.rid, prompt, generation.output_ids)


@dataclass(slots=True)
class NativeAnswer:
    """One /generate request on its way to its answer.

    Args:
        context: what the routes share.
        inputs: its single requests.
        incremental: events hold what is new only.
        with_prompt: responses name the ids of their prompt.
        opening: what the request's chat was rendered as, which responses tell.
        session: the request is a turn of one.
    """

    context: ServerContext
    inputs: Inputs
    incremental: bool
    with_prompt: bool
    opening: str | None = None
    session: SessionTurn | None = None
    _told_logprobs: dict[int, int] = field(default_factory=dict)
    _prompts: list[list[int]] = field(default_factory=list)

    async def whole(self) -> Any:
        """The native response: one dict, or a list of them."""
        await self._prepare()
        done = await self.context.manager.generate_all(self.inputs.parts)
        for request, generation in zip(self.inputs.parts, done, strict=True):
            self._finished(request, generation)
        dicts = [self._as_dict(i, generation) for i, generation in enumerate(done)]
        return dicts if self.inputs.is_list else dicts[0]

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Text and ids so far, or what is new of them; batches carry ``index``."""
        await self._prepare()
        async for index, generation in merge(self.context.manager, self.inputs.parts):
            if generation.finish is not None:
                self._finished(self.inputs.parts[index], generation)
            shown = self._news(index, generation) if self.incremental else generation
            response = self._as_dict(index, shown)
            if self.incremental and generation.withdrawn:
                response["meta_info"]["withdrawn_ids"] = generation.withdrawn
            if self.inputs.is_list:
                response["index"] = index
            yield event(response)

    def _finished(self, request: GenerateInput, generation: Generation) -> None:
        if self.session is not None:
            self.session.keep(request, generation)

    async def _prepare(self) -> None:
        if self.session is not None:
            self.inputs = await self.session.lead_in(self.context.manager, self.inputs)
        if self.with_prompt:
            parts = self.inputs.parts
            self._prompts = [await self.context.manager.input_ids(part) for part in parts]

    def _as_dict(self, index: int, generation: Generation) -> dict[str, Any]:
        response = as_dict(self.context.manager, generation, self.inputs.with_text)
        reasoned = 0
        if generation.finish is not None:
            reasoned = plain_reasoning_tokens(self.context, self.inputs.parts[index], generation)
        response["meta_info"] |= server_meta_info(self.context, reasoned)
        if self.with_prompt:
            response["prompt_token_ids"] = self._prompts[index]
        if self.opening is not None:
            response["opening"] = self.opening
        return response

    def _news(self, index: int, generation: Generation) -> Generation:
        """What the generation has gained; its counts stay totals."""
        told, logprobs = self._told_logprobs.get(index, 0), generation.output_logprobs
        if logprobs is not None:
            self._told_logprobs[index] = len(logprobs.values)
            logprobs = Logprobs(
                logprobs.token_ids[told:],
                logprobs.values[told:],
                logprobs.top[told:],
                logprobs.chosen[told:],
            )
        return replace(
            generation,
            text=generation.delta,
            output_ids=generation.output_ids[generation.kept :],
            output_logprobs=logprobs,
        )
