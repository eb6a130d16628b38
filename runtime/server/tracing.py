"""OpenTelemetry traces: a span for each request to the scheduler, with its stages as children."""

from __future__ import annotations

import time

from ..errors import ServerArgsError
from ..text.live_request import LiveRequest
from ..text.request_stats import stages

try:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Span, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ModuleNotFoundError as error:
    MISSING: str | None = error.name
else:
    MISSING = None

SERVICE = "sglang-lang"


class RequestTracer:
    """Sends spans to an OTLP/HTTP collector, in batches from a thread.

    A ``traceparent`` header of the client's becomes the parent, so a trace runs through.

    Args:
        endpoint: the collector's base address; spans go to its ``/v1/traces``.
        model_name: an attribute of every span.

    Raises:
        ServerArgsError: the packages of the otel extra are missing.
    """

    def __init__(self, endpoint: str, model_name: str) -> None:
        if MISSING is not None:
            raise ServerArgsError(
                f"--otlp-endpoint needs {MISSING}: pip install 'sglang-lang[otel]'"
            )
        self._provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(__name__)
        self._propagator = TraceContextTextMapPropagator()
        self._model_name = model_name
        self._open: dict[str, Span] = {}

    def started(self, live: LiveRequest) -> None:
        request, http = live.request, live.http_request
        carrier = {"traceparent": http.traceparent} if http and http.traceparent else {}
        params = request.sampling_params
        span = self._tracer.start_span(
            "generate",
            self._propagator.extract(carrier),
            SpanKind.SERVER,
            {
                "gen_ai.request.id": request.rid,
                "gen_ai.request.model": self._model_name,
                "gen_ai.request.max_tokens": params.max_new_tokens,
                "gen_ai.request.temperature": params.temperature,
                "gen_ai.request.top_p": params.top_p,
                "gen_ai.usage.input_tokens": len(request.input_ids),
                "http.request_id": http.id if http else "",
            },
            start_time=_wall_clock(live.arrived),
        )
        assert isinstance(span, Span), "the SDK's own tracer makes recording spans"
        self._open[request.rid] = span

    def ended(self, live: LiveRequest, reason: str) -> None:
        span = self._open.pop(live.request.rid)
        assert live.ended is not None
        generation = live.generation
        span.set_attributes(
            {
                "gen_ai.response.finish_reasons": [reason],
                "gen_ai.usage.output_tokens": generation.completion_tokens,
                "gen_ai.usage.cached_tokens": generation.cached_tokens,
            }
        )
        if live.first_token is not None:
            span.set_attribute(
                "gen_ai.latency.time_to_first_token", live.first_token - live.arrived
            )
        if reason in ("abort", "error"):
            span.set_status(Status(StatusCode.ERROR, reason))
        within = set_span_in_context(span)
        assert span.start_time is not None
        begin = span.start_time
        for stage, seconds in stages(live).items():
            child = self._tracer.start_span(stage, within, start_time=begin)
            begin += int(seconds * 1e9)
            child.end(begin)
        span.end(span.start_time + int((live.ended - live.arrived) * 1e9))

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def _wall_clock(moment: float) -> int:
    """A time of ``perf_counter`` in nanoseconds since 1970."""
    return time.time_ns() + int((moment - time.perf_counter()) * 1e9)
