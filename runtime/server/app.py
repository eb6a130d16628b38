"""The HTTP application: routes, error handlers, keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from ..errors import RequestError, SGLangError
from . import (
    anthropic_messages,
    cache_admin,
    metrics,
    ollama_answers,
    ollama_models,
    playground_page,
)
from .auth import ApiKeys
from .context import ServerContext
from .errors import on_error
from .http_observer import HEADER, HttpObserver
from .limits import ClientLimits, RequestLimits
from .native import admin, encode, generate, parsers, profile, scoring, sessions, state, tokens
from .openai import batches, chat, completions, embeddings, files, models, responses
from .openai.batch_runner import BatchRunner

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
ROUTES = (
    generate,
    state,
    admin,
    profile,
    sessions,
    tokens,
    parsers,
    scoring,
    encode,
    cache_admin,
    metrics,
    models,
    completions,
    chat,
    embeddings,
    responses,
    files,
    batches,
    anthropic_messages,
    ollama_answers,
    ollama_models,
    playground_page,
)


def create_app(context: ServerContext, lifespan: Lifespan | None = None) -> FastAPI:
    """The application around a tokenizer manager.

    Args:
        context: what the routes share.
        lifespan: runs what must run beside the routes.
    """
    runner = BatchRunner(context)
    app = FastAPI(title="sglang-lang", lifespan=_with_batches(runner, lifespan or _nothing_beside))
    app.state.context, app.state.batches = context, runner
    for routes in ROUTES:
        app.include_router(routes.router)
    app.add_exception_handler(SGLangError, on_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    _add_layers(app, context)
    return app


def _add_layers(app: FastAPI, context: ServerContext) -> None:
    """Around the routes, from the inside out."""
    args = context.args
    clients = ClientLimits(args.rate_limit, args.max_concurrent_requests)
    app.add_middleware(RequestLimits, max_body_size=args.max_body_size, clients=clients)
    if args.api_key or args.admin_api_key is not None:
        app.add_middleware(ApiKeys, api_keys=args.api_key, admin_key=args.admin_api_key)
    if args.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=args.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=[HEADER, "retry-after"],
        )
    app.add_middleware(HttpObserver, stats=context.http_stats, log_requests=args.log_requests)


def _with_batches(runner: BatchRunner, lifespan: Lifespan) -> Lifespan:
    """Batches that an earlier server left unfinished go on once this one is ready."""

    @asynccontextmanager
    async def both(app: FastAPI) -> AsyncIterator[None]:
        async with lifespan(app):
            await runner.resume()
            try:
                yield
            finally:
                await runner.close()

    return both


@asynccontextmanager
async def _nothing_beside(app: FastAPI) -> AsyncIterator[None]:
    yield


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, in the same envelope as everything else."""
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    return await on_error(request, RequestError(message, status=error.status_code))
