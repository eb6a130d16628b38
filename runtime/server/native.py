"""SGLang's own HTTP API: /generate, the model's and the server's state, tokenising, scoring."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from ..errors import RequestError
from ..sampling_params import SamplingParams
from ..text.chat import render_chat
from ..text.prompts import Inputs, as_dict, as_inputs, as_response
from ..text.scoring import score_choices
from ..text.tokenizer_manager import GenerateInput, TokenizerManager
from .bodies import namespace, read
from .context import context_of
from .streaming import event, json_response, merge, sse_response, while_connected

router = APIRouter()
HEALTH_SECONDS = 20.0


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


# ----------------------------------------------------------------------- health and state


@router.get("/health")
@router.get("/ready")
async def health(request: Request) -> Response:
    alive = context_of(request).manager.is_alive
    return Response(status_code=200 if alive else 503)


@router.get("/health_generate")
async def health_generate(request: Request) -> Response:
    """Generate one token: healthy means that the model answers."""
    params = SamplingParams(max_new_tokens=1, temperature=0.0, ignore_eos=True)
    probe = GenerateInput(input_ids=[0], sampling_params=params, extra_key="health")
    await context_of(request).manager.generate(probe)
    return Response(status_code=200)


@router.get("/model_info")
@router.get("/get_model_info")
async def model_info(request: Request) -> Response:
    context = context_of(request)
    path = context.args.model_path or context.model_name
    return json_response(
        {
            "model_path": path,
            "served_model_name": context.model_name,
            "tokenizer_path": context.args.tokenizer_path or path,
            "is_generation": True,
            "preferred_sampling_params": None,
            "load_format": context.args.load_format,
            "model_type": context.config.family,
            "architectures": [context.config.architecture],
            "has_chat_template": context.tokenizer.chat_template is not None,
            "has_image_understanding": False,
            "has_audio_understanding": False,
            "max_model_len": context.max_model_len,
        }
    )


@router.get("/server_info")
@router.get("/get_server_info")
async def server_info(request: Request) -> Response:
    context = context_of(request)
    reply = await context.manager.control("stats")
    ready = context.manager.ready
    return json_response(
        {
            **context.args.public(),
            "served_model_name": context.model_name,
            "dp_size": 1,
            "max_total_num_tokens": ready.max_total_num_tokens if ready else None,
            "max_req_input_len": ready.max_req_input_len if ready else None,
            "load_seconds": ready.load_seconds if ready else None,
            "internal_states": [
                {**reply.data, "last_gen_throughput": reply.data.get("gen_throughput")}
            ],
        }
    )


@router.get("/get_load")
async def get_load(request: Request) -> Response:
    data = (await context_of(request).manager.control("stats")).data
    running, waiting = data["num_running_reqs"], data["num_queue_reqs"]
    return json_response(
        [
            {
                "dp_rank": 0,
                "num_reqs": running + waiting,
                "num_waiting_reqs": waiting,
                "num_tokens": data["num_used_tokens"],
            }
        ]
    )


@router.api_route("/flush_cache", methods=["GET", "POST"])
async def flush_cache(request: Request) -> Response:
    reply = await context_of(request).manager.control("flush_cache")
    text = "cache flushed\n" if reply.ok else f"{reply.message}\n"
    return Response(text, 200 if reply.ok else 400, media_type="text/plain")


class AbortBody(msgspec.Struct):
    rid: str | None = None
    abort_all: bool | None = None


@router.post("/abort_request")
async def abort_request(request: Request) -> Response:
    body = await read(request, AbortBody)
    if not body.rid and not body.abort_all:
        raise RequestError("give the rid (a prefix is enough), or abort_all", param="rid")
    context_of(request).manager.abort("" if body.abort_all else body.rid or "")
    return Response(status_code=200)


# ----------------------------------------------------------------------- text and tokens


class TokenizeBody(msgspec.Struct):
    prompt: str | list[str] | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    add_special_tokens: bool = True
    add_generation_prompt: bool = True


@router.post("/tokenize")
@router.post("/v1/tokenize")
async def tokenize(request: Request) -> Response:
    body = await read(request, TokenizeBody)
    context = context_of(request)
    if (body.prompt is None) == (body.messages is None):
        raise RequestError("give either prompt or messages", param="prompt")
    tokens: Sequence[int | list[int]]
    if body.messages is not None:
        text = render_chat(context.tokenizer, body.messages, body.tools, body.add_generation_prompt)
        tokens = await asyncio.to_thread(context.tokenizer.encode, text, False)
    elif isinstance(body.prompt, str):
        tokens = await asyncio.to_thread(
            context.tokenizer.encode, body.prompt, body.add_special_tokens
        )
    else:
        assert body.prompt is not None
        tokens = await asyncio.to_thread(
            context.tokenizer.encode_batch, body.prompt, body.add_special_tokens
        )
    counts = [len(row) if isinstance(row, list) else 1 for row in tokens]
    count = counts if isinstance(body.prompt, list) else len(tokens)
    return json_response({"tokens": tokens, "count": count, "max_model_len": context.max_model_len})


class DetokenizeBody(msgspec.Struct):
    tokens: list[int | list[int]]
    skip_special_tokens: bool = True


@router.post("/detokenize")
@router.post("/v1/detokenize")
async def detokenize(request: Request) -> Response:
    body = await read(request, DetokenizeBody)
    tokenizer = context_of(request).tokenizer
    nested = bool(body.tokens) and isinstance(body.tokens[0], list)
    rows: list[Any] = body.tokens if nested else [body.tokens]
    for row in rows:
        if any(not 0 <= token_id < tokenizer.vocab_size for token_id in row):
            raise RequestError(f"tokens must be in [0, {tokenizer.vocab_size})", param="tokens")
    texts = [tokenizer.decode(row, body.skip_special_tokens) for row in rows]
    return json_response({"text": texts if nested else texts[0]})


class RenderBody(msgspec.Struct):
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = False
    continue_final_message: bool = False
    chat_template_kwargs: dict[str, Any] | None = None


@router.post("/render_chat")
async def render(request: Request) -> Response:
    """The exact text that /v1/chat/completions would tokenise for these messages."""
    body = await read(request, RenderBody)
    text = render_chat(
        context_of(request).tokenizer,
        body.messages,
        body.tools,
        body.add_generation_prompt,
        body.continue_final_message,
        body.chat_template_kwargs,
    )
    return json_response({"text": text})


class ScoreChoicesBody(msgspec.Struct):
    text: str
    choices: list[str]
    unconditional: bool = False
    add_special_tokens: bool = True


@router.post("/score_choices")
async def score(request: Request) -> Response:
    """Token logprobs of each choice as a continuation of the text."""
    body = await read(request, ScoreChoicesBody)
    manager = context_of(request).manager
    work = score_choices(
        manager, body.text, body.choices, body.unconditional, body.add_special_tokens
    )
    scored, prompt = await while_connected(request, work)
    return json_response(
        {"choices": [asdict(choice) for choice in scored], "meta_info": prompt.meta_info()}
    )
