"""The HTTP application: routes, error handlers, keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from ..errors import RequestError, SGLangError
from . import cache_admin, native
from .auth import BearerAuth
from .context import ServerContext
from .errors import on_error
from .openai import chat, completions, embeddings, models

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(context: ServerContext, lifespan: Lifespan | None = None) -> FastAPI:
    """The application around a tokenizer manager.

    Args:
        context: what the routes share.
        lifespan: runs what must run beside the routes.
    """
    app = FastAPI(title="sglang-lang", lifespan=lifespan or _nothing_beside)
    app.state.context = context
    for routes in (native, cache_admin, models, completions, chat, embeddings):
        app.include_router(routes.router)
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
