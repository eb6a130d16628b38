"""POST /v1/chat/completions."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ...text.answer import Answer
from ...text.dialect import Turn
from ...text.generation import Generation
from ...text.pieces import CallArguments, CallStart, Content, Piece, Reasoning
from ...text.tokenizer_manager import GenerateInput, TokenizerManager, with_samples
from ..answers import (
    Progress,
    reasoning_tokens,
    server_meta_info,
    stream_answers,
    whole_answers,
)
from ..context import ServerContext, context_of
from ..routing import Routes
from ..streaming import EventStream, event, json_response, while_connected
from .chat_body import ChatBody
from .sampling_body import StreamOptions, read_sampling
from .usage import finish_reason, matched_stop, sglext, usage

router = Routes()


@router.post("/v1/chat/completions", body=ChatBody)
async def chat_completions(request: Request) -> Response:
    body = await read_sampling(request, ChatBody)
    chat = ChatCompletion(context_of(request), body)
    if body.stream:
        return EventStream(chat.events())
    return json_response(await while_connected(request, chat.whole()))


@dataclass(slots=True)
class ChatCompletion:
    """One /v1/chat/completions request on its way to its answer."""

    context: ServerContext
    body: ChatBody
    id: str = field(init=False)
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.context.check_model(self.body.model)
        self.id = self.body.rid or f"chatcmpl-{token_hex(16)}"

    async def whole(self) -> dict[str, Any]:
        turn, parts = await self._prepare()
        manager = self.context.manager
        done = await whole_answers(manager, turn, parts)
        reasoned = [
            reasoning_tokens(manager, turn, bool(answer.reasoning), generation)
            for answer, generation in done
        ]
        choices = [
            self._choice(i, answer, generation) | self._extras(part, generation, reasoned[i])
            for i, (part, (answer, generation)) in enumerate(zip(parts, done, strict=True))
        ]
        response = self._response("chat.completion", choices)
        response["usage"] = usage([generation for _, generation in done], 1, sum(reasoned))
        response |= sglext(self.body.return_cached_tokens_details, done[0][1])
        if warnings := turn.warnings + done[0][1].warnings:
            response["warnings"] = warnings
        return response

    async def events(self) -> AsyncGenerator[bytes, None]:
        turn, parts = await self._prepare()
        stream = ChatStream(self, turn, len(parts))
        async for progress in stream_answers(self.context.manager, turn, parts):
            for chunk in stream.chunks(progress):
                yield event(chunk)
        if stream.options.include_usage:
            yield event(stream.last())

    async def _prepare(self) -> tuple[Turn, list[GenerateInput]]:
        body, manager = self.body, self.context.manager
        conversation = body.conversation()
        if body.input_ids is not None:
            await manager.input_ids(GenerateInput(input_ids=body.input_ids))  # are they tokens?
        limit, _ = body.token_limit()
        params = body.sampling_params(0 if limit is None else limit)
        turn = self.context.dialect.turn(conversation, params)
        ids = body.input_ids
        if ids is None:
            ids = await manager.encode(turn.prompt, False, "messages")
        params = turn.sampling_params
        if limit is None:
            params = params.with_changes(max_new_tokens=manager.room_after(len(ids)))
        request = GenerateInput(
            input_ids=ids,
            sampling_params=params,
            stream=bool(body.stream),
            return_logprob=bool(body.logprobs),
            top_logprobs_num=body.top_logprobs or 0,
            priority=body.priority or 0,
            extra_key=body.namespace,
            prompt_field="messages" if body.input_ids is None else "input_ids",
            param_names=body.param_names(),
        )
        return turn, with_samples(request, self.id)

    def _choice(self, index: int, answer: Answer, generation: Generation) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": answer.content or (None if answer.calls else ""),
            "refusal": None,
        }
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in answer.calls
            ]
        choice = {
            "index": index,
            "message": message,
            "logprobs": self.logprobs(generation),
            "finish_reason": finish_reason(generation, bool(answer.calls)),
            "matched_stop": matched_stop(generation),
        }
        return choice

    def _extras(self, part: GenerateInput, generation: Generation, reasoned: int) -> dict[str, Any]:
        """What of SGLang's and vLLM's the request asks for beside OpenAI's fields of a choice."""
        body = self.body
        extras: dict[str, Any] = {}
        if body.return_token_ids:
            extras["token_ids"] = generation.output_ids
        if body.return_prompt_token_ids:
            extras["prompt_token_ids"] = part.input_ids
        if body.return_meta_info:
            texts = self.context.manager.token_texts(generation.logprob_token_ids())
            extras["meta_info"] = generation.meta_info(texts) | server_meta_info(
                self.context, reasoned
            )
        return extras

    def _response(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.context.model_name,
            "choices": choices,
        }

    def chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return self._response("chat.completion.chunk", choices)

    def logprobs(self, generation: Generation, start: int = 0) -> dict[str, Any] | None:
        """OpenAI's entries for the output tokens from ``start`` on; None if not asked for."""
        if not self.body.logprobs or generation.output_logprobs is None:
            return None
        return chat_logprobs(self.context.manager, generation, start)


class ChatStream:
    """The chunks of a streamed chat completion: roles first, then pieces, then reasons to end.

    Args:
        chat: the request.
        turn: its conversation.
        count: how many samples it has.
    """

    def __init__(self, chat: ChatCompletion, turn: Turn, count: int) -> None:
        self._chat = chat
        self._turn = turn
        self.options = chat.body.stream_options or StreamOptions()
        self._latest: dict[int, Generation] = {}
        self._sent_logprobs = [0] * count
        self._has_calls = [False] * count
        self._has_reasoned = [False] * count

    def chunks(self, progress: Progress) -> Iterator[dict[str, Any]]:
        index, pieces, generation = progress
        if index not in self._latest:
            yield self._chunk(index, {"role": "assistant", "content": ""})
        self._latest[index] = generation
        for piece in pieces:
            self._has_calls[index] |= isinstance(piece, CallStart)
            self._has_reasoned[index] |= isinstance(piece, Reasoning)
            yield self._chunk(index, delta_of(piece), generation)
        if generation.finish is not None:
            chunk = self._chunk(index, {}, generation)
            [choice] = chunk["choices"]
            choice["finish_reason"] = finish_reason(generation, self._has_calls[index])
            choice["matched_stop"] = matched_stop(generation)
            yield chunk

    def last(self) -> dict[str, Any]:
        """The chunk with the usage."""
        done = [self._latest[i] for i in sorted(self._latest)]
        return self._chat.chunk([]) | {"usage": usage(done, 1, self._reasoning_tokens())}

    def _chunk(
        self, index: int, delta: dict[str, Any], generation: Generation | None = None
    ) -> dict[str, Any]:
        logprobs = None
        if generation is not None and generation.output_logprobs is not None:
            logprobs = self._chat.logprobs(generation, self._sent_logprobs[index])
            self._sent_logprobs[index] = len(generation.output_logprobs.values)
        chunk = self._chat.chunk(
            [{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}]
        )
        if self.options.continuous_usage_stats and generation is not None:
            chunk["usage"] = usage([generation])
        elif self.options.include_usage:
            chunk["usage"] = None
        return chunk

    def _reasoning_tokens(self) -> int:
        manager = self._chat.context.manager
        return sum(
            reasoning_tokens(manager, self._turn, self._has_reasoned[index], generation)
            for index, generation in self._latest.items()
        )


def delta_of(piece: Piece) -> dict[str, Any]:
    """A piece as the delta of a chunk."""
    match piece:
        case Content(text):
            return {"content": text}
        case Reasoning(text):
            return {"reasoning_content": text}
        case CallStart(index, call_id, name):
            function = {"name": name, "arguments": ""}
            call = {"index": index, "id": call_id, "type": "function", "function": function}
            return {"tool_calls": [call]}
        case CallArguments(index, text):
            return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}


def chat_logprobs(
    manager: TokenizerManager, generation: Generation, start: int = 0
) -> dict[str, Any]:
    """``{"content": [{token, logprob, bytes, top_logprobs}], "refusal": None}``."""
    logprobs = generation.output_logprobs
    assert logprobs is not None

    def entry(value: float | None, token_id: int) -> dict[str, Any]:
        data = manager.token_text_bytes(token_id)
        return {"token": data.decode("utf-8", "replace"), "logprob": value, "bytes": list(data)}

    content = [
        entry(logprobs.values[place], logprobs.token_ids[place])
        | {"top_logprobs": [entry(value, i) for value, i in logprobs.top[place]]}
        | ({"forced": True} if logprobs.forced[place : place + 1] == [True] else {})
        for place in range(start, len(logprobs.token_ids))
    ]
    return {"content": content, "refusal": None}
