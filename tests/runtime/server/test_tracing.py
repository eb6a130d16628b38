"""Spans as a collector receives them over OTLP/HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from sglang_lang.runtime.server.tracing import RequestTracer
from tests.runtime.text.echo import Side

from .conftest import Connect

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """Keeps what is sent to /v1/traces."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        body = self.rfile.read(int(self.headers["content-length"]))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def attributes(span: Span) -> dict[str, object]:
    values = {}
    for pair in span.attributes:
        kind = pair.value.WhichOneof("value")
        assert kind is not None
        values[pair.key] = getattr(pair.value, kind)
    return values


async def test_a_request_is_a_span_with_its_stages_below_the_clients(
    collector: Collector, connect: Connect, side: Side
) -> None:
    tracer = RequestTracer(collector.url, "echo")
    side.manager.observers.append(tracer)
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "mine"}
    body = {"text": "hello", "rid": "r1", "sampling_params": {"max_new_tokens": 3}}
    async with connect() as client:
        await client.post("/generate", json=body, headers=headers)
    await asyncio.to_thread(tracer.close)
    spans = {span.name: span for span in collector.spans}
    assert set(spans) == {"generate", "tokenize", "queue", "prefill", "decode"}
    span = spans.pop("generate")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    found = attributes(span)
    assert found["gen_ai.request.id"] == "r1"
    assert found["http.request_id"] == "mine"
    assert found["gen_ai.usage.input_tokens"] == 5
    assert found["gen_ai.usage.output_tokens"] == 3
    assert span.start_time_unix_nano < span.end_time_unix_nano
    for stage in spans.values():
        assert stage.parent_span_id == span.span_id
        assert stage.start_time_unix_nano >= span.start_time_unix_nano


async def test_a_client_that_leaves_is_an_error_and_a_trace_of_its_own(
    collector: Collector, connect: Connect, side: Side
) -> None:
    tracer = RequestTracer(collector.url, "echo")
    side.manager.observers.append(tracer)
    async with connect() as client:
        running = asyncio.ensure_future(client.post("/generate", json={"text": "hang"}))
        await side.until_hanging(1)
        side.manager.abort("")
        await running
    await asyncio.to_thread(tracer.close)
    [span] = [span for span in collector.spans if span.name == "generate"]
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert not span.parent_span_id
