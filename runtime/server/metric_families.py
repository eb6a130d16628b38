"""Numbers of this server as Prometheus' metric families, under the names that SGLang gives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from ..histogram import Histogram
from ..messages import SchedulerMetrics
from ..text.request_stats import RequestStats
from .http_stats import HttpStats

PREFIX = "sglang:"

# Field of SchedulerMetrics -> help.
SCHEDULER_HELP = {
    "num_running_reqs": "Requests in the running batch.",
    "num_queue_reqs": "Requests that wait for room in a batch.",
    "num_grammar_queue_reqs": "Requests whose constraint is being compiled.",
    "num_retracted_reqs": "Waiting requests that were sent back to the queue.",
    "num_paused_reqs": "Requests that wait while generation is paused.",
    "num_used_tokens": "KV slots that running requests hold.",
    "max_total_num_tokens": "KV slots in all.",
    "token_usage": "Share of the KV slots that running requests hold.",
    "utilization": "Running requests, as a share of the most that one batch may have.",
    "cache_hit_rate": "Share of the prompt tokens that came from the prefix cache.",
    "gen_throughput": "Output tokens a second, over the last seconds.",
    "new_token_ratio": "Share of their remaining output that requests are expected to need.",
    "spec_accept_rate": "Share of the drafted tokens that came true.",
    "spec_accept_length": "Tokens that a step with a draft yields, its own included.",
    "page_size": "Tokens to a page of the KV cache.",
    "context_len": "Longest prompt plus output, in tokens.",
    "num_retracted_requests_total": "How often a running request was sent back to the queue.",
    "evicted_tokens_total": "Tokens evicted from the prefix cache.",
    "forced_tokens_total": "Output tokens that jump-forward appended without decoding them.",
    "prefill_tokens_total": "Prompt tokens computed.",
    "scheduler_steps_total": "Steps of the model.",
    "scheduler_idle_seconds_total": "Seconds in which the scheduler had nothing to do.",
    "num_grammar_cache_hit_total": "Constraints that were compiled already.",
    "num_grammar_aborted_total": "Requests whose constraint was refused.",
    "num_grammar_timeout_total": "Requests whose constraint took too long to compile.",
    "eviction_duration_seconds": "Time to evict from the prefix cache.",
    "grammar_compilation_time_seconds": "Time to compile a constraint.",
}

Labels = Mapping[str, str]


def of_scheduler(metrics: SchedulerMetrics, labels: Labels) -> Iterator[Metric]:
    for name, text in SCHEDULER_HELP.items():
        value = getattr(metrics, name)
        if isinstance(value, Histogram):
            yield histogram(name, text, {"": value}, labels)
        elif name.endswith("_total"):
            yield counter(name, text, {"": value}, labels)
        else:
            yield gauge(name, text, value, labels)


def of_requests(stats: RequestStats, labels: Labels) -> Iterator[Metric]:
    """Counters and latencies of generation, as clients see them."""
    for name, text, value in (
        ("prompt_tokens_total", "Prompt tokens, cached ones included.", stats.prompt_tokens),
        ("cached_tokens_total", "Prompt tokens from the prefix cache.", stats.cached_tokens),
        ("generation_tokens_total", "Output tokens.", stats.generation_tokens),
        ("num_requests_total", "Requests sent to the scheduler.", stats.num_requests),
        ("num_so_requests_total", "Of those, with a constraint.", stats.num_so_requests),
        ("num_aborted_requests_total", "Requests that were aborted.", stats.num_aborted_requests),
    ):
        yield counter(name, text, {"": value}, labels)
    reasons = dict(stats.finished)
    yield counter(
        "finished_requests_total", "Requests by how they ended.", reasons, labels, "reason"
    )
    for name, text, values in (
        ("time_to_first_token_seconds", "Arrival to first token.", stats.first_token),
        ("inter_token_latency_seconds", "Between two output tokens.", stats.between_tokens),
        ("e2e_request_latency_seconds", "Arrival to the last token.", stats.latency),
        ("queue_time_seconds", "Waiting for room in a batch.", stats.queue_time),
        ("prompt_tokens_histogram", "Prompt tokens of a request.", stats.prompt_lengths),
        ("generation_tokens_histogram", "Output tokens of a request.", stats.output_lengths),
    ):
        yield histogram(name, text, {"": values}, labels)
    name, text = "per_stage_req_latency_seconds", "Time of a request in each stage."
    yield histogram(name, text, stats.stages, labels, "stage")


def of_http(stats: HttpStats, labels: Labels) -> Iterator[Metric]:
    names = (*labels, "endpoint", "method")
    values = tuple(labels.values())
    received = CounterMetricFamily(PREFIX + "http_requests_total", "HTTP requests.", labels=names)
    active = GaugeMetricFamily(
        PREFIX + "http_requests_active", "HTTP requests not answered yet.", labels=tuple(labels)
    )
    answered = CounterMetricFamily(
        PREFIX + "http_responses_total", "HTTP responses.", labels=(*names, "status_code")
    )
    by_route: dict[tuple[str, str], int] = {}
    for (endpoint, method, status), count in sorted(stats.responses.items()):
        answered.add_metric((*values, endpoint, method, str(status)), count)
        by_route[endpoint, method] = by_route.get((endpoint, method), 0) + count
    for route, count in by_route.items():
        received.add_metric((*values, *route), count)
    active.add_metric(values, stats.active)
    yield from (received, answered, active)


def gauge(name: str, text: str, value: float, labels: Labels) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=tuple(labels))
    family.add_metric(tuple(labels.values()), value)
    return family


def counter(
    name: str, text: str, values: Mapping[str, float], labels: Labels, by: str | None = None
) -> Metric:
    """``values`` by the value of the label ``by``; without one, the single value's key is ""."""
    family = CounterMetricFamily(PREFIX + name, text, labels=(*labels, *([by] if by else [])))
    for key, value in values.items():
        family.add_metric((*labels.values(), *([key] if by else [])), value)
    return family


def histogram(
    name: str, text: str, values: Mapping[str, Histogram], labels: Labels, by: str | None = None
) -> Metric:
    """As ``counter``, of histograms."""
    family = HistogramMetricFamily(PREFIX + name, text, labels=(*labels, *([by] if by else [])))
    for key, value in values.items():
        family.add_metric(
            (*labels.values(), *([key] if by else [])), value.cumulative(), value.total
        )
    return family
