"""The HTTP application: routes, and the layers around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from . import (
    anthropic_messages,
    cache_admin,
    metrics,
    ollama_answers,
    ollama_models,
    openapi,
    playground_page,
)
from .auth import ApiKeys
from .context import ServerContext
from .http_observer import HEADER, HttpObserver
from .limits import ClientLimits, RequestLimits
from .native import admin, encode, generate, parsers, profile, scoring, sessions, state, tokens
from .openai import batches, chat, completions, embeddings, files, models, responses
from .openai.batch_runner import BatchRunner

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]
ROUTES = (  # paths are tried in this order: what is asked most comes first
    chat,
    completions,
    generate,
    anthropic_messages,
    ollama_answers,
    embeddings,
    state,
    metrics,
    tokens,
    scoring,
    models,
    ollama_models,
    responses,
    files,
    batches,
    admin,
    profile,
    sessions,
    parsers,
    encode,
    cache_admin,
    openapi,
    playground_page,
)


class Application(Starlette):
    """Without starlette's own two layers, whose part the outermost of ours has."""

    def build_middleware_stack(self) -> ASGIApp:
        app: ASGIApp = self.router
        for layer in reversed(self.user_middleware):
            app = layer.cls(app, *layer.args, **layer.kwargs)
        return app


def create_app(context: ServerContext, lifespan: Lifespan | None = None) -> Starlette:
    """The application around a tokenizer manager.

    Args:
        context: what the routes share.
        lifespan: runs what must run beside the routes.
    """
    runner = BatchRunner(context)
    operations = [operation for module in ROUTES for operation in module.router.operations]
    app = Application(
        routes=[operation.route() for operation in operations],
        middleware=_layers(context),
        lifespan=_with_jobs(context, runner, lifespan or _nothing_beside),
    )
    app.state.context, app.state.batches = context, runner
    app.state.operations = operations
    return app


def _layers(context: ServerContext) -> list[Middleware]:
    """Around the routes, the outermost first."""
    args = context.args
    layers = [Middleware(HttpObserver, stats=context.http_stats, log_requests=args.log_requests)]
    if args.cors_origins:
        layers.append(
            Middleware(
                CORSMiddleware,
                allow_origins=args.cors_origins,
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=[HEADER, "retry-after"],
            )
        )
    if args.api_key or args.admin_api_key is not None:
        layers.append(Middleware(ApiKeys, api_keys=args.api_key, admin_key=args.admin_api_key))
    clients = ClientLimits(args.rate_limit, args.max_concurrent_requests)
    layers.append(Middleware(RequestLimits, max_body_size=args.max_body_size, clients=clients))
    return layers


def _with_jobs(context: ServerContext, runner: BatchRunner, lifespan: Lifespan) -> Lifespan:
    """Batches that an earlier server left unfinished go on once this one is ready."""

    @asynccontextmanager
    async def both(app: Starlette) -> AsyncIterator[None]:
        async with lifespan(app):
            await runner.resume()
            try:
                yield
            finally:
                await runner.close()
                await context.responses.close()

    return both


@asynccontextmanager
async def _nothing_beside(app: Starlette) -> AsyncIterator[None]:
    yield
