"""How likely texts and tokens continue a prompt, and documents in order of their fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...errors import RequestError
from ...text.reranking import Scored, by_embedding, by_judgement
from ...text.scoring import label_logprobs, score_choices, score_labels
from ...text.tokenizer_manager import GenerateInput
from ..bodies import read
from ..context import ServerContext, context_of
from ..routing import Routes
from ..streaming import json_response, while_connected

router = Routes()
MAX_ITEMS = 4096


class ScoreChoicesBody(msgspec.Struct):
    text: str
    choices: list[str]
    unconditional: bool = False
    add_special_tokens: bool = True


@router.post("/score_choices", body=ScoreChoicesBody)
async def choices(request: Request) -> Response:
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


class ScoreBody(msgspec.Struct, kw_only=True):
    """/v1/score. Query and items are texts, or token ids both."""

    query: str | list[int]
    items: str | list[str | list[int]]
    label_token_ids: list[int]
    apply_softmax: bool | None = None
    temperature: float | None = None
    item_first: bool | None = None
    return_token_logprobs: bool | None = None
    score_extraction_token: Any = None
    model: str | None = None

    def prompts(self, vocab_size: int) -> list[GenerateInput]:
        items = [self.items] if isinstance(self.items, str) else self.items
        if not 1 <= len(items) <= MAX_ITEMS:
            raise RequestError(f"items must have 1 to {MAX_ITEMS} entries", param="items")
        if not self.label_token_ids:
            raise RequestError("label_token_ids is empty", param="label_token_ids")
        if not all(0 <= token_id < vocab_size for token_id in self.label_token_ids):
            raise RequestError(
                f"label_token_ids must be in [0, {vocab_size})", param="label_token_ids"
            )
        if self.score_extraction_token is not None:
            raise RequestError(
                "score_extraction_token is not supported by this model",
                param="score_extraction_token",
            )
        if self.temperature is not None and self.temperature <= 0:
            raise RequestError("temperature must be above 0", param="temperature")
        return [self._prompt(item) for item in items]

    def _prompt(self, item: str | list[int]) -> GenerateInput:
        if isinstance(self.query, str) and isinstance(item, str):
            text = item + self.query if self.item_first else self.query + item
            return GenerateInput(text=text, prompt_field="items")
        if isinstance(self.query, list) and isinstance(item, list):
            ids = item + self.query if self.item_first else self.query + item
            return GenerateInput(input_ids=ids, prompt_field="items")
        raise RequestError("query and items must be texts, or token ids both", param="items")

    def scores(self, logprobs: Sequence[float]) -> list[float]:
        """Probabilities of the labels, or their shares among each other."""
        scaled = [value / (self.temperature or 1.0) for value in logprobs]
        if not self.apply_softmax:
            return [math.exp(value) for value in scaled]
        highest = max(scaled)
        shares = [math.exp(value - highest) for value in scaled]
        return [share / sum(shares) for share in shares]


@router.post("/v1/score", body=ScoreBody)
async def score(request: Request) -> Response:
    """How likely each label token comes next after query and item."""
    body = await read(request, ScoreBody)
    context = context_of(request)
    context.check_model(body.model)
    prompts = body.prompts(context.tokenizer.vocab_size)
    work = score_labels(context.manager, prompts, body.label_token_ids)
    done = await while_connected(request, work)
    logprobs = [label_logprobs(generation, body.label_token_ids) for generation in done]
    prompt_tokens = sum(generation.prompt_tokens for generation in done)
    answer: dict[str, Any] = {
        "object": "scoring",
        "model": context.model_name,
        "scores": [body.scores(values) for values in logprobs],
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
    }
    if body.return_token_logprobs:
        answer["token_logprobs"] = logprobs
    return json_response(answer)


class RerankBody(msgspec.Struct, kw_only=True):
    query: str
    documents: list[str]
    instruct: str | None = None
    top_n: int | None = None
    return_documents: bool | None = None
    model: str | None = None

    def check(self) -> None:
        if not 1 <= len(self.documents) <= MAX_ITEMS:
            raise RequestError(f"documents must have 1 to {MAX_ITEMS} entries", param="documents")
        if self.top_n is not None and self.top_n < 1:
            raise RequestError("top_n must be at least 1", param="top_n")


@router.api_route("/v1/rerank", methods=["POST", "PUT"], body=RerankBody)
async def rerank(request: Request) -> Response:
    """Documents by how well they answer the query, the best first."""
    body = await read(request, RerankBody)
    context = context_of(request)
    context.check_model(body.model)
    body.check()
    scored = await while_connected(request, _rerank(context, body))
    order = sorted(range(len(scored)), key=lambda i: -scored[i][0])
    return json_response([_ranked(body, i, scored[i]) for i in order[: body.top_n]])


async def _rerank(context: ServerContext, body: RerankBody) -> list[Scored]:
    manager = context.manager
    if context.config.embedding.pooling is not None:
        return await by_embedding(manager, context.pooling, body.query, body.documents)
    return await by_judgement(manager, context.dialect, body.query, body.documents, body.instruct)


def _ranked(body: RerankBody, index: int, scored: Scored) -> dict[str, Any]:
    score, generation = scored
    ranked: dict[str, Any] = {"score": score, "index": index}
    if body.return_documents is not False:
        ranked["document"] = body.documents[index]
    ranked["meta_info"] = {
        "id": generation.rid,
        "prompt_tokens": generation.prompt_tokens,
        "cached_tokens": generation.cached_tokens,
        "e2e_latency": generation.e2e_latency,
    }
    return ranked
