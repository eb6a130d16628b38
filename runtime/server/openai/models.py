"""GET /v1/models: the served model."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ..context import context_of
from ..routing import Routes
from ..streaming import json_response

router = Routes()


@router.get("/v1/models")
async def list_models(request: Request) -> Response:
    return json_response({"object": "list", "data": [context_of(request).model_card()]})


@router.get("/v1/models/{name:path}")
async def get_model(request: Request, name: str) -> Response:
    context = context_of(request)
    context.check_model(name)
    return json_response(context.model_card())
