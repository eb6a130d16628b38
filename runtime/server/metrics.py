"""GET /metrics, for Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response

from ..errors import EngineDeadError
from ..messages import SchedulerMetrics
from .context import ServerContext, context_of
from .metric_families import gauge, of_http, of_requests, of_scheduler
from .routing import Routes

router = Routes()
SCRAPE_SECONDS = 2.0  # a scheduler that is busy longer is left out of this scrape


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """This server's numbers in Prometheus' text format.

    Never in OpenMetrics, which Prometheus would prefer: its encoder turns the ":" of the names into
    "_", and dashboards would find nothing.
    """
    context = context_of(request)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ServerCollector(context, await _scheduler_metrics(context)))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _scheduler_metrics(context: ServerContext) -> SchedulerMetrics | None:
    try:
        async with asyncio.timeout(SCRAPE_SECONDS):
            return (await context.manager.control("metrics")).metrics
    except (EngineDeadError, TimeoutError):
        return None


class ServerCollector(Collector):
    """The families of one scrape; without those of a scheduler that does not answer."""

    def __init__(self, context: ServerContext, scheduler: SchedulerMetrics | None) -> None:
        self._context = context
        self._scheduler = scheduler

    def collect(self) -> Iterable[Metric]:
        context = self._context
        labels = {"model_name": context.model_name}
        if self._scheduler is not None:
            yield from of_scheduler(self._scheduler, labels)
        yield from of_requests(context.manager.stats, labels)
        yield from of_http(context.http_stats, labels)
        ready = context.manager.ready
        if ready is not None and "weights" in ready.load_seconds:
            loading, text = ready.load_seconds["weights"], "Time to load the weights."
            yield gauge("weight_load_duration_seconds", text, loading, labels)
        if context.startup_seconds is not None:
            text = "From the start of the process to the first request it could take."
            yield gauge("startup_time_seconds", text, context.startup_seconds, labels)
