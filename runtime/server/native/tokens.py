"""Text to token ids and back, and conversations as the model sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...errors import RequestError
from ...text.chat import render_chat
from ...text.tokenizer import Tokenizer
from ..bodies import read
from ..context import context_of
from ..routing import Routes
from ..streaming import json_response

router = Routes()


class TokenizeBody(msgspec.Struct):
    prompt: str | list[str] | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    add_special_tokens: bool = True
    add_generation_prompt: bool = True


@router.post("/tokenize", body=TokenizeBody)
@router.post("/v1/tokenize", body=TokenizeBody)
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


@router.post("/detokenize", body=DetokenizeBody)
@router.post("/v1/detokenize", body=DetokenizeBody)
async def detokenize(request: Request) -> Response:
    body = await read(request, DetokenizeBody)
    tokenizer = context_of(request).tokenizer
    nested = bool(body.tokens) and isinstance(body.tokens[0], list)
    if any(isinstance(row, list) != nested for row in body.tokens):
        raise RequestError("tokens must be all ids or all lists of ids", param="tokens")
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

    def text(self, tokenizer: Tokenizer) -> str:
        """The exact text that /v1/chat/completions would tokenise for these messages."""
        return render_chat(
            tokenizer,
            self.messages,
            self.tools,
            self.add_generation_prompt,
            self.continue_final_message,
            self.chat_template_kwargs,
        )


@router.post("/render_chat", body=RenderBody)
async def render(request: Request) -> Response:
    body = await read(request, RenderBody)
    return json_response({"text": body.text(context_of(request).tokenizer)})
