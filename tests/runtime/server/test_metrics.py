"""/metrics: upstream's names and types, and values that follow what happens."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sglang_lang.runtime.messages import SchedulerMetrics
from sglang_lang.runtime.server.metric_families import SCHEDULER_HELP
from tests.runtime.text.echo import Side

from .conftest import Connect

DASHBOARD = Path(__file__).parents[3] / "deploy" / "grafana.json"
# What dashboards made for SGLang ask for.
UPSTREAM = {
    "gauge": (
        "num_running_reqs num_queue_reqs num_grammar_queue_reqs num_used_tokens token_usage "
        "max_total_num_tokens cache_hit_rate gen_throughput new_token_ratio num_retracted_reqs "
        "utilization http_requests_active page_size context_len num_paused_reqs spec_accept_rate "
        "spec_accept_length"
    ),
    "counter": (
        "num_retracted_requests prompt_tokens generation_tokens cached_tokens num_requests "
        "num_aborted_requests num_so_requests evicted_tokens num_grammar_cache_hit "
        "num_grammar_aborted num_grammar_timeout http_requests http_responses "
        "scheduler_idle_seconds forced_tokens"
    ),
    "histogram": (
        "time_to_first_token_seconds inter_token_latency_seconds e2e_request_latency_seconds "
        "queue_time_seconds per_stage_req_latency_seconds prompt_tokens_histogram "
        "generation_tokens_histogram eviction_duration_seconds grammar_compilation_time_seconds"
    ),
}
NAMES = [(kind, name) for kind, names in UPSTREAM.items() for name in names.split()]


async def scrape(client: httpx.AsyncClient) -> dict[str, float]:
    """Sample -> value; the labels other than the model's are part of the name."""
    text = (await client.get("/metrics")).text
    values = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels.get("model_name") == "echo", sample
            labels = [f"{k}={v}" for k, v in sorted(sample.labels.items()) if k != "model_name"]
            values[",".join([sample.name.removeprefix("sglang:"), *labels])] = sample.value
    return values


@pytest.mark.parametrize(("kind", "name"), NAMES)
async def test_upstreams_names_and_types(client: httpx.AsyncClient, kind: str, name: str) -> None:
    await client.post("/generate", json={"text": "x"})
    text = (await client.get("/metrics")).text
    types = {family.name: family.type for family in text_string_to_metric_families(text)}
    assert types[f"sglang:{name}"] == kind


async def test_the_dashboard_asks_for_what_is_served(client: httpx.AsyncClient) -> None:
    asked = set(re.findall(r"sglang:(\w+)", DASHBOARD.read_text()))
    text = (await client.get("/metrics")).text
    families = list(text_string_to_metric_families(text))
    names = {family.name for family in families if family.type == "gauge"}
    names |= {f"{family.name}_total" for family in families if family.type == "counter"}
    names |= {f"{family.name}_bucket" for family in families if family.type == "histogram"}
    assert len(asked) > 10 and {f"sglang:{name}" for name in asked} <= names


def test_everything_the_scheduler_tells_has_a_family() -> None:
    fields = {field.name for field in msgspec.structs.fields(SchedulerMetrics)}
    assert fields == set(SCHEDULER_HELP)


async def test_the_schedulers_values_pass_through(client: httpx.AsyncClient) -> None:
    values = await scrape(client)
    assert values["num_queue_reqs"] == 2
    assert values["token_usage"] == 0.25
    assert values["evicted_tokens_total"] == 5
    assert values["forced_tokens_total"] == 6
    assert values["eviction_duration_seconds_bucket,le=0.1"] == 1
    assert values["eviction_duration_seconds_bucket,le=+Inf"] == 2
    assert values["eviction_duration_seconds_sum"] == 2.05


async def test_requests_move_the_values(client: httpx.AsyncClient) -> None:
    before = await scrape(client)
    params = {"max_new_tokens": 4, "regex": "[a-d]+"}
    await client.post("/generate", json={"text": "abcdefgh", "sampling_params": params})
    body = {"prompt": "wxyz", "stream": True}
    await client.post("/v1/completions", json=body)
    after = await scrape(client)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown("num_requests_total") == 2
    assert grown("num_so_requests_total") == 1
    assert grown("prompt_tokens_total") == 12
    assert grown("cached_tokens_total") == 2
    assert grown("generation_tokens_total") == 8
    assert grown("time_to_first_token_seconds_count") == 2
    assert grown("inter_token_latency_seconds_count") == 3  # of the stream; the other came whole
    assert grown("e2e_request_latency_seconds_count") == 2
    assert grown("queue_time_seconds_sum") == 1.0
    assert grown("per_stage_req_latency_seconds_sum,stage=grammar") == 0.25
    assert grown("generation_tokens_histogram_bucket,le=8.0") == 2
    assert grown("finished_requests_total,reason=length") == 1
    assert grown("http_responses_total,endpoint=/generate,method=POST,status_code=200") == 1
    assert grown("http_requests_total,endpoint=/v1/completions,method=POST") == 1


async def test_an_aborted_request_is_counted(client: httpx.AsyncClient, side: Side) -> None:
    running = asyncio.ensure_future(client.post("/generate", json={"text": "hang"}))
    await side.until_hanging(1)
    assert (await scrape(client))["http_requests_active"] == 2  # and this scrape
    await client.post("/abort_request", json={"abort_all": True})
    assert (await running).status_code == 499
    values = await scrape(client)
    assert values["num_aborted_requests_total"] == 1
    assert values["finished_requests_total,reason=abort"] == 1
    assert values["http_responses_total,endpoint=/generate,method=POST,status_code=499"] == 1


async def test_paths_that_are_no_routes_share_one_label(client: httpx.AsyncClient) -> None:
    for path in ("/a", "/b"):
        await client.get(path)
    values = await scrape(client)
    key = "http_responses_total,endpoint=unknown,method=unknown,status_code=404"
    assert values[key] == 2


async def test_names_stay_whatever_format_prometheus_prefers(connect: Connect) -> None:
    """No key is needed either."""
    async with connect(api_key=("secret",)) as client:
        headers = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
        response = await client.get("/metrics", headers=headers)
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'sglang:token_usage{model_name="echo"} 0.25' in response.text


async def test_a_dead_scheduler_leaves_the_rest(client: httpx.AsyncClient, side: Side) -> None:
    side.manager.detach(RuntimeError("gone"))
    values = await scrape(client)
    assert "num_requests_total" in values
    assert "token_usage" not in values
