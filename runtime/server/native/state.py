"""Health, and what the model and the server are and do."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ...errors import RequestError
from ...messages import SchedulerMetrics
from ..context import context_of
from ..probe import probe
from ..routing import Routes
from ..streaming import json_response

router = Routes()


@router.get("/health")
@router.get("/ready")
async def health(request: Request) -> Response:
    alive = context_of(request).manager.is_alive
    return Response(status_code=200 if alive else 503)


@router.get("/health_generate")
async def health_generate(request: Request) -> Response:
    """Generate one token: healthy means that the model answers."""
    await probe(context_of(request).manager, "health")
    return Response(status_code=200)


@router.get("/model_info")
@router.get("/get_model_info")
async def model_info(request: Request) -> Response:
    context = context_of(request)
    dialect = context.dialect
    path = context.args.model_path or context.model_name
    return json_response(
        {
            "model_path": path,
            "served_model_name": context.model_name,
            "tokenizer_path": context.args.tokenizer_path or path,
            "is_generation": context.manager.generates,
            "preferred_sampling_params": None,
            "load_format": context.args.load_format,
            "model_type": context.config.family,
            "architectures": [context.config.architecture],
            "reasoning_parser": dialect.reasoning.name if dialect.reasoning else None,
            "tool_call_parser": dialect.call_format.name,
            "weight_version": context.weight_version,
            "disaggregation_mode": "null",
            "has_chat_template": context.tokenizer.chat_template is not None,
            "has_image_understanding": False,
            "has_audio_understanding": False,
            "max_model_len": context.max_model_len,
        }
    )


@router.get("/server_info")
@router.get("/get_server_info")
async def server_info(request: Request) -> Response:
    context = context_of(request)
    reply = await context.manager.control("stats")
    ready = context.manager.ready
    assert ready is not None  # its scheduler has just answered
    state = {
        **reply.data,
        "last_gen_throughput": reply.data.get("gen_throughput"),
        "effective_max_running_requests_per_dp": ready.max_running_requests,
    }
    return json_response(
        {
            **context.args.public(),
            "served_model_name": context.model_name,
            "version": version("sglang-lang"),
            "weight_version": context.weight_version,
            "dp_size": 1,
            "max_total_num_tokens": ready.max_total_num_tokens,
            "max_req_input_len": ready.max_req_input_len,
            "startup_time": context.startup_seconds,
            "load_seconds": {**ready.load_seconds, **context.start_seconds},
            "internal_states": [state],
        }
    )


@router.get("/get_load")
async def get_load(request: Request) -> Response:
    """What sglang-router weighs its workers by."""
    data = (await context_of(request).manager.control("stats")).data
    running, waiting = data["num_running_reqs"], data["num_queue_reqs"]
    return json_response(
        [
            {
                "dp_rank": 0,
                "num_reqs": running + waiting,
                "num_waiting_reqs": waiting,
                "num_tokens": data["num_used_tokens"],
            }
        ]
    )


@router.get("/v1/loads")
async def loads(request: Request) -> Response:
    """The scheduler's load, as JSON or as Prometheus text.

    ``include`` names sections: core, memory, queues, or all; ``dp_rank`` can only be 0.
    """
    query = request.query_params
    rank, form = query.get("dp_rank", "0"), query.get("format", "json")
    if rank != "0":
        raise RequestError(f"dp_rank must be 0, got {rank!r}: there is one", param="dp_rank")
    if form not in ("json", "prometheus"):
        raise RequestError(f"format must be json or prometheus, got {form!r}", param="format")
    metrics = (await context_of(request).manager.control("metrics")).metrics
    assert metrics is not None
    load = _load(metrics, query.get("include", "all").split(","))
    if form == "prometheus":
        return Response(_gauges(load), media_type="text/plain; version=0.0.4; charset=utf-8")
    return json_response(
        {
            "timestamp": datetime.now(UTC).isoformat(),
            "version": version("sglang-lang"),
            "loads": [{"dp_rank": 0, **load}],
        }
    )


def _load(metrics: SchedulerMetrics, include: list[str]) -> dict[str, Any]:
    sections: dict[str, dict[str, float]] = {
        "core": {
            "num_running_reqs": metrics.num_running_reqs,
            "num_waiting_reqs": metrics.num_queue_reqs,
            "num_total_reqs": metrics.num_running_reqs + metrics.num_queue_reqs,
            "num_used_tokens": metrics.num_used_tokens,
            "max_total_num_tokens": metrics.max_total_num_tokens,
            "token_usage": metrics.token_usage,
            "gen_throughput": metrics.gen_throughput,
            "cache_hit_rate": metrics.cache_hit_rate,
            "utilization": metrics.utilization,
        },
        "memory": {
            "token_capacity": metrics.max_total_num_tokens,
            "page_size": metrics.page_size,
        },
        "queues": {
            "waiting": metrics.num_queue_reqs,
            "grammar": metrics.num_grammar_queue_reqs,
            "retracted": metrics.num_retracted_reqs,
        },
    }
    unknown = set(include) - {*sections, "all", "spec", "lora", "disagg"}
    if unknown:
        raise RequestError(
            f"include must name some of {', '.join(sections)} or all, got {min(unknown)!r}",
            param="include",
        )
    wanted = {name: part for name, part in sections.items() if {name, "all"} & set(include)}
    core = wanted.pop("core", {})
    return {**core, **wanted}


def _gauges(load: dict[str, Any]) -> str:
    flat: dict[str, float] = {}
    for name, value in load.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        flat |= {f"sglang_{name}_{part}".rstrip("_"): number for part, number in parts}
    lines = [
        f'# TYPE {name} gauge\n{name}{{dp_rank="0"}} {value}\n' for name, value in flat.items()
    ]
    return "".join(lines)
