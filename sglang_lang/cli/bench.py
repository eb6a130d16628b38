"""``sglang-lang bench``: a server under load, the engine in batches, one batch, and start-up."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import httpx

import sglang_lang as sgl

from ..bench import load, report
from ..bench.client import DIALECTS, Ask, Sample
from ..bench.datasets import DATASETS, Item, Settings
from ..bench.processes import cpu_share, memory, process_tree
from ..errors import CommandError

# Of a start, in their order; see LoadTimes and ServerContext.start_seconds.
PHASES = (
    *("launch", "imports", "kernels", "weights", "tokenizer", "kv_cache", "scheduler", "warm_up"),
)
DATASET_FLAGS = [field for field in dataclasses.fields(Settings) if field.name != "path"]


def add_to(commands: Any) -> None:
    """Register the four benchmarks."""
    bench = commands.add_parser("bench", help="measure a server, the engine, or start-up")
    kinds = bench.add_subparsers(required=True, metavar="KIND")

    command = _add(kinds, "serve", serve, "load a running server; flags as in bench_serving")
    command.add_argument("--backend", choices=DIALECTS, default="sglang-oai", help="its dialect")
    command.add_argument("--base-url", help="where it is, instead of --host and --port")
    command.add_argument("--host", default="127.0.0.1")
    command.add_argument("--port", type=int, default=30000)
    command.add_argument("--model", default="default", help="its name of the model")
    command.add_argument("--api-key", metavar="KEY")
    _add_dataset(command)
    command.add_argument("--request-rate", type=float, default=math.inf, help="requests a second")
    command.add_argument("--max-concurrency", type=int)
    command.add_argument("--disable-stream", action="store_true")
    command.add_argument("--disable-ignore-eos", action="store_true")
    command.add_argument("--extra-request-body", type=json.loads, default={}, metavar="JSON")
    command.add_argument("--warmup-requests", type=int, default=1)
    command.add_argument("--flush-cache", action="store_true", help="before the measured part")
    command.add_argument(
        "--goodput", nargs="+", type=_goal, default=[], metavar="ttft:MS", help="or tpot, e2e"
    )
    _add_outputs(command)

    command = _add(kinds, "offline", offline, "throughput of the engine in this process")
    command.add_argument("--model-path", metavar="PATH")
    _add_dataset(command)
    _add_outputs(command)

    command = _add(kinds, "latency", latency, "time of one batch in the engine")
    command.add_argument("--model-path", metavar="PATH")
    command.add_argument("--batch-size", type=int, default=1)
    command.add_argument("--input-len", type=int, default=128)
    command.add_argument("--output-len", type=int, default=64)
    command.add_argument("--iterations", type=int, default=5)
    command.add_argument("--seed", type=int, default=1)
    _add_outputs(command)

    command = _add(kinds, "startup", startup, "time from the command to the first answer")
    command.add_argument("--model-path", metavar="PATH")
    command.add_argument(
        "--server-flag", action="append", default=[], metavar="NAME=VALUE", help="such as port=3000"
    )
    command.add_argument("--idle-seconds", type=float, default=0.0, help="and idle CPU so long")
    command.add_argument("--iterations", type=int, default=3)
    _add_outputs(command)


def serve(args: argparse.Namespace) -> int:
    base_url = args.base_url or f"http://{args.host}:{args.port}"
    dialect, items = DIALECTS[args.backend], dataset(args)
    ask = Ask(
        args.model,
        not args.disable_stream,
        not args.disable_ignore_eos,
        args.extra_request_body,
    )
    pace = load.Pace(args.request_rate, args.max_concurrency, args.seed)
    if args.warmup_requests:
        warm = [Item(items[0].prompt, min(items[0].output_len, 32))] * args.warmup_requests
        asyncio.run(load.run(base_url, dialect, warm, ask, load.Pace(), args.api_key))
    if args.flush_cache:
        _flush(base_url, args.api_key)
    measured = asyncio.run(load.run(base_url, dialect, items, ask, pace, args.api_key))
    summary = report.summarise(measured, dict(args.goodput))
    tell(args, f"{args.backend} at {base_url}", summary, measured.samples)
    errors = {sample.error for sample in measured.samples if sample.error is not None}
    if errors:
        raise CommandError(f"{summary['failed']} requests failed, such as: {min(errors)}")
    return 0


def offline(args: argparse.Namespace) -> int:
    items = dataset(args)
    with sgl.Engine(model_path=args.model_path, log_level="warning") as engine:
        engine.generate("warm up", {"max_new_tokens": 8, "ignore_eos": True})
        begin = time.perf_counter()
        answers = engine.generate(
            [item.prompt for item in items],
            [_greedy(item.output_len) for item in items],
        )
        seconds = time.perf_counter() - begin
    metas = [answer["meta_info"] for answer in answers]
    samples = [
        Sample(meta["completion_tokens"], meta["prompt_tokens"], latency=meta["e2e_latency"])
        for meta in metas
    ]
    summary = report.summarise(load.Run(samples, seconds), {})
    kept = {k: v for k, v in summary.items() if "ttft" not in k and "tpot" not in k}
    kept = {k: v for k, v in kept.items() if "itl" not in k}
    kept["cached_tokens"] = sum(meta["cached_tokens"] for meta in metas)
    tell(args, f"engine, {len(items)} prompts at once", kept)
    return 0


def latency(args: argparse.Namespace) -> int:
    seconds = []
    with sgl.Engine(model_path=args.model_path, log_level="warning") as engine:
        for iteration in range(args.iterations + 1):
            settings = Settings(
                args.batch_size,
                args.seed + iteration,
                random_input_len=args.input_len,
                random_output_len=args.output_len,
                random_range_ratio=1.0,
            )
            prompts = [item.prompt for item in DATASETS["random"](settings)]
            begin = time.perf_counter()
            engine.generate(prompts, _greedy(args.output_len))
            seconds.append(time.perf_counter() - begin)
    measured = seconds[1:]  # the first one pays for lazy initialisation
    summary = {f"{kind}_ms": value for kind, value in report.spread(measured).items()}
    summary["output_tokens_per_s"] = 1e3 * args.batch_size * args.output_len / summary["median_ms"]
    shape = f"batch {args.batch_size}, {args.input_len} + {args.output_len} tokens"
    tell(args, f"engine, {shape}, {args.iterations} times", summary)
    return 0


def startup(args: argparse.Namespace) -> int:
    flags = dict(flag.split("=", 1) for flag in args.server_flag)
    if args.model_path is not None:
        flags["model_path"] = args.model_path
    starts = [_start(flags, args.idle_seconds) for _ in range(args.iterations)]
    summary = {
        name: report.percentile([start[name] for start in starts], 0.5) for name in starts[0]
    }
    tell(args, f"start-up, medians of {args.iterations}", summary)
    return 0


def _start(flags: dict[str, Any], idle_seconds: float) -> dict[str, float]:
    """One start: seconds of its phases and until the first answer, then memory and idle CPU."""
    begin = time.perf_counter()
    with sgl.Runtime(**flags) as server:
        ready = time.perf_counter() - begin
        server.generate("The capital of France is", {"max_new_tokens": 1})
        answered = time.perf_counter() - begin
        info = httpx.get(f"{server.url}/server_info", timeout=30).json()
        processes = process_tree(server.pid)
        used = memory(processes)
        idle = cpu_share(processes, idle_seconds) if idle_seconds else None
    phases = info["load_seconds"]
    measured = {f"{name}_s": phases[name] for name in PHASES if name in phases}
    measured |= {"ready_s": ready, "first_request_s": answered - ready, "first_answer_s": answered}
    measured |= {f"{name}_mb": size / 1e6 for name, size in used.items()}
    return measured if idle is None else {**measured, "idle_cpu_percent": 100 * idle}


def dataset(args: argparse.Namespace) -> list[Item]:
    """The items that the flags describe."""
    given = {field.name: getattr(args, field.name) for field in DATASET_FLAGS}
    items = DATASETS[args.dataset_name](Settings(path=args.dataset_path, **given))
    if not items:
        raise CommandError(f"the dataset {args.dataset_name} has no prompt")
    return items


def tell(
    args: argparse.Namespace,
    title: str,
    summary: report.Summary,
    samples: list[Sample] | None = None,
) -> None:
    """Print the table, and write what was asked for."""
    print(report.table(title, summary))
    if args.output_file is not None:
        settings = {name: value for name, value in vars(args).items() if name != "command"}
        settings.pop("api_key", None)
        details = samples if args.output_details and samples else ()
        report.write_json(args.output_file, summary, settings, details)
    if args.plot is not None:
        if not samples:
            raise CommandError("--plot needs the latencies of bench serve")
        report.write_plot(args.plot, samples, title)


def _greedy(output_len: int) -> dict[str, Any]:
    return {"max_new_tokens": output_len, "temperature": 0.0, "ignore_eos": True}


def _flush(base_url: str, key: str | None) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    response = httpx.post(f"{base_url}/flush_cache", headers=headers, timeout=60)
    if response.is_error:
        raise CommandError(f"/flush_cache answered {response.status_code}: {response.text.strip()}")


def _goal(text: str) -> tuple[str, float]:
    name, _, milliseconds = text.partition(":")
    if name not in ("ttft", "tpot", "e2e"):
        raise argparse.ArgumentTypeError(f"{text!r} is not ttft:MS, tpot:MS or e2e:MS")
    return name, float(milliseconds)


def _add(kinds: Any, name: str, command: Any, text: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = kinds.add_parser(name, help=text, description=text)
    added.set_defaults(command=command)
    return added


def _add_dataset(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dataset-name", choices=DATASETS, default="random")
    command.add_argument("--dataset-path", type=Path, metavar="FILE")
    command.add_argument("--sharegpt-output-len", dest="output_len", type=int)
    defaults = {"num_prompts": 1000, "output_len": None}
    for field in DATASET_FLAGS:
        if field.name == "output_len":
            continue
        default = defaults.get(field.name, field.default)
        kind = float if isinstance(default, float) else int
        command.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=default)


def _add_outputs(command: argparse.ArgumentParser) -> None:
    command.add_argument("--output-file", type=Path, metavar="FILE.jsonl", help="append the result")
    command.add_argument("--output-details", action="store_true", help="and every sample to it")
    command.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the latencies")
