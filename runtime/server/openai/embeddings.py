"""POST /v1/embeddings: texts to unit vectors, pooled from the served model's hidden states."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...errors import RequestError
from ...messages import Pooling
from ...text.embedding import pool, unit_vector
from ...text.generation import Generation
from ...text.tokenizer_manager import GenerateInput
from ..bodies import namespace, read
from ..context import ServerContext, context_of
from ..routing import Routes
from ..streaming import json_response, while_connected
from .prompt_list import prompt_list

router = Routes()
MAX_INPUTS = 2048  # OpenAI's own limit


class EmbeddingBody(msgspec.Struct, kw_only=True):
    """OpenAI's fields, and those that name the pooling and the cache."""

    input: str | list[str | int | list[int]]
    model: str | None = None
    encoding_format: str | None = None
    dimensions: int | None = None
    user: str | None = None
    pooling: str | None = None
    rid: str | None = None
    priority: int | None = None
    extra_key: str | None = None
    cache_salt: str | None = None

    def inputs(self) -> list[GenerateInput]:
        """One request for each text or list of token ids."""
        prompts = prompt_list(self.input, "input")
        if len(prompts) > MAX_INPUTS:
            raise RequestError(
                f"at most {MAX_INPUTS} inputs, got {len(prompts)}: send several requests",
                param="input",
            )
        return [
            GenerateInput(
                text=prompt if isinstance(prompt, str) else None,
                input_ids=None if isinstance(prompt, str) else prompt,
                rid=None if self.rid is None else f"{self.rid}_{i}",
                priority=self.priority or 0,
                extra_key=namespace(self.extra_key, self.cache_salt),
                prompt_field="input",
            )
            for i, prompt in enumerate(prompts)
        ]

    def check(self, context: ServerContext) -> None:
        """Refuse what this model's vectors cannot be."""
        if self.encoding_format not in (None, "float", "base64"):
            raise RequestError(
                f"encoding_format must be float or base64, got {self.encoding_format!r}",
                param="encoding_format",
            )
        if self.pooling not in (None, "mean", "last"):
            raise RequestError(
                f"pooling must be mean or last, got {self.pooling!r}", param="pooling"
            )
        size, config = context.config.hidden_size, context.config.embedding
        if self.dimensions is None or self.dimensions == size:
            return
        if not config.matryoshka:
            raise RequestError(
                f"dimensions must be {size} or left out: this model was not trained for shorter "
                "embeddings",
                param="dimensions",
            )
        if not 1 <= self.dimensions <= size:
            raise RequestError(
                f"dimensions must be in [1, {size}], got {self.dimensions}", param="dimensions"
            )


@router.post("/v1/embeddings", body=EmbeddingBody)
async def create_embeddings(request: Request) -> Response:
    body = await read(request, EmbeddingBody)
    return json_response(await while_connected(request, embed(context_of(request), body)))


async def embed(context: ServerContext, body: EmbeddingBody) -> dict[str, Any]:
    """The whole answer."""
    context.check_model(body.model)
    body.check(context)
    pooling: Pooling = context.pooling
    if body.pooling is not None:
        pooling = "mean" if body.pooling == "mean" else "last"
    done = await pool(context.manager, body.inputs(), pooling)
    prompt_tokens = sum(generation.prompt_tokens for generation in done)
    return {
        "object": "list",
        "model": context.model_name,
        "data": _data(done, body),
        "usage": {
            "prompt_tokens": prompt_tokens,
            "total_tokens": prompt_tokens,
            "prompt_tokens_details": {"cached_tokens": sum(g.cached_tokens for g in done)},
        },
        "pooling": pooling,
        "trained_for_embedding": context.config.embedding.pooling is not None,
    }


def _data(done: Sequence[Generation], body: EmbeddingBody) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = []
    for i, generation in enumerate(done):
        values = unit_vector(generation, body.dimensions)
        shown = (
            base64.b64encode(values.astype("<f4").tobytes()).decode()
            if body.encoding_format == "base64"
            else values.tolist()
        )
        data.append({"object": "embedding", "index": i, "embedding": shown})
    return data
