"""POST /encode: one vector for each prompt; /classify, for models that have classes."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...errors import RequestError
from ...text.embedding import pool, unit_vector
from ...text.generation import Generation
from ...text.prompts import as_inputs
from ..bodies import namespace, read
from ..context import context_of
from ..routing import Routes
from ..streaming import json_response, while_connected

router = Routes()


class EncodeBody(msgspec.Struct, kw_only=True):
    text: str | list[str] | None = None
    input_ids: list[int | list[int]] | None = None
    rid: str | list[str] | None = None
    priority: int | None = None
    extra_key: str | None = None
    cache_salt: str | None = None
    image_data: Any = None


@router.api_route("/encode", methods=["POST", "PUT"], body=EncodeBody)
async def encode(request: Request) -> Response:
    """Unit vectors of the prompts, pooled as the model's are."""
    body = await read(request, EncodeBody)
    if body.image_data:
        raise RequestError("image_data is not supported by this server", param="image_data")
    context = context_of(request)
    inputs = as_inputs(
        body.text,
        {"max_new_tokens": 0},
        input_ids=body.input_ids,
        rid=body.rid,
        priority=body.priority or 0,
        extra_key=namespace(body.extra_key, body.cache_salt),
    )
    done = await while_connected(request, pool(context.manager, inputs.parts, context.pooling))
    vectors = [_vector(generation) for generation in done]
    return json_response(vectors if inputs.is_list else vectors[0])


@router.api_route("/classify", methods=["POST", "PUT"])
@router.api_route("/v1/classify", methods=["POST", "PUT"])
async def classify(request: Request) -> Response:
    """No served architecture has a classification head."""
    name = context_of(request).model_name
    raise RequestError(
        f"the model {name!r} has no classification head; /v1/score tells how likely labels are",
        param="model",
    )


def _vector(generation: Generation) -> dict[str, Any]:
    return {
        "embedding": unit_vector(generation).tolist(),
        "meta_info": {
            "id": generation.rid,
            "prompt_tokens": generation.prompt_tokens,
            "cached_tokens": generation.cached_tokens,
            "e2e_latency": generation.e2e_latency,
        },
    }
