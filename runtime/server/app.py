"""The HTTP application: routes, error handlers, keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from ..errors import RequestError, SGLangError
from . import (
    anthropic_messages,
    cache_admin,
    ollama_answers,
    ollama_models,
    openai_chat,
    openai_completions,
)
from .auth import BearerAuth
from .context import ServerContext, context_of
from .errors import on_error
from .native import admin, generate, scoring, state, tokens
from .streaming import json_response

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
models = APIRouter()
ROUTES = (
    generate,
    state,
    admin,
    tokens,
    scoring,
    cache_admin,
    openai_completions,
    openai_chat,
    anthropic_messages,
    ollama_answers,
    ollama_models,
)


@models.get("/v1/models")
async def list_models(request: Request) -> Response:
    return json_response({"object": "list", "data": [context_of(request).model_card()]})


@models.get("/v1/models/{name:path}")
async def get_model(request: Request, name: str) -> Response:
    context = context_of(request)
    context.check_model(name)
    return json_response(context.model_card())


def create_app(context: ServerContext, lifespan: Lifespan | None = None) -> FastAPI:
    """The application around a tokenizer manager.

    Args:
        context: what the routes share.
        lifespan: runs what must run beside the routes.
    """
    app = FastAPI(title="sglang-lang", lifespan=lifespan or _nothing_beside)
    app.state.context = context
    for routes in ROUTES:
        app.include_router(routes.router)
    app.include_router(models)
    app.add_exception_handler(SGLangError, on_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, on_error)
    if context.args.api_key is not None:
        app.add_middleware(BearerAuth, api_key=context.args.api_key)
    return app


@asynccontextmanager
async def _nothing_beside(app: FastAPI) -> AsyncIterator[None]:
    yield


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, in the same envelope as everything else."""
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    return await on_error(request, RequestError(message, status=error.status_code))
