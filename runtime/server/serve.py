"""Runs the HTTP application until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.applications import Starlette

from ..checkpoints.checkpoint import open_checkpoint
from ..errors import ServerArgsError, SGLangError
from ..listener import address_of
from ..process_age import process_age
from ..server_args import ServerArgs
from ..text.chat import load_tokenizer
from ..text.tokenizer_manager import TokenizerManager
from .app import create_app
from .context import ServerContext
from .http_protocol import BoundedHttpProtocol
from .probe import probe
from .request_log import RequestLog
from .supervisor import SchedulerProcess, Supervisor
from .tracing import RequestTracer

logger = logging.getLogger(__name__)

BACKLOG = 4096
YOUNG_OBJECTS = 20_000  # between two runs of the garbage collector
# Longer than clients keep an idle connection (httpx: 5): else one may send on it as it is closed.
KEEP_ALIVE_SECONDS = 75


def serve(args: ServerArgs, scheduler: SchedulerProcess, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        args: resolved arguments.
        scheduler: the process that is starting already.
        listener: bound to the address to serve on.

    Raises:
        SGLangError: the model cannot be served, or the scheduler cannot start.
    """
    context = _make_context(args)
    context.start_seconds["launch"] = scheduler.launched_at
    with asyncio.Runner(loop_factory=_loop_factory()) as runner, _observed(args, context):
        supervisor = Supervisor(args, context.manager, scheduler)
        try:
            runner.run(_start(supervisor))
            runner.run(_listen(args, context, supervisor, listener))
        finally:
            runner.run(supervisor.stop())


def _make_context(args: ServerArgs) -> ServerContext:
    checkpoint = open_checkpoint(args.model_path, args.load_format)
    tokenizer = load_tokenizer(checkpoint, args)
    manager = TokenizerManager(
        tokenizer, args.max_queued_requests, args.request_timeout, checkpoint.config.has_head
    )
    name = args.served_model_name or checkpoint.name
    return ServerContext(args, manager, checkpoint.config, name)


@contextmanager
def _observed(args: ServerArgs, context: ServerContext) -> Iterator[None]:
    """Requests are logged and traced as the arguments say."""
    observers = context.manager.observers
    if args.log_requests:
        observers.append(RequestLog(context.tokenizer, args.log_requests_level))
    if args.otlp_endpoint is None:
        yield
        return
    tracer = RequestTracer(args.otlp_endpoint, context.model_name)
    observers.append(tracer)
    try:
        yield
    finally:
        tracer.close()


async def _start(supervisor: Supervisor) -> None:
    ready = await supervisor.first_ready()
    logger.info(
        "scheduler ready: %d KV slots, context %d, loaded in %s",
        ready.max_total_num_tokens,
        ready.context_len,
        {phase: round(seconds, 2) for phase, seconds in ready.load_seconds.items()},
    )


async def _listen(
    args: ServerArgs, context: ServerContext, supervisor: Supervisor, listener: socket.socket
) -> None:
    @asynccontextmanager
    async def beside(app: Starlette) -> AsyncIterator[None]:
        watching = asyncio.ensure_future(supervisor.run_forever())
        if not args.skip_server_warmup:
            begin = time.perf_counter()
            await _warm_up(context.manager)
            context.start_seconds["warm_up"] = time.perf_counter() - begin
        _spare_the_collector()
        context.startup_seconds = process_age()
        scheme = "http" if args.ssl_certfile is None else "https"
        logger.info("%s on %s", context.model_name, address_of(listener, scheme))
        yield
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    config = uvicorn.Config(
        create_app(context, beside),
        http=BoundedHttpProtocol,
        log_config=None,
        access_log=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(args.graceful_timeout),
        ssl_certfile=args.ssl_certfile,
        ssl_keyfile=args.ssl_keyfile,
        ssl_keyfile_password=args.ssl_keyfile_password,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ServerArgsError(f"--ssl-certfile {args.ssl_certfile}: {error}") from error
    await uvicorn.Server(config).serve(sockets=[listener])


async def _warm_up(manager: TokenizerManager) -> None:
    """The first request pays for lazy initialisation; let it be nobody's."""
    try:
        await probe(manager, "warm-up", 8, 2)
    except SGLangError as error:
        logger.warning("the warm-up request failed: %s", error)


def _spare_the_collector() -> None:
    """Cycles are looked for among what requests have made, not again and again in all modules.

    A request makes thousands of objects and hardly a cycle: the usual threshold (700) has its
    objects looked at ten times over. Measured, both take a tenth of a short request's time.
    """
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    loop: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return loop
