"""POST /generate: SGLang's own request, one prompt or many."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from ...errors import RequestError
from ...text.prompts import Inputs, as_dict, as_inputs, as_response
from ...text.tokenizer_manager import TokenizerManager
from ..bodies import namespace, read
from ..context import context_of
from ..streaming import event, json_response, merge, sse_response, while_connected

router = APIRouter()


class GenerateBody(msgspec.Struct):
    """/generate. None is "not set", and unknown fields are ignored: sglang-router sends both."""

    text: str | list[str] | None = None
    input_ids: list[int | list[int]] | None = None
    sampling_params: dict[str, Any] | list[dict[str, Any]] | None = None
    return_logprob: bool | None = None
    logprob_start_len: int | None = None
    top_logprobs_num: int | None = None
    token_ids_logprob: list[int] | None = None
    return_text_in_logprobs: bool | None = None
    stream: bool | None = None
    rid: str | list[str] | None = None
    priority: int | None = None
    extra_key: str | None = None
    cache_salt: str | None = None
    add_special_tokens: bool | None = None
    image_data: Any = None
    video_data: Any = None
    audio_data: Any = None
    lora_path: Any = None
    custom_logit_processor: Any = None

    def inputs(self) -> Inputs:
        for name in _UNSERVED:
            if getattr(self, name):
                raise RequestError(f"{name} is not supported by this server", param=name)
        return as_inputs(
            self.text,
            self.sampling_params,
            input_ids=self.input_ids,
            stream=bool(self.stream),
            return_logprob=bool(self.return_logprob),
            logprob_start_len=self.logprob_start_len,
            top_logprobs_num=self.top_logprobs_num or 0,
            token_ids_logprob=self.token_ids_logprob or [],
            return_text_in_logprobs=bool(self.return_text_in_logprobs),
            rid=self.rid,
            priority=self.priority or 0,
            extra_key=namespace(self.extra_key, self.cache_salt),
            add_special_tokens=self.add_special_tokens is not False,
        )


_UNSERVED = ("image_data", "video_data", "audio_data", "lora_path", "custom_logit_processor")


@router.api_route("/generate", methods=["POST", "PUT"])
async def generate(request: Request) -> Response:
    body = await read(request, GenerateBody)
    manager = context_of(request).manager
    inputs = body.inputs()
    if body.stream:
        return await sse_response(request, _native_events(manager, inputs))
    done = await while_connected(request, manager.generate_all(inputs.parts))
    return json_response(as_response(manager, inputs, done))


async def _native_events(manager: TokenizerManager, inputs: Inputs) -> AsyncIterator[bytes]:
    """Cumulative text and ids; batches carry ``index``."""
    async for index, generation in merge(manager, inputs.parts):
        response = as_dict(manager, generation, inputs.with_text)
        if inputs.is_list:
            response["index"] = index
        yield event(response)
